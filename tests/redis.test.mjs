// Two gateways that share apps, keys and channels through one Redis, with the stock client.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { Redis } from "./lib/redis.mjs";
import { once, until } from "./lib/wait.mjs";

describe("two gateways with one Redis", () => {
  let redis;
  const machines = [];

  before(async () => {
    redis = await Redis.start();
    machines.push(await Caddy.start({ keystore: "", global: `redis ${redis.url}` }));
    machines.push(await Caddy.start({ keystore: `redis ${redis.url}`, global: `broker redis ${redis.url}` }));
  });
  after(async () => {
    await Promise.all(machines.map((caddy) => caddy.close()));
    await redis.close();
  });

  test("an app that one makes is known to both, and so is what either publishes, in one order", async () => {
    const [one, other] = machines;
    const app = await one.app();
    await until("the other knows the app", async () => (await other.admin("GET", `/realtime/apps/${app.id}`)).status === 200);
    const sockets = await Promise.all([one, other, other].map(async (caddy, i) => {
      const socket = caddy.socket(app, { transports: i === 1 ? ["polling"] : undefined });
      socket.got = [];
      socket.on("e", (data) => socket.got.push(data));
      await once(socket, "connect");
      for (const channel of ["a", "b"]) assert.equal((await socket.emitWithAck("subscribe", channel)).error, undefined);
      return socket;
    }));
    await Promise.all([one, other].flatMap((caddy, i) => ["a", "b"].map(async (channel) => {
      for (let n = 0; n < 25; n++) await caddy.published(app, { channel, event: "e", data: `${i} ${channel} ${n}` });
    })));
    await until("all has arrived", () => sockets.every(({ got }) => got.length >= 100));
    for (const { got } of sockets) assert.deepEqual(got, sockets[0].got);
    assert.equal(new Set(sockets[0].got).size, 100);
  });

  test("the history is that of both, also for subscribers and operators of the machine that had nobody in the channel", async () => {
    const [one, other] = machines;
    const app = await one.app();
    await until("the other knows the app", async () => (await other.admin("GET", `/realtime/apps/${app.id}`)).status === 200);
    const early = one.socket(app, { auth: { appId: app.id, subscribeKey: app.subscribe_key, recover: true } });
    await once(early, "connect");
    assert.match((await early.emitWithAck("subscribe", "past")).id, /^[A-Z2-7]{16}-0$/, "where it stands is known before the first event");
    early.disconnect();
    const receipts = [];
    for (let n = 0; n < 5; n++) receipts.push(await one.published(app, { channel: "past", event: "e", data: n }));
    const { json } = await other.admin("GET", `/realtime/channels/${app.id}/past/messages?since=${receipts[1].id}`);
    assert.deepEqual(json.messages.map(({ id, data }) => [id, data]), receipts.slice(2).map(({ id }, i) => [id, i + 2]));
    assert.ok(json.complete);
    const socket = other.socket(app);
    const got = [];
    socket.on("e", (data) => got.push(data));
    await once(socket, "connect");
    const answer = await socket.emitWithAck("subscribe", "past", { since: receipts[0].id });
    assert.deepEqual([answer.complete, answer.replayed], [true, 4]);
    await one.published(app, { channel: "past", event: "e", data: 5 });
    await until("all has arrived", () => got.length >= 5);
    assert.deepEqual(got, [1, 2, 3, 4, 5]);
  });

  test("a key that one revokes ends its sockets on the other within a second", async () => {
    const [one, other] = machines;
    const app = await one.app();
    await until("the other knows the app", async () => (await other.admin("GET", `/realtime/apps/${app.id}`)).status === 200);
    const socket = other.socket(app);
    await once(socket, "connect");
    const { json } = await one.admin("GET", `/realtime/apps/${app.id}`);
    const lost = once(socket, "disconnect");
    assert.equal((await one.admin("DELETE", `/realtime/keys/${app.id}/${json.keys.find(({ kind }) => kind === "subscribe").id}`)).status, 204);
    await lost;
    const back = other.socket(app, { reconnection: false });
    const [err] = await once(back, "connect_error");
    assert.equal(err.data.code, "key_revoked");
  });
});
