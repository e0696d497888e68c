// Recovery and reloads: the sessions that are away, and the messages, outlive each of them.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { Metrics } from "./lib/metrics.mjs";
import { once, until } from "./lib/wait.mjs";

let caddy, app;
before(async () => {
  caddy = await Caddy.start();
  app = await caddy.app();
});
after(() => caddy.close());
beforeEach(() => load({}));

async function load(options) {
  caddy.configure(options);
  await caddy.load();
}

for (const transport of Object.keys(transports)) {
  test(`clients that drop during several reloads recover, over ${transport}`, async (t) => {
    const ledger = new Ledger(caddy, app);
    const clients = await Promise.all(Array.from({ length: 4 }, () => Follower.start(t, ledger, ["a", "b"], { transport })));
    const ids = clients.map(({ id }) => id);
    for (let i = 0; i < 3; i++) {
      const lost = clients.map(({ socket }) => once(socket, "disconnect", 60_000));
      // Some drop before, some during, some after the reload.
      const cut = (n) => clients[n].cutter.cut({ how: n % 2 === 0 ? "reset" : "half-open" });
      await cut(0);
      await Promise.all([load({ global: `max_channels ${50 + i}` }), cut(1), cut(2)]);
      await cut(3);
      await Promise.all(lost);
      await ledger.several("a", 3);
      await load({ global: `max_channels ${60 + i}` });
      await ledger.several("b", 2);
      const back = clients.map(({ socket }) => once(socket, "connect", 60_000));
      await Promise.all([load({ global: `max_channels ${70 + i}` }), ...clients.map(({ cutter }) => cutter.admit())]);
      await Promise.all(back);
      for (const [n, { connects }] of clients.entries()) assert.deepEqual(connects.at(-1), { id: ids[n], recovered: true });
    }
    for (const client of clients) await client.settles();
  });
}

test("a reload that keeps fewer messages makes a client begin again that needs more", async (t) => {
  const ledger = new Ledger(caddy, app);
  const client = await Follower.start(t, ledger, ["fewer"]);
  await client.starts({
    async meanwhile() {
      await ledger.several("fewer", 10);
      await load({ global: "history 3 2m" });
      await ledger.publish("fewer"); // the channel follows at its next message
    },
  });
});

test("a reload that keeps fewer messages, or more, costs no message that is kept", async (t) => {
  const ledger = new Ledger(caddy, app);
  const client = await Follower.start(t, ledger, ["kept"]);
  await client.recovers({
    async meanwhile() {
      await ledger.several("kept", 5);
      await load({ global: "history 6 2m" });
      await ledger.publish("kept");
      await load({ global: "history 1000 2m" });
      await ledger.several("kept", 150);
    },
  });
  await client.settles();
});

test("a reload with less history_memory evicts at once, and makes clients begin again", async (t) => {
  const ledger = new Ledger(caddy, app);
  const client = await Follower.start(t, ledger, ["memory"]);
  await client.starts({
    async meanwhile() {
      await ledger.several("memory", 20);
      await load({ global: "history_memory 4KiB" });
      const metrics = await Metrics.scrape(caddy);
      assert.ok(metrics.value("history_bytes") <= 4096);
    },
  });
});

test("a reload that turns recovery off ends it, also for a client that was away before", async (t) => {
  const ledger = new Ledger(caddy, app);
  const client = await Follower.start(t, ledger, ["off"]);
  await client.starts({ meanwhile: () => load({ global: "recovery 0s" }) });
});

test("a reload with another keystore closes all sockets and refuses them; back at the first, they begin again", async (t) => {
  const ledger = new Ledger(caddy, app);
  const client = await Follower.start(t, ledger, ["store"]);
  const { id } = client;
  await ledger.publish("store");
  await until("the event", () => client.got.length === 1);
  const codes = []; // among them undefined, of an attempt that the reload has cut
  client.socket.on("connect_error", (err) => codes.push(err.data?.code));
  await load({ keystore: `badger ${join(caddy.dir, "other")}` });
  await until("it is refused", () => codes.includes("unknown_app"));
  await load({});
  client.socket.connect();
  await until("it is back", () => client.socket.connected);
  // The other keystore could have had the app, too, and have published to it meanwhile.
  assert.equal(client.connects.at(-1).recovered, false);
  assert.notEqual(client.connects.at(-1).id, id);
});
