// One publish of several channels or several messages, as subscribers get it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { once } from "./lib/wait.mjs";

describe("a publish of several", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start();
  });
  after(() => caddy.close());

  /** A subscriber, and what it gets, each as [event, data]. */
  const listener = async (app, channels) => {
    const socket = await caddy.subscriber(app, channels);
    const got = [];
    socket.onAny((...event) => got.push(event));
    /** What it has got, once everything that was published before this has arrived. */
    const all = async () => {
      const end = once(socket, "end");
      await caddy.published(app, { channel: [channels].flat()[0], event: "end" });
      await end;
      return got.splice(0).filter(([event]) => event !== "end");
    };
    return { socket, all };
  };

  test("channels gives each of them the same event, in the order of the names", async () => {
    const app = await caddy.app();
    const both = await listener(app, ["a", "b"]);
    const one = await listener(app, "b");
    const body = '{"event":"e","channels":["b","none","a"],"data":{"b":12345678901234567890,"a":1}}';
    const { status, text, json } = await caddy.publish(app, body);
    assert.equal(status, 200, text);
    assert.deepEqual(json.results.map(({ offset, subscribers }) => [offset, subscribers]), [[1, 2], [2, 0], [3, 1]]);
    assert.equal(new Set(json.results.map(({ id }) => id)).size, 3);
    const data = JSON.parse('{"b":12345678901234567890,"a":1}');
    assert.deepEqual(await one.all(), [["e", data]]);
    assert.deepEqual(await both.all(), [["e", data], ["e", data]]);
  });

  test("messages arrive in their order, and leave out the socket that each names", async () => {
    const app = await caddy.app();
    const first = await listener(app, ["a", "b"]);
    const second = await listener(app, ["a", "b"]);
    const messages = [];
    for (let i = 0; i < 100; i++) messages.push({ channel: i % 3 ? "a" : "b", event: `e${i}`, data: i });
    messages[50].except = first.socket.id;
    messages[51].history = false;
    delete messages[52].data;
    const { results } = await caddy.published(app, { messages });
    assert.deepEqual(results.map(({ offset }) => offset), messages.map((_, i) => i + 1));
    assert.deepEqual(results.map(({ subscribers }) => subscribers), messages.map((_, i) => (i === 50 ? 1 : 2)));
    const want = messages.map(({ event, data }) => (data === undefined ? [event] : [event, data]));
    assert.deepEqual(await second.all(), want);
    assert.deepEqual(await first.all(), want.toSpliced(50, 1));
  });

  test("nothing arrives if one of them is wrong, or there are too many", async () => {
    const app = await caddy.app();
    const { all } = await listener(app, "a");
    const good = { channel: "a", event: "e" };
    const hundred = Array.from({ length: 100 }, () => good);
    for (const [body, status, code, index] of [
      [{ messages: [...hundred.slice(1), { ...good, event: "" }] }, 422, "invalid_event", 99],
      [{ messages: [good, { ...good, channel: "no spaces" }, good] }, 422, "invalid_channel", 1],
      [{ messages: [{ ...good, event: "connect" }, good] }, 422, "reserved_event", 0],
      [{ messages: [good, "a"] }, 400, "invalid_request", 1],
      [{ messages: [good, { ...good, user: "42" }] }, 400, "invalid_request", 1],
      [{ channels: ["a", "b", "a"], event: "e" }, 400, "invalid_request", 2],
      [{ messages: [...hundred, good] }, 400, "invalid_request", undefined],
      [{ channels: Array.from({ length: 101 }, (_, i) => `a${i}`), event: "e" }, 400, "invalid_request", undefined],
      [{ messages: [] }, 400, "invalid_request", undefined],
      [{ messages: [good], channel: "a" }, 400, "invalid_request", undefined],
      [{ messages: [good], event: "e" }, 400, "invalid_request", undefined],
      [{ channels: ["a"], channel: "b", event: "e" }, 400, "invalid_request", undefined],
    ]) {
      const { status: got, text, json } = await caddy.publish(app, body);
      assert.deepEqual([got, json.error.code, json.error.index], [status, code, index], text);
    }
    const { results } = await caddy.published(app, { messages: hundred });
    assert.equal(results[0].offset, 1);
    assert.equal((await all()).length, 100);
  });

  test("a mebibyte of them is published, a byte more is not", async () => {
    const app = await caddy.app();
    const { all } = await listener(app, "a");
    const messages = Array.from({ length: 100 }, (_, i) => ({ channel: "a", event: "e", data: String(i).padEnd(10_000, "x") }));
    const rest = (1 << 20) - JSON.stringify({ messages }).length;
    messages[99].data += "x".repeat(rest);
    const start = performance.now();
    await caddy.published(app, { messages });
    const took = performance.now() - start;
    assert.ok(took < 2_000, `${took} ms`);
    assert.deepEqual((await all()).map(([, data]) => data), messages.map(({ data }) => data));
    messages[0].data += "x";
    assert.equal((await caddy.publish(app, { messages })).status, 413);
  });

  test("they count as many against the rate limit, all or none", async () => {
    const app = await caddy.app();
    const { all } = await listener(app, "a");
    await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { rate_limit: { publishes: 10, window: "1h" } });
    const of = (n) => ({ messages: Array.from({ length: n }, () => ({ channel: "a", event: "e" })) });
    const remaining = async (body, want) => {
      const { status, headers, json } = await caddy.publish(app, body);
      assert.deepEqual([status, json.error?.code, headers["ratelimit-remaining"]], want);
      return headers["retry-after"];
    };
    await remaining(of(7), [200, undefined, "3"]);
    assert.ok(Number(await remaining(of(4), [429, "rate_limited", "3"])) > 3_590);
    await remaining(of(11), [400, "invalid_request", undefined]);
    await remaining(of(2), [200, undefined, "1"]);
    assert.equal((await all()).length, 9);
  });
});
