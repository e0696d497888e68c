// The rate limit and idempotency keys of publishes hold over all gateways of one Redis.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { Redis } from "./lib/redis.mjs";
import { once, until } from "./lib/wait.mjs";

describe("three gateways with one Redis", () => {
  const limit = 30;
  let redis;
  const machines = [];

  before(async () => {
    redis = await Redis.start();
    const start = async () => machines.push(await Caddy.start({ keystore: "", global: `redis ${redis.url}`, rateLimit: `${limit} 1h` }));
    await Promise.all([start(), start(), start()]);
  });
  after(async () => {
    await Promise.all(machines.map((caddy) => caddy.close()));
    if (redis) await redis.close();
  });

  /** An app that all machines know. */
  const appOfAll = async () => {
    const app = await machines[0].app();
    await until("all know the app", async () => {
      const answers = await Promise.all(machines.map((caddy) => caddy.admin("GET", `/realtime/apps/${app.id}`)));
      return answers.every(({ status }) => status === 200);
    });
    return app;
  };

  const event = (data) => ({ channel: "a", event: "e", data });

  test("no more than the limit are accepted, wherever they arrive, and each answer says how many are left", async () => {
    const app = await appOfAll();
    const left = [];
    for (let n = 0; n < 6; n++) {
      const { status, headers } = await machines[n % 3].publish(app, event(n));
      assert.deepEqual([status, headers["ratelimit-limit"], headers["ratelimit-reset"]], [200, String(limit), "3600"]);
      left.push(Number(headers["ratelimit-remaining"]));
    }
    assert.deepEqual(left, [29, 28, 27, 26, 25, 24]);
    const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => machines[n % 3].publish(app, event(n))));
    assert.equal(answers.filter(({ status }) => status === 200).length, limit - 6);
    for (const caddy of machines) {
      const { status, json, headers } = await caddy.publish(app, event(0));
      assert.deepEqual([status, json.error.code], [429, "rate_limited"]);
      assert.deepEqual([headers["ratelimit-limit"], headers["ratelimit-remaining"]], [String(limit), "0"]);
      const [after, reset] = [headers["retry-after"], headers["ratelimit-reset"]].map(Number);
      assert.ok(after > 0 && after <= reset && reset <= 3600, `${after} ${reset}`);
    }
  });

  test("a large event for many channels is refused before any of them gets it", async () => {
    const app = await appOfAll();
    const socket = await machines[1].subscriber(app, ["c0"]);
    const got = [];
    socket.on("e", (data) => got.push(data.length ?? data));
    const channels = Array.from({ length: 20 }, (_, n) => `c${n}`);
    const refused = await machines[0].publish(app, { channels, event: "e", data: "x".repeat(1_000_000), history: false });
    assert.deepEqual([refused.status, refused.json.error.code], [413, "payload_too_large"], refused.text);
    assert.match(refused.json.error.message, /20 messages .* 20000040 bytes .* limit is 16777216\. Send fewer channels/);
    const accepted = await machines[0].publish(app, { channels: channels.slice(0, 16), event: "e", data: "x".repeat(1_000_000) });
    assert.deepEqual([accepted.status, accepted.headers["ratelimit-remaining"]], [200, String(limit - 16)], accepted.text);
    await machines[0].publish(app, { channel: "c0", event: "e", data: 1 });
    await until("the last event arrives", () => got.includes(1));
    assert.deepEqual(got, [1_000_000, 1]);
    socket.close();
  });

  test("a batch that does not fit is refused as a whole on each machine", async () => {
    const app = await appOfAll();
    const batch = (n) => ({ messages: Array.from({ length: n }, (_, i) => event(i)) });
    assert.equal((await machines[0].publish(app, batch(20))).status, 200);
    const refused = await machines[1].publish(app, batch(11));
    assert.deepEqual([refused.status, refused.headers["ratelimit-remaining"]], [429, "10"]);
    assert.equal((await machines[2].publish(app, batch(31))).status, 400); // it never fits
    const { json } = await machines[2].publish(app, batch(10));
    assert.deepEqual(json.results.map(({ offset }) => offset), Array.from({ length: 10 }, (_, i) => 21 + i));
  });

  test("a publish that is repeated on another machine is answered with the first answer", async () => {
    const app = await appOfAll();
    const [one, other] = machines;
    const got = [];
    const socket = await one.subscriber(app, "a");
    socket.on("e", (data) => got.push(data));
    for (const body of [event(1), { messages: [event(2), event(3)] }]) {
      const headers = { "Idempotency-Key": `key ${JSON.stringify(body).length}` };
      const first = await one.publish(app, body, headers);
      assert.deepEqual([first.status, first.headers["idempotent-replayed"]], [200, undefined]);
      for (const caddy of machines) {
        const again = await caddy.publish(app, body, headers);
        assert.deepEqual([again.status, again.text, again.headers["idempotent-replayed"]], [200, first.text, "true"]);
        assert.equal(again.headers["ratelimit-remaining"], first.headers["ratelimit-remaining"]);
      }
      const mismatch = await other.publish(app, event("another"), headers);
      assert.deepEqual([mismatch.status, mismatch.json.error.code], [422, "idempotency_mismatch"]);
    }
    const end = once(socket, "end");
    await other.published(app, { channel: "a", event: "end" });
    await end;
    assert.deepEqual(got, [1, 2, 3]);
  });

  test("of the same key on all machines at once, one publishes, and all get its answer", async () => {
    const app = await appOfAll();
    for (let n = 1; n <= 10; n++) {
      const answers = await Promise.all(Array.from({ length: 9 }, (_, i) => machines[i % 3].publish(app, event(n), { "Idempotency-Key": `key ${n}` })));
      for (const { status, json } of answers) assert.deepEqual([status, json.offset], [200, n]);
      assert.equal(answers.filter(({ headers }) => !headers["idempotent-replayed"]).length, 1);
    }
  });

  test("except leaves out a socket of another machine", async () => {
    const app = await appOfAll();
    const got = [];
    const sockets = await Promise.all(machines.map(async (caddy, i) => {
      const socket = await caddy.subscriber(app, "a");
      socket.on("e", () => got.push(i));
      return socket;
    }));
    await machines[0].published(app, { ...event(1), except: sockets[1].id });
    const ends = sockets.map((socket) => once(socket, "end"));
    await machines[2].published(app, { channel: "a", event: "end" });
    await Promise.all(ends);
    assert.deepEqual(got.sort(), [0, 2]);
  });

  test("without Redis, a publish is answered 503, also one with a key", async () => {
    const app = await appOfAll();
    await redis.close();
    redis = undefined;
    for (const headers of [{}, { "Idempotency-Key": "k" }]) {
      const { status, json, headers: got } = await machines[1].publish(app, event(1), headers);
      assert.deepEqual([status, json.error.code], [503, "unavailable"]);
      assert.ok(Number(got["retry-after"]) > 0);
    }
  });
});
