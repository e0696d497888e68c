// Three machines with one Redis whose wall clocks differ by five minutes each. "make clock"
// builds the binary for this and runs it.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { believe } from "../lib/believe.mjs";
import { Caddy } from "../lib/caddy.mjs";
import { Keeper } from "../lib/keeper.mjs";
import { Load } from "../lib/load.mjs";
import { Receiver } from "../lib/receiver.mjs";
import { Redis } from "../lib/redis.mjs";
import { once, until } from "../lib/wait.mjs";

const minutes = [-5, 0, 5];
const limit = 20;

describe("three machines whose clocks differ by five minutes", () => {
  let redis, app, key, dir;
  const machines = [];

  before(async () => {
    redis = await Redis.start();
    dir = mkdtempSync(join(tmpdir(), "realtime-clock-"));
    for (const n of minutes) {
      const shift = join(dir, String(n));
      writeFileSync(shift, String(n * 60));
      const caddy = await Caddy.start({
        keystore: "", environment: { CLOCK_SHIFT: shift },
        global: `redis ${redis.url}\n\t\tpresence_grace 2s\n\t\thistory 100 2m\n\t\trecovery 1m\n\t\twebhook_targets any`,
      });
      machines.push(caddy);
    }
    for (const caddy of machines) await until("the machines know each other", async () => (await list(caddy)).length === 3);
    app = await machines[0].app();
    key = await machines[0].signingKey(app);
    for (const caddy of machines) {
      await until("the app and its key are known", async () =>
        (await caddy.admin("GET", `/realtime/apps/${app.id}`)).json.keys?.some(({ kind }) => kind === "sign"));
    }
  });
  after(async () => {
    const ends = await Promise.allSettled(machines.map((caddy) => caddy.close()));
    await redis.close();
    rmSync(dir, { recursive: true });
    for (const { reason } of ends) assert.ifError(reason);
  });

  const list = async (caddy) => (await caddy.admin("GET", "/realtime/machines")).json.machines;

  test("the clocks differ", async () => {
    const started = (await list(machines[1])).map(({ started }) => Date.parse(started)).sort();
    assert.ok(started[1] - started[0] > 200_000 && started[2] - started[1] > 200_000, started.join());
  });

  test("the rolling limit is exact, and a repeated publish is one, wherever it arrives", async () => {
    const limited = await machines[0].app("limited");
    const set = await machines[0].admin("PATCH", `/realtime/apps/${limited.id}`, { rate_limit: { publishes: limit, window: "1h" } });
    assert.equal(set.status, 200, set.text);
    for (const caddy of machines) await until("the limit is known", async () => (await caddy.admin("GET", `/realtime/apps/${limited.id}`)).json.rate_limit?.publishes === limit);
    const answers = [];
    for (let i = 0; i < limit + 10; i++) answers.push(await machines[i % 3].publish(limited, { channel: "c", event: "e" }));
    assert.equal(answers.filter(({ status }) => status === 200).length, limit);
    const same = [];
    for (const caddy of machines) same.push(await caddy.publish(app, { channel: "c", event: "e" }, { "Idempotency-Key": "one" }));
    assert.deepEqual(same.map(({ status }) => status), [200, 200, 200], same.map(({ text }) => text).join());
    assert.equal(new Set(same.map(({ json }) => json.id)).size, 1);
  });

  test("a client recovers on each machine, with the history", async (t) => {
    const load = new Load(machines[0].origin, app);
    t.after(() => load.close());
    const client = await Keeper.start(t, machines[0], app, ["a"], "websocket", machines[0].origin);
    for (const [i, caddy] of [machines[1], machines[2], machines[0]].entries()) {
      client.socket.io.uri = caddy.origin; // where the stock client connects next
      client.socket.io.engine.close();
      await load.publish("a");
      await until("it is back", () => client.recovered === i + 1 && client.back);
      await load.publish("a");
    }
    const published = new Map([["a", new Set(load.entries.map(({ place }) => place))]]);
    await until("all events", () => client.account(published).lost === 0);
    const { told, doubled, disordered, crossed } = client.account(published);
    assert.deepEqual({ told, doubled, disordered, crossed, began: client.began }, { told: 0, doubled: 0, disordered: 0, crossed: 0, began: 0 });
    for (const caddy of machines) {
      const socket = caddy.socket(app);
      await once(socket, "connect");
      let got = 0;
      socket.on("m", () => got++);
      await socket.timeout(10_000).emitWithAck("subscribe", "a", { rewind: 50 });
      await until("the history", () => got === load.entries.length);
    }
  });

  test("nobody flickers in presence, and no machine is taken for dead", async () => {
    const channel = "presence-room";
    const all = [];
    for (const [i, caddy] of machines.entries()) {
      // The machine that is behind accepts only tokens that are as old as its clock.
      const iat = Math.floor(Date.now() / 1000) + minutes[i] * 60;
      const socket = caddy.socket(app, { auth: { appId: app.id, token: jwt.sign({ sub: `u${i}`, channels: ["presence-*"], iat, exp: iat + 3600 }, key) } });
      await once(socket, "connect");
      const belief = believe(socket, channel);
      assert.equal((await socket.timeout(10_000).emitWithAck("subscribe", channel)).error, undefined);
      all.push({ socket, belief });
    }
    for (const { belief } of all) await until("all are there", () => belief.members.size === 3);
    for (const { belief } of all) belief.events.length = 0;
    const ids = (await list(machines[0])).map(({ id }) => id).join();
    const end = Date.now() + 20_000; // longer than a lease
    await until("a lease has ended", async () => {
      for (const caddy of machines) assert.equal((await list(caddy)).map(({ id }) => id).join(), ids);
      return Date.now() > end;
    }, 60_000);
    for (const { socket, belief } of all) assert.deepEqual([socket.connected, belief.events], [true, []]);
  });

  test("a webhook that is added on any machine gets what happens from then on", async () => {
    for (const [i, caddy] of machines.entries()) {
      const hooked = await caddy.app(`hooked ${i}`);
      const receiver = await new Receiver().listen();
      const hook = await caddy.admin("POST", `/realtime/webhooks/${hooked.id}`, { url: receiver.url });
      assert.equal(hook.status, 201, hook.text);
      for (const [n, other] of machines.entries()) {
        await until("the hook is known", async () => (await other.admin("GET", `/realtime/webhooks/${hooked.id}`)).json?.webhooks?.length === 1);
        await other.subscriber(hooked, `c${n}`);
      }
      const occupied = () => receiver.requests.flatMap(({ body }) => JSON.parse(body).events).filter(({ type }) => type === "channel.occupied");
      await until("the events of all machines", () => occupied().length >= 3, 60_000);
      assert.deepEqual(occupied().map(({ channel }) => channel).sort(), ["c0", "c1", "c2"]);
      await receiver.close();
    }
  });

  test("revoking a user on any machine refuses the tokens of before, and accepts those of after", async () => {
    for (const [i, caddy] of machines.entries()) {
      const sub = `revoked${i}`;
      const sign = (iat) => jwt.sign({ sub, iat, exp: iat + 3600 }, key);
      const code = async (token) => {
        const socket = machines[1].socket(app, { auth: { appId: app.id, token }, reconnection: false });
        const outcome = await Promise.race([once(socket, "connect").then(() => "connected"), once(socket, "connect_error").then(([err]) => err.data?.code)]);
        socket.disconnect();
        return outcome;
      };
      const old = sign(Math.floor(Date.now() / 1000) - 5);
      assert.equal(await code(old), "connected");
      const revoked = await caddy.admin("POST", `/realtime/users/${app.id}/${sub}/revoke`);
      assert.equal(revoked.status, 200, revoked.text);
      assert.ok(Math.abs(Date.parse(revoked.json.revoked) - Date.now()) < 60_000, revoked.text);
      await until("the old token is refused", async () => (await code(old)) === "token_revoked");
      await until("the next second", () => Date.now() > Date.parse(revoked.json.revoked) + 1000);
      assert.equal(await code(sign(Math.floor(Date.now() / 1000))), "connected");
    }
  });
});
