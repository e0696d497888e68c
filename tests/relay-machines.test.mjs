// What clients send each other, over three gateways with one Redis.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { transports } from "./lib/caddy.mjs";
import { Machines } from "./lib/machines.mjs";
import { once, until } from "./lib/wait.mjs";

describe("events of clients on three gateways with one Redis", () => {
  let machines;
  before(async () => {
    machines = await Machines.start(3);
    const channels = [{ match: "*", access: "open", client_events: true }];
    assert.equal((await machines.all[0].admin("PATCH", `/realtime/apps/${machines.app.id}`, { channels })).status, 200);
    for (const caddy of machines.all) {
      await until("the rule is known", async () =>
        (await caddy.admin("GET", `/realtime/apps/${machines.app.id}`)).json.channels.some(({ client_events }) => client_events));
    }
  });
  after(() => machines.close());

  /** A socket on a machine, in a channel, with what it gets. */
  async function enter(caddy, channel, options) {
    const socket = caddy.socket(machines.app, options);
    await once(socket, "connect");
    assert.equal((await socket.timeout(30_000).emitWithAck("subscribe", channel)).channel, channel);
    socket.got = [];
    socket.onAny((event, ...args) => event.startsWith("client-") && socket.got.push([event, ...args]));
    return socket;
  }

  const send = (socket, ...args) => socket.timeout(30_000).emitWithAck("client", ...args);

  test("reach all others in the channel, once and in the order of the sender, wherever they are", async () => {
    const all = [];
    for (const caddy of machines.all) all.push(await enter(caddy, "room"), await enter(caddy, "room", { transports: transports.polling }));
    const elsewhere = await enter(machines.all[1], "other");
    const recovering = await enter(machines.all[2], "room", { auth: { appId: machines.app.id, subscribeKey: machines.app.subscribe_key, recover: true } });
    const sent = [];
    for (const [i, socket] of all.entries()) {
      for (const args of [["client-typing", { on: i, html: "<b>&\u2028" }], ["client-text", `${i}`], [`client-nothing-${i}`]]) {
        assert.deepEqual(await send(socket, "room", ...args), {});
        sent.push({ from: i, args });
      }
    }
    for (const [i, socket] of all.entries()) {
      const owed = sent.filter(({ from }) => from !== i).map(({ args }) => args);
      await until("all have arrived", () => socket.got.length >= owed.length);
      assert.deepEqual(socket.got.toSorted(), owed.toSorted());
      for (const from of all.keys()) {
        const of = (args) => sent.some((s) => s.from === from && JSON.stringify(s.args) === JSON.stringify(args));
        assert.deepEqual(socket.got.filter(of), owed.filter(of));
      }
    }
    await until("also at one that can recover", () => recovering.got.length >= sent.length);
    assert.deepEqual(recovering.got.find(([event]) => event === "client-text"), ["client-text", "0", null]);
    assert.deepEqual(elsewhere.got, []);
  });

  test("are refused while Redis is away, and go on once it is back", async () => {
    const [one, other] = [await enter(machines.all[0], "away"), await enter(machines.all[1], "away")];
    await machines.redis.kill();
    const { error } = await send(one, "away", "client-a");
    assert.deepEqual([error?.code, error?.message], ["unavailable", "The event cannot be sent now. Try again."]);
    await machines.redis.boot();
    await until("they reach the other again", async () => {
      const { error } = await send(one, "away", "client-b");
      return !error && other.got.length > 0;
    }, 60_000);
    assert.ok(other.got.every(([event]) => event === "client-b"), JSON.stringify(other.got));
  });
});
