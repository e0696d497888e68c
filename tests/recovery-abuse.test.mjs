// Recovery in the hands of clients that mean harm: they gain nothing, the counts stay right,
// and others notice nothing.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { Metrics } from "./lib/metrics.mjs";
import { once, until } from "./lib/wait.mjs";

let caddy;
before(async () => {
  caddy = await Caddy.start({ global: "history 1000 2m\nmax_connections 300" });
});
after(() => caddy.close());

/** Resolves to a socket that presents a pid, and to what it was told. */
async function presents(app, auth, options = {}) {
  const socket = caddy.socket(app, { auth: { appId: app.id, subscribeKey: app.subscribe_key, recover: true, ...auth }, reconnection: false, ...options });
  const greeting = new Promise((resolve) => {
    socket.io.on("open", () => {
      socket.io.engine.on("message", (packet) => packet.startsWith("0{") && resolve(JSON.parse(packet.slice(1))));
    });
  });
  await new Promise((resolve, reject) => {
    socket.on("connect", resolve);
    socket.on("connect_error", reject);
    socket.io.on("close", (reason) => setImmediate(() => reject(new Error(reason)))); // it comes before connect_error
  });
  return { socket, ...(await greeting) };
}

const invalidKey = ({ data }) => data?.code === "invalid_key";
const metrics = () => Metrics.scrape(caddy);
const outcome = async (name) => (await metrics()).value("recoveries_total", { outcome: name });

/** Waits until nobody is connected, away or subscribed. */
async function empty(app) {
  await until("nothing is left of the app", async () => {
    const { json } = await caddy.admin("GET", `/realtime/apps/${app.id}`);
    return json.connections === 0;
  });
  const channels = await caddy.admin("GET", `/realtime/channels/${app.id}`);
  assert.deepEqual(channels.json.channels ?? [], [], channels.text);
}

test("of a hundred connections that present one pid at once, one has the session, and the others are new or ended", async (t) => {
  const app = await caddy.app("pid");
  const ledger = new Ledger(caddy, app);
  const owner = await Follower.start(t, ledger, ["a"], { reconnection: false });
  const [{ id: offset }] = await ledger.several("a", 1);
  await until("the event", () => owner.got.length === 1);
  const { id, pid } = owner;
  const before = (await metrics()).value("recoveries_total", { outcome: "recovered" });
  const gone = once(owner.socket, "disconnect");
  const all = await Promise.all(Array.from({ length: 100 }, () => presents(app, { pid, offset }).catch((err) => ({ err }))));
  await gone;
  const inside = all.filter(({ socket }) => socket?.connected);
  const having = await until("all but one have lost it", () => {
    const some = inside.filter(({ socket, sid }) => socket.connected && sid === id);
    return some.length === 1 && some;
  });
  assert.ok((await outcome("recovered")) > before);
  const receipt = await ledger.publish("a");
  assert.equal(receipt.subscribers, 1);
  for (const { socket, sid, pid: own } of inside) {
    if (socket === having[0].socket || !socket.connected) continue;
    assert.notEqual(sid, id);
    assert.notEqual(own, pid);
  }
  const { json } = await caddy.admin("GET", `/realtime/apps/${app.id}`);
  assert.equal(json.connections, inside.filter(({ socket }) => socket.connected).length);
  for (const { socket } of inside) socket.disconnect();
  await empty(app);
});

test("a stolen pid is worth nothing with wrong credentials or another app's, and its owner recovers", async (t) => {
  const app = await caddy.app("victim");
  const other = await caddy.app("thief");
  const ledger = new Ledger(caddy, app);
  const owner = await Follower.start(t, ledger, ["a"]);
  await ledger.several("a", 2);
  await until("the events", () => owner.got.length === 2);
  const { id, pid } = owner;
  const offset = owner.ids.at(-1);
  await owner.drop({
    async meanwhile() {
      await ledger.several("a", 3);
      await assert.rejects(presents(app, { pid, offset, subscribeKey: "sub_live_wrong" }), invalidKey);
      await assert.rejects(presents(app, { pid, offset, subscribeKey: other.subscribe_key }), invalidKey);
      const thief = await presents(other, { pid, offset });
      assert.notEqual(thief.sid, id);
      assert.notEqual(thief.pid, pid);
      thief.socket.disconnect();
    },
  });
  assert.deepEqual(owner.connects.at(-1), { id, recovered: true });
  await owner.settles();
});

test("an offset of a megabyte is refused at once, and the owner recovers", async (t) => {
  const app = await caddy.app("megabyte");
  const ledger = new Ledger(caddy, app);
  const owner = await Follower.start(t, ledger, ["a"]);
  const { id, pid } = owner;
  await owner.drop({
    async meanwhile() {
      await ledger.several("a", 1);
      // Over what a client may send before it is authenticated, the connection ends.
      const socket = caddy.socket(app, { auth: { appId: app.id, subscribeKey: app.subscribe_key, recover: true, pid, offset: "x".repeat(1 << 20) }, reconnection: false });
      socket.on("connect", () => assert.fail("it is connected"));
      await new Promise((resolve) => {
        socket.io.on("close", resolve);
        socket.io.on("error", resolve);
      });
    },
  });
  assert.deepEqual(owner.connects.at(-1), { id, recovered: true });
  await owner.settles();
});

test("a client that reconnects in a loop gets a bounded replay, and another misses nothing", async (t) => {
  const app = await caddy.app("loop");
  const ledger = new Ledger(caddy, app);
  const other = await Follower.start(t, ledger, ["b"]);
  const greedy = await Follower.start(t, ledger, ["a"], { reconnection: false });
  const big = "x".repeat(100_000);
  let { pid } = greedy;
  greedy.socket.io.engine.close(); // without a DISCONNECT
  await until("it is away", async () => (await metrics()).value("away") > 0);
  for (let i = 0; i < 4; i++) await ledger.publish("a", big); // 400 KB to be replayed, of the 512 KB that fit
  const before = await outcome("over_budget");
  let replays = 0;
  let slowest = 0;
  for (let i = 0; i < 100 && (await outcome("over_budget")) === before; i++) {
    const { socket, pid: mine } = await presents(app, { pid }); // no offset: all of it again
    if (mine === pid) replays++;
    const n = other.got.length;
    const began = performance.now();
    await ledger.publish("b");
    await until("the other's event", () => other.got.length > n);
    slowest = Math.max(slowest, performance.now() - began);
    socket.io.engine.close();
    await until("it has noticed", () => !socket.connected);
  }
  t.diagnostic(JSON.stringify({ replays, "slowest event of the other, ms": Math.round(slowest) }));
  // 16 MiB a minute at max_queue 1 MiB; a second minute may have begun.
  assert.ok(replays >= 40 && replays <= 84, `${replays} replays`);
  assert.equal(await outcome("over_budget"), before + 1);
  assert.ok(slowest < 5_000, `${slowest} ms`);
  await other.settles();
});

test("sessions that are away never keep a new client out, and are bounded by the app's limit and by max_connections", async (t) => {
  const app = await caddy.app("away");
  const limit = 20;
  assert.equal((await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { max_connections: limit })).status, 200);
  const free = await caddy.app("unlimited");
  for (const [owner, rounds] of [[app, 3 * limit], [free, 350]]) {
    for (let i = 0; i < rounds; i++) {
      const { socket } = await presents(owner, {}); // fails if it is refused
      await socket.timeout(5_000).emitWithAck("subscribe", "a");
      socket.io.engine.close();
    }
    await until("all are gone", async () => (await caddy.admin("GET", `/realtime/apps/${owner.id}`)).json.connections === 0);
    const away = (await metrics()).value("away");
    t.diagnostic(`${rounds} left, ${away} are away`);
    if (owner === app) assert.ok(away <= limit + 10, `${away} are away`);
  }
  await until("max_connections bounds them", async () => (await metrics()).value("away") <= 300);
  assert.equal((await caddy.published(free, { channel: "a", event: "e" })).subscribers, 0);
  for (const { id } of [app, free]) assert.equal((await caddy.admin("DELETE", `/realtime/apps/${id}`)).status, 204);
  await until("a deleted app's sessions end", async () => (await metrics()).value("away") <= 10);
});
