// Planned restarts while clients listen and a backend publishes, and kills. "make restart"
// runs it with 1,000 clients.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Caddy } from "./lib/caddy.mjs";
import { crowd, follow } from "./lib/crowd.mjs";
import { Ledger } from "./lib/follower.mjs";
import { until } from "./lib/wait.mjs";

const setting = (name, value) => Number(process.env[`RESTART_${name}`] ?? value);
const full = {
  clients: setting("CLIENTS", 60),
  restarts: setting("RESTARTS", 4),
  channels: setting("CHANNELS", 6), // each client follows two of them
  pause: setting("PAUSE", 50), // milliseconds between two publishes to a channel
};

test("through planned restarts, every answered event arrives once and in order, and every client recovers as the same socket", async (t) => {
  const caddy = await Caddy.start({ global: "history 1000 2m\ndrain 2s" });
  t.after(() => caddy.close());
  const ledger = new Ledger(caddy, await caddy.app());
  const channels = Array.from({ length: full.channels }, (_, i) => `restart.${i}`);
  const names = ["websocket", "polling", "upgrade"];
  const clients = await crowd(full.clients, (i) => {
    const two = new Set([channels[i % channels.length], channels[(i * 5 + 1) % channels.length]]);
    return follow(t, ledger, [...two], { transport: names[i % names.length] });
  });
  const ids = clients.map(({ id }) => id);

  const backend = new Backend(ledger);
  const publishing = channels.map((channel) => backend.publishes(channel, full.pause));
  const took = [];
  for (let i = 0; i < full.restarts; i++) {
    const before = ledger.entries.length;
    await until("events flow", () => ledger.entries.length >= before + 3 * channels.length);
    const began = performance.now();
    if (i % 2 === 0) {
      await caddy.signal("SIGTERM");
    } else {
      const { code, output } = await caddy.command("stop", "--address", `localhost:${caddy.adminPort}`);
      assert.equal(code, 0, output);
      await caddy.exited;
    }
    const stopped = performance.now();
    await caddy.boot();
    const booted = performance.now();
    await until("all clients are back", () => clients.every(({ connects, socket }) => socket.connected && connects.length === i + 2), 120_000).catch((err) => {
      throw new Error(`${err.message}: ${clients.filter(({ socket }) => !socket.connected).length} are not connected; ${caddy.logTail()}`);
    });
    took.push([stopped - began, booted - stopped, performance.now() - booted].map(Math.round));
  }
  await backend.stop(publishing);

  const last = await Promise.all(channels.map((channel) => backend.publish(channel)));
  assert.equal(ledger.entries.length, new Set(ledger.entries.map(({ id }) => id)).size, "an ID was given twice");
  const owed = clients.map((client) => client.owed().map(({ id }) => id));
  await until("the last events", () => clients.every(({ got }, i) => got.length >= owed[i].length), 60_000).catch(() => {});
  const wrong = clients.flatMap((client, i) => {
    const { lost, doubled, disordered, foreign, changed } = client.account();
    const anew = client.connects.slice(1).filter((c) => c.recovered !== true || c.id !== ids[i]).length;
    return lost || doubled || disordered || foreign || changed || anew ? [`${i}, ${client.transport}: ${JSON.stringify({ ...client.account(), anew })}`] : [];
  });
  t.diagnostic(
    JSON.stringify({
      clients: clients.length, restarts: took.length, events: ledger.entries.length, deliveries: owed.flat().length,
      repeated: backend.repeated, replayed: backend.replayed, "stop/start/return ms": took.map((ms) => ms.join("/")),
    }),
  );
  assert.deepEqual(wrong, []);
  assert.ok(last.every(({ subscribers }) => subscribers > 0));
  assert.equal(caddy.logged(/wrote the recovery file/).length, full.restarts);
  assert.equal(caddy.logged(/read the recovery file/).length, full.restarts);
});

test("after kill -9, no client recovers, none gets anything twice, and there is no recovery file", async (t) => {
  const caddy = await Caddy.start();
  t.after(() => caddy.close());
  const ledger = new Ledger(caddy, await caddy.app());
  const file = join(caddy.store, "recovery");
  const clients = [];
  for (const transport of ["websocket", "polling", "upgrade"]) clients.push(await follow(t, ledger, ["a", "b"], { transport }));
  await ledger.several("a", 5);
  await arrived(clients, 5);

  await restart(caddy, clients, "SIGKILL");
  assert.ok(!existsSync(file));
  await begunAnew(ledger, clients, "first");

  // The file of a planned restart is gone once it was read: it must not come again.
  await restart(caddy, clients, "SIGTERM");
  for (const { connects } of clients) assert.equal(connects.at(-1).recovered, true);
  assert.ok(!existsSync(file));
  await restart(caddy, clients, "SIGKILL");
  await begunAnew(ledger, clients, "second");
  assert.equal(caddy.logged(/read the recovery file/).length, 1);
});

test("a start that fails between two processes loses nothing", async (t) => {
  const caddy = await Caddy.start();
  t.after(() => caddy.close());
  const ledger = new Ledger(caddy, await caddy.app());
  const client = await follow(t, ledger, ["a"]);
  const { id } = client;
  await ledger.several("a", 3);
  await arrived([client], 3);
  await caddy.signal("SIGTERM");
  const blocker = http.createServer().listen(caddy.port); // the address is in use
  await until("it listens", () => blocker.listening);
  const { code, output } = await caddy.command("run", "--config", caddy.configFile);
  assert.notEqual(code, 0);
  assert.match(output, /address already in use/);
  await new Promise((done) => blocker.close(done) && blocker.closeAllConnections());
  await caddy.boot();
  await until("it is back", () => client.socket.connected);
  assert.deepEqual(client.connects.at(-1), { id, recovered: true });
  await client.settles();
});

async function restart(caddy, clients, signal) {
  const connects = clients.map((client) => client.connects.length);
  await caddy.signal(signal);
  await caddy.boot();
  await until("all are back", () => clients.every((client, i) => client.connects.length > connects[i]));
}

async function arrived(clients, n) {
  await until("the events", () => clients.every(({ got }) => got.length === n));
}

/** Fails unless each client is a new socket in no channel, which gets nothing that it missed. */
async function begunAnew(ledger, clients, channel) {
  for (const { connects, channels, socket } of clients) {
    assert.equal(connects.at(-1).recovered, false);
    assert.equal(connects.filter((c) => c.id === socket.id).length, 1, "an ID came twice");
    channels.clear();
  }
  for (const old of ["a", "b"]) {
    const { subscribers } = await ledger.publish(old);
    assert.equal(subscribers, 0, `${old} has subscribers`);
  }
  for (const client of clients) {
    client.got = [];
    await client.subscribe(channel);
  }
  const { data } = await ledger.publish(channel);
  await until("the event", () => clients.every(({ got }) => got.length > 0));
  for (const client of clients) assert.deepEqual(client.data, [data]);
}

/** A backend that repeats a publish, with the same key, until it is answered with 200. */
class Backend {
  repeated = 0; // publishes that were not answered with 200 at first
  replayed = 0; // answers of a publish that had been carried out before
  #running = true;
  #counts = new Map();
  #agent = new http.Agent({ keepAlive: true });

  constructor(ledger) {
    this.ledger = ledger;
  }

  async publishes(channel, pause) {
    while (this.#running) {
      await this.publish(channel);
      await sleep(pause);
    }
  }

  async stop(publishing) {
    this.#running = false;
    await Promise.all(publishing);
  }

  async publish(channel) {
    const n = (this.#counts.get(channel) ?? 0) + 1;
    this.#counts.set(channel, n);
    const data = { n, channel };
    const key = randomUUID();
    const body = JSON.stringify({ channel, event: "m", data });
    for (let again = 0; ; again++) {
      const answer = await this.#post(key, body).catch(() => ({}));
      if (answer.status === 200) {
        if (again > 0) this.repeated++;
        if (answer.replayed) this.replayed++;
        const entry = { ...answer.receipt, channel, data };
        this.ledger.entries.push(entry);
        return entry;
      }
      assert.ok([undefined, 409, 503].includes(answer.status), `${answer.status}`);
      await sleep(20);
    }
  }

  #post(key, body) {
    const { caddy, app } = this.ledger;
    const headers = {
      "Content-Type": "application/json",
      "X-App-Id": app.id,
      Authorization: `Bearer ${app.publish_key}`,
      "Idempotency-Key": key,
    };
    return new Promise((resolve, reject) => {
      const req = http.request(`${caddy.origin}/publish`, { method: "POST", agent: this.#agent, headers }, (res) => {
        let text = "";
        res.on("data", (chunk) => (text += chunk));
        res.on("error", reject);
        res.on("close", () => reject(new Error("cut")));
        res.on("end", () => {
          resolve({ status: res.statusCode, replayed: res.headers["idempotent-replayed"] === "true", receipt: res.statusCode === 200 ? JSON.parse(text) : undefined });
        });
      });
      req.on("error", reject);
      req.end(body);
    });
  }
}
