// Three machines with one Redis behind a load balancer without sticky sessions, which
// reload their configurations at the same time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import jwt from "jsonwebtoken";
import { believe } from "./lib/believe.mjs";
import { transports } from "./lib/caddy.mjs";
import { crowd } from "./lib/crowd.mjs";
import { Keeper, settle } from "./lib/keeper.mjs";
import { Load } from "./lib/load.mjs";
import { Machines } from "./lib/machines.mjs";
import { freePorts } from "./lib/ports.mjs";
import { Redis } from "./lib/redis.mjs";
import { once, until } from "./lib/wait.mjs";

const channels = ["a", "b", "c"];
const ways = Object.keys(transports);
const shared = "history 1000 2m\n\t\tpresence_grace 0s";

/** Machines, clients over all transports that ask for recovery, and a load that has begun. */
async function stage(t) {
  const machines = await Machines.start(3, shared);
  t.after(() => machines.close());
  await machines.all[0].published(machines.app, { channel: "first", event: "m" }); // "subscribed" has an id from now on
  const clients = await crowd(15, (i) => Keeper.start(t, machines.front, machines.app, channels, ways[i % 3], machines.front.origin));
  for (const client of clients) {
    if (client.transport === "upgrade") await until("upgraded", () => client.socket.io.engine.transport.name === "websocket");
  }
  for (const { node } of machines.all) {
    const id = await machines.idOf(machines.all.find((caddy) => caddy.node === node));
    assert.ok(clients.some(({ machine }) => machine === id), "a machine has no client");
  }
  const load = new Load(machines.front.origin, machines.app);
  t.after(() => load.close());
  load.start(40, () => channels[load.entries.length % channels.length]);
  return { machines, clients, load };
}

async function flows({ load }, n = 20) {
  const before = load.entries.length;
  await until("events flow", () => load.entries.length >= before + n, 60_000);
}

/** Loads a configuration on all machines at once; global is called with each machine's index. */
async function reload({ machines }, global, redis = machines.redis) {
  await Promise.all(machines.all.map(async (caddy, i) => {
    caddy.configure({ keystore: "", global: `redis ${redis.url}\n\t\t${global(i)}`, site: "respond /up 200\n\trealtime" });
    await caddy.load();
  }));
}

/** Ends the load, and checks that each client has got everything, once and in order. */
async function end({ clients, load }) {
  await load.stop();
  assert.ifError(load.failure);
  await settle(clients, channels, load.entries);
}

/** A user's socket on each machine, in one presence channel, and what each believes of it. */
async function members(machines) {
  const key = await machines.all[0].signingKey(machines.app);
  const channel = "presence-room";
  const all = [];
  for (const [i, caddy] of machines.all.entries()) {
    await until("the key is known", async () =>
      (await caddy.admin("GET", `/realtime/apps/${machines.app.id}`)).json.keys?.some(({ kind }) => kind === "sign"));
    const token = jwt.sign({ sub: `u${i}`, channels: ["presence-*"] }, key, { expiresIn: "1h" });
    const socket = caddy.socket(machines.app, { transports: transports[ways[i % 2]], auth: { appId: machines.app.id, token } });
    await once(socket, "connect");
    const belief = believe(socket, channel);
    assert.equal((await socket.timeout(10_000).emitWithAck("subscribe", channel)).error, undefined);
    all.push({ socket, belief });
  }
  for (const { belief } of all) await until("all are there", () => belief.members.size === all.length);
  for (const { belief } of all) belief.events.length = 0;
  return all;
}

/** Lists the machines on all of them, again and again; end returns the different lists. */
function watchMachines({ all }) {
  const seen = new Set();
  let watching = true;
  const loops = all.map(async (caddy) => {
    while (watching) {
      // The admin endpoint is reloaded, too.
      const answer = await caddy.admin("GET", "/realtime/machines").catch((err) => {
        if (!["ECONNRESET", "ECONNREFUSED"].includes(err.code)) throw err;
      });
      await sleep(10);
      if (answer) seen.add(answer.status === 200 ? answer.json.machines.map(({ id }) => id).join() : `${answer.status} ${answer.text}`);
    }
  });
  return {
    async end() {
      watching = false;
      await Promise.all(loops);
      return [...seen];
    },
  };
}

test("all machines reload at once: nobody is disconnected, and nothing is lost, doubled or out of order", async (t) => {
  const scene = await stage(t);
  const { machines, clients, load } = scene;
  const users = await members(machines);
  const watch = watchMachines(machines);
  for (let round = 0; round < 5; round++) {
    await reload(scene, (i) => `node_address ${machines.all[i].node}\n\t\t${shared}\n\t\tmax_channels ${60 + round}`);
    await flows(scene);
  }
  const lists = await watch.end();
  await end(scene);
  t.diagnostic(JSON.stringify({ publishes: load.entries.length, refused: load.refused, repeated: load.repeated }));
  assert.deepEqual(clients.flatMap(({ lost, transport }) => lost.map((reason) => `${transport}: ${reason}`)), []);
  assert.equal(lists.length, 1, lists.join("; "));
  assert.equal(lists[0].split(",").length, 3);
  for (const { socket, belief } of users) {
    assert.equal(socket.connected, true);
    assert.deepEqual(belief.events, []);
  }
});

test("all machines get another node_address at once, and forwarded clients stay", async (t) => {
  const scene = await stage(t);
  const { machines, clients, load } = scene;
  for (let round = 0; round < 3; round++) {
    const ports = await freePorts(3);
    await reload(scene, (i) => `node_address http://127.0.0.1:${ports[i]}\n\t\t${shared}`);
    for (const [i, caddy] of machines.all.entries()) {
      caddy.node = `http://127.0.0.1:${ports[i]}`;
      for (const other of machines.all) {
        await until("the address is known", async () => (await other.admin("GET", "/realtime/machines")).json.machines.some(({ address }) => address === caddy.node));
      }
    }
    await flows(scene);
  }
  await end(scene);
  t.diagnostic(JSON.stringify({ publishes: load.entries.length, refused: load.refused, repeated: load.repeated }));
  assert.deepEqual(clients.flatMap(({ lost, transport }) => lost.map((reason) => `${transport}: ${reason}`)), []);
});

test("all machines move to another Redis: their clients begin again there, and are told so", async (t) => {
  const scene = await stage(t);
  const { machines, clients, load } = scene;
  const next = await Redis.start();
  t.after(() => next.close());
  const copied = await machines.all[0].command("realtime", "keystore", "copy", "redis", machines.redis.url, "redis", next.url);
  assert.equal(copied.code, 0, copied.output);
  await end(scene);
  await reload(scene, (i) => `node_address ${machines.all[i].node}\n\t\t${shared}`, next);
  await until("all clients are back", () => clients.every(({ back, began }) => back && began > 0), 60_000);
  await machines.known();
  for (const { lost, recovered, began, incomplete } of clients) {
    assert.ok(!lost.includes("io server disconnect"), "stock clients do not reconnect after that by themselves");
    assert.equal(recovered, 0);
    assert.deepEqual(incomplete, { restarted: began * channels.length });
  }
  load.start(40, () => channels[load.entries.length % channels.length]);
  await flows(scene);
  await end(scene);
});
