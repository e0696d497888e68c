// Idempotency-Key: a publish that is repeated is published once.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

describe("Idempotency-Key", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start();
  });
  after(() => caddy.close());

  const keyed = (app, key, body = { channel: "a", event: "e" }) => caddy.publish(app, body, { "Idempotency-Key": key });

  /** A subscriber of channel "a", and the data that it has got once everything before has arrived. */
  const listener = async (app) => {
    const socket = await caddy.subscriber(app, "a");
    const got = [];
    socket.on("e", (data) => got.push(data));
    return async () => {
      const end = once(socket, "end");
      await caddy.published(app, { channel: "a", event: "end" });
      await end;
      return got;
    };
  };

  /** Repeats a publish while the first is in progress. */
  const untilAnswered = async (app, key, body) => {
    const answer = await keyed(app, key, body);
    assert.equal(answer.headers["retry-after"], answer.status === 409 ? "1" : undefined);
    return answer.status === 409 ? untilAnswered(app, key, body) : answer;
  };

  test("50 connections at once publish once", async () => {
    const app = await caddy.app();
    const received = await listener(app);
    for (const body of [{ channel: "a", event: "e", data: 1 }, { messages: [{ channel: "a", event: "e", data: 2 }, { channel: "a", event: "e", data: 3 }] }]) {
      const key = JSON.stringify(body);
      const answers = await Promise.all(Array.from({ length: 50 }, () => keyed(app, key, body)));
      const { text } = await untilAnswered(app, key, body);
      for (const answer of answers) {
        if (answer.status === 409) assert.deepEqual([answer.json.error.code, answer.headers["retry-after"]], ["idempotency_in_progress", "1"]);
        else assert.deepEqual([answer.status, answer.text], [200, text]);
      }
      assert.equal(answers.filter(({ status, headers }) => status === 200 && !headers["idempotent-replayed"]).length, 1);
    }
    assert.deepEqual(await received(), [1, 2, 3]);
  });

  test("1,000 publishes whose connections are cut before the answer, five times each, are delivered once each", async () => {
    const app = await caddy.app();
    const received = await listener(app);
    const cut = (key, body) =>
      new Promise((resolve, reject) => {
        const socket = connect(Number(new URL(caddy.origin).port), "localhost", () => {
          const head = `POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-App-Id: ${app.id}\r\nAuthorization: Bearer ${app.publish_key}`;
          socket.write(`${head}\r\nIdempotency-Key: ${key}\r\nContent-Length: ${body.length}\r\n\r\n${body}`, () => socket.destroy());
        });
        socket.on("close", resolve);
        socket.on("error", reject);
      });
    for (let n = 0; n < 1_000; n += 20) {
      await Promise.all(
        Array.from({ length: 20 }, async (_, i) => {
          const body = JSON.stringify({ channel: "a", event: "e", data: n + i });
          const key = `order ${n + i}`;
          await Promise.all(Array.from({ length: 5 }, () => cut(key, body)));
          assert.equal((await untilAnswered(app, key, body)).status, 200);
        }),
      );
    }
    const got = await received();
    assert.deepEqual(got.sort((a, b) => a - b), Array.from({ length: 1_000 }, (_, i) => i));
  });

  test("it is still known after a reload, and of this app only", async () => {
    const app = await caddy.app();
    const received = await listener(app);
    const first = await keyed(app, "k");
    assert.deepEqual([first.status, first.headers["idempotent-replayed"]], [200, undefined]);
    caddy.configure({ global: "max_channels 50" });
    await caddy.load();
    const again = await until("the new configuration answers", () => keyed(app, "k").catch(() => undefined));
    assert.deepEqual([again.status, again.text, again.headers["idempotent-replayed"]], [200, first.text, "true"]);
    const other = await keyed(await caddy.app("other"), "k");
    assert.deepEqual([other.status, other.headers["idempotent-replayed"]], [200, undefined]);
    assert.equal((await received()).length, 1);
  });

  test("another body is refused, whatever it is", async () => {
    const app = await caddy.app();
    const received = await listener(app);
    assert.equal((await keyed(app, "k", '{"channel":"a","event":"e"}')).status, 200);
    for (const body of ['{"channel":"a","event":"e"} ', '{"channel":"a","event":"e","data":null}', '{"channels":["a"],"event":"e"}']) {
      const { status, json } = await keyed(app, "k", body);
      assert.deepEqual([status, json.error.code], [422, "idempotency_mismatch"]);
    }
    assert.equal((await received()).length, 1);
  });

  test("a refused publish keeps no key, and a repetition does not count against the rate limit", async () => {
    const app = await caddy.app();
    const limit = (publishes) => caddy.admin("PATCH", `/realtime/apps/${app.id}`, { rate_limit: { publishes, window: "1h" } });
    await limit(1);
    assert.equal((await keyed(app, "k", { channel: "no spaces", event: "e" })).status, 422);
    const first = await keyed(app, "k");
    assert.deepEqual([first.status, first.headers["ratelimit-remaining"]], [200, "0"]);
    for (let i = 0; i < 3; i++) assert.equal((await keyed(app, "second")).json.error.code, "rate_limited");
    const again = await keyed(app, "k");
    assert.deepEqual([again.status, again.text, again.headers["ratelimit-remaining"]], [200, first.text, "0"]);
    await limit(2);
    const second = await keyed(app, "second");
    assert.deepEqual([second.status, second.headers["idempotent-replayed"]], [200, undefined]);
  });

  test("one that is empty, too long or not ASCII, or is sent twice, is refused", async () => {
    const app = await caddy.app();
    for (const key of ["", "k".repeat(256), "cl\u00e9", "a\tb", ["a", "a"]]) {
      const { status, json } = await keyed(app, key);
      assert.deepEqual([status, json.error.code], [400, "invalid_request"]);
      assert.match(json.error.message, /Idempotency-Key/);
    }
    assert.equal((await keyed(app, "k".repeat(255))).status, 200);
    assert.equal((await keyed(app, '"8e03978e-40d5-43dd-bc93-6894a57f9324"')).status, 200);
  });
});
