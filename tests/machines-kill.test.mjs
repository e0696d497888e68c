// Three machines with one Redis behind a load balancer without sticky sessions, stock
// clients that ask for recovery, and publishes through all of them, while machines are
// killed, Redis is killed, Redis hangs, and Sentinel fails over. "make machines" runs it at full size.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { crowd } from "./lib/crowd.mjs";
import { Keeper } from "./lib/keeper.mjs";
import { Load } from "./lib/load.mjs";
import { Machines } from "./lib/machines.mjs";
import { Random } from "./lib/random.mjs";
import { Watched } from "./lib/redis.mjs";
import { until } from "./lib/wait.mjs";

const setting = (name, value) => Number(process.env[`MACHINES_${name}`] ?? value);
const full = {
  clients: setting("CLIENTS", 60), // two thirds on websockets, one third polls
  channels: setting("CHANNELS", 6), // each client is in two of these, and in one of its own
  rate: setting("RATE", 40), // publishes a second
  kills: setting("KILLS", 2),
  every: setting("EVERY", 8_000), // milliseconds between two kills
  down: setting("DOWN", 2_000), // milliseconds until a killed machine is started again
  outage: setting("OUTAGE", 8_000), // milliseconds in which Redis hangs
  failovers: setting("FAILOVERS", 1),
  within: setting("WITHIN", 60_000), // milliseconds after a kill in which all have to be back
  normal: setting("NORMAL", 30_000), // milliseconds after an outage of Redis until all is normal
  recovered: setting("RECOVERED", 1), // 0: clients may begin again
  seed: setting("SEED", Date.now() % 1_000_000),
};

/** Machines, clients that are in their channels, and a load that has begun. */
async function stage(t, redis) {
  t.diagnostic(`MACHINES_SEED=${full.seed}`);
  const random = new Random(full.seed);
  const machines = await Machines.start(3, "history 1000 2m\n\t\tdrain 2s", {}, redis);
  t.after(() => machines.close());
  // "subscribed" has an id only once the app has had a message.
  await machines.all[0].published(machines.app, { channel: "first", event: "m" });
  const shared = Array.from({ length: full.channels }, (_, i) => `shared.${i}`);
  const own = Array.from({ length: full.clients }, (_, i) => `own.${i}`);
  const clients = await crowd(full.clients, (i) =>
    Keeper.start(t, machines.front, machines.app, [...random.some(2, shared), own[i]], i % 3 === 2 ? "polling" : "websocket", machines.front.origin),
  );
  const load = new Load(machines.front.origin, machines.app);
  t.after(() => load.close());
  const before = machines.cpu();
  load.start(full.rate, () => (random.next() < 0.8 ? random.of(shared) : random.of(own)));
  await flows(load);
  return { machines, clients, load, before, channels: [...shared, ...own] };
}

/** Waits until more has been published. */
async function flows(load) {
  const before = load.entries.length;
  await until("events flow", () => load.entries.length >= before + full.rate, 60_000);
}

/**
 * Ends the load, and reports and checks what each client has got. unanswered: clients can
 * have got messages that were not answered, and that Redis has lost.
 */
async function settle(t, { machines, clients, load, before, channels }, more, unanswered = false) {
  await load.stop();
  assert.ifError(load.failure);
  for (const channel of channels) await load.publish(channel);
  const published = new Map(channels.map((channel) => [channel, new Set()]));
  for (const { place, channel } of load.entries) published.get(channel).add(place);
  const complete = (client) => {
    const { lost } = client.account(published);
    return lost === 0;
  };
  const missing = new Set(clients);
  await until("the last events", () => {
    for (const client of missing) if (complete(client)) missing.delete(client);
    return missing.size === 0;
  }, 60_000).catch(() => {}); // the account says what is missing
  const after = machines.cpu();
  const total = { owed: 0, lost: 0, told: 0, doubled: 0, disordered: 0, crossed: 0, foreign: 0, returns: 0, recovered: 0, began: 0 };
  const counts = { incomplete: {}, refusals: {} };
  const wrong = [];
  for (const [i, client] of clients.entries()) {
    const account = { ...client.account(published), returns: client.connects - 1, recovered: client.recovered, began: client.began };
    for (const name of Object.keys(total)) total[name] += account[name];
    for (const [name, count] of Object.entries(counts)) for (const [key, n] of Object.entries(client[name])) count[key] = (count[key] ?? 0) + n;
    const { lost, doubled, disordered, crossed, foreign } = account;
    if (lost || doubled || disordered || crossed || (foreign && !unanswered)) wrong.push(`${i}, ${client.transport}: ${JSON.stringify(account)}, ${client.lost}; missed ${client.missed.slice(0, 5)}; ${client.story.slice(-12).join("; ")}`);
  }
  const used = (now, then) => Math.round((now - then) * 10) / 10;
  t.diagnostic(
    JSON.stringify({
      clients: clients.length, publishes: load.entries.length, repeated: load.repeated, refused: load.refused, ...total, ...counts, ...more,
      "cpu s": { machines: after.machines.map((s, i) => used(s, before.machines[i])), redis: used(after.redis, before.redis), front: used(after.front, before.front) },
    }),
  );
  assert.equal(wrong.length, 0, `${wrong.length} clients, such as\n${wrong.slice(0, 10).join("\n")}`);
  return total;
}

test("machines are killed in turns, and clients lose nothing, get nothing twice, and are back soon", async (t) => {
  const scene = await stage(t);
  const { machines, clients, load } = scene;
  const took = [];
  for (let i = 0; i < full.kills; i++) {
    const next = Date.now() + full.every;
    const caddy = machines.all[i % machines.all.length];
    const id = await machines.idOf(caddy);
    const there = clients.filter(({ machine }) => machine === id).length;
    assert.ok(there > 0, "the machine has no client");
    const began = performance.now();
    await machines.kill(caddy);
    await until("all clients are back", () => clients.every(({ back, machine }) => back && machine !== id), full.within).catch((err) => {
      const away = clients.filter(({ back, machine }) => !back || machine === id);
      throw new Error(`${err.message}: ${away.length} are not: ${away.slice(0, 5).map(({ transport, lost, refusals }) => `${transport} ${lost.at(-1)} ${JSON.stringify(refusals)}`)}`);
    });
    took.push({ there, ms: Math.round(performance.now() - began) });
    await sleep(Math.max(0, full.down - (performance.now() - began)));
    await machines.revive(caddy);
    await flows(load);
    await sleep(Math.max(0, next - Date.now()));
  }
  const { returns, began } = await settle(t, scene, { "kills: clients/ms until all were back": took.map(({ there, ms }) => `${there}/${ms}`), "slowest ms": Math.max(...took.map(({ ms }) => ms)) });
  assert.ok(returns >= took.reduce((sum, { there }) => sum + there, 0));
  if (full.recovered) assert.equal(began, 0, "clients began again");
});

test("Redis is killed and started with its data, and nothing is lost in silence", async (t) => {
  const scene = await stage(t);
  const { machines, load } = scene;
  const before = machines.redis.child.pid;
  scene.before.redis = 0;
  await machines.redis.kill();
  await sleep(1000); // publishes are refused meanwhile
  await machines.redis.boot();
  assert.notEqual(machines.redis.child.pid, before);
  const began = performance.now();
  await flows(load);
  await settle(t, scene, { "flows again ms": Math.round(performance.now() - began) });
  assert.ok(load.repeated > 0, "no publish was refused");
});

test("Sentinel fails over while a machine is killed, and nothing is lost in silence", async (t) => {
  const scene = await stage(t, Watched);
  const { machines, clients, load } = scene;
  scene.before.redis = 0;
  const took = [];
  for (let i = 0; i < full.failovers; i++) {
    const caddy = machines.all[i % machines.all.length];
    const began = performance.now();
    await Promise.all([machines.redis.failOver(), machines.kill(caddy)]);
    await flows(load);
    await until("all clients are back", () => clients.every(({ back }) => back), full.within);
    took.push(Math.round(performance.now() - began));
    await Promise.all([machines.redis.mend(), machines.revive(caddy)]);
    await flows(load);
  }
  await settle(t, scene, { "failovers: ms until all were back": took }, true);
  assert.ok(load.repeated > 0, "no publish was refused");
});

test("Redis hangs: sockets stay open, publishes are refused with 503, and all is normal soon after", async (t) => {
  const scene = await stage(t);
  const { machines, clients, load } = scene;
  const connects = clients.map((client) => client.connects);
  machines.redis.child.kill("SIGSTOP");
  const end = Date.now() + full.outage;
  const body = JSON.stringify({ channel: "nobody", event: "m" });
  let slowest = 0;
  try {
    // Whatever was on its way to Redis is answered first.
    await until("a publish is refused", async () => (await load.once("outage-0", body)).status === 503, 60_000);
    for (let i = 1; Date.now() < end || i === 1; i++) {
      const sent = performance.now();
      const { status, headers, text } = await load.once(`outage-${i}`, body);
      assert.equal(status, 503, text);
      assert.equal(JSON.parse(text).error.code, "unavailable");
      assert.match(headers["retry-after"], /^\d+$/);
      slowest = Math.max(slowest, Math.round(performance.now() - sent));
      await sleep(200);
    }
  } finally {
    machines.redis.child.kill("SIGCONT");
  }
  const began = performance.now();
  await until("a publish is accepted", async () => (await load.once("after", body)).status === 200, full.normal);
  const normal = Math.round(performance.now() - began);
  await flows(load);
  await settle(t, scene, { "slowest refusal ms": slowest, "normal after ms": normal });
  assert.ok(normal <= full.normal, `normal after ${normal} ms`);
  assert.deepEqual(clients.map((client) => client.connects), connects, "a socket was closed");
});
