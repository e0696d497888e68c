// Caddy's own directives before the gateway: what they do to its answers.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";

const event = JSON.stringify({ channel: "orders", event: "e" });

describe("Caddy's directives", () => {
  let caddy, app, plain;
  before(async () => {
    caddy = await Caddy.prepare();
    const [port] = await freePorts(1);
    plain = `http://localhost:${port}`;
    caddy.configure({ rateLimit: "600 1m", site: "realtime", sites: `${plain} {\n\trealtime\n}` });
    await caddy.boot();
    app = await caddy.app();
  });
  after(() => caddy.close());

  const site = async (lines) => {
    caddy.configure({ rateLimit: "600 1m", site: lines, sites: `${plain} {\n\trealtime\n}` });
    const { code, output } = await caddy.reload();
    assert.equal(code, 0, output);
  };
  const publish = (origin, body = event, headers = {}) =>
    caddy.request("POST", "/publish", {
      origin,
      documented: false, // a header that Caddy took away, or its own answer
      headers: { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}`, ...headers },
      body,
    });

  test("header edits the answers of its own site only", async () => {
    await site("header >Content-Type application/json text/plain\nrealtime");
    for (let i = 0; i < 3; i++) {
      const edited = await publish(caddy.origin);
      assert.deepEqual([edited.status, edited.headers["content-type"]], [200, "text/plain"]);
      const other = await publish(plain);
      assert.deepEqual([other.status, other.headers["content-type"]], [200, "application/json"]);
    }
  });

  test("header edits every header of an answer in its own site only", async () => {
    await site("header {\n\t\t>* application text\n\t\tdefer\n\t}\nrealtime");
    await publish(caddy.origin);
    const other = await publish(plain);
    assert.equal(other.headers["content-type"], "application/json");
    assert.equal(other.headers["ratelimit-limit"], "600");
  });

  test("header removes and sets RateLimit headers, by whichever spelling", async () => {
    for (const [lines, want] of [
      ["header -RateLimit-Limit", undefined],
      ["header -ratelimit-*", undefined],
      ["header >RateLimit-Limit 5", "5"],
      ["header {\n\t\tRateLimit-Limit 5\n\t\tdefer\n\t}", "5"],
      ["header RateLimit-Limit 5", "600"], // before the gateway, whose answer it is
      ["header >RateLimit-Limit 600 5", "5"],
    ]) {
      await site(`${lines}\nrealtime`);
      const answer = await publish(caddy.origin);
      assert.deepEqual([answer.status, answer.headers["ratelimit-limit"]], [200, want], lines);
    }
  });

  test("request_body refuses a declared length itself, and handle_errors has the gateway say why", async () => {
    const large = JSON.stringify({ channel: "orders", event: "e", data: "x".repeat(5_000) });
    await site("request_body {\n\t\tmax_size 1KB\n\t}\nrealtime");
    const bare = await publish(caddy.origin, large);
    assert.deepEqual([bare.status, bare.text], [413, ""]);
    await site("request_body {\n\t\tmax_size 1KB\n\t}\nrealtime\nhandle_errors 413 {\n\t\trealtime\n\t}");
    for (const headers of [{}, { "Transfer-Encoding": "chunked" }]) {
      const told = await publish(caddy.origin, large, headers);
      assert.deepEqual([told.status, told.json?.error.code], [413, "payload_too_large"], told.text);
    }
    assert.equal((await publish(caddy.origin)).status, 200);
  });

  test("every value of the settings may be a placeholder, which caddy adapt keeps", async () => {
    process.env.REALTIME_TEST_RATE = "7 1m";
    caddy.configure({ rateLimit: "{env.REALTIME_TEST_RATE}", site: "realtime {\n\t\tpublish_path /{env.REALTIME_TEST_UNSET}\n\t}" });
    const adapted = await caddy.command("adapt", "--config", caddy.configFile);
    assert.match(adapted.output, /"rate_limit":"\{env.REALTIME_TEST_RATE\}"/);
    const unset = await caddy.command("validate", "--config", caddy.configFile);
    assert.notEqual(unset.code, 0);
    assert.match(unset.output, /publish_path: evaluated placeholder \{env.REALTIME_TEST_UNSET\} is empty/);
    caddy.configure({ rateLimit: "{env.REALTIME_TEST_RATE}", site: "realtime" });
    const valid = await caddy.command("validate", "--config", caddy.configFile);
    assert.equal(valid.code, 0, valid.output);
  });
});
