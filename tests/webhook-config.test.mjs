// Webhooks as operators configure them: over the admin API and with caddy realtime
// webhook. webhooks.test.mjs has what is sent.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { bin, Caddy } from "./lib/caddy.mjs";

const url = "https://app.example.com/hooks";
const defaults = ["channel.occupied", "channel.vacated", "member.joined", "member.left", "client_event", "rejected"];

/** Compares what is configured, without how deliveries stand: nobody answers at these URLs. */
const same = (...values) => assert.deepEqual(...values.slice(0, 2).map((value) => JSON.parse(JSON.stringify(value, (key, v) => (key === "state" ? undefined : v)))), values[2]);

describe("webhooks", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start();
  });
  after(() => caddy.close());

  const path = (app, ...more) => ["/realtime/webhooks", app.id, ...more].join("/");
  const add = async (app, body = { url }) => {
    const answer = await caddy.admin("POST", path(app), body);
    assert.equal(answer.status, 201, answer.text);
    return answer.json;
  };
  const show = async (app, hook) => {
    const answer = await caddy.admin("GET", path(app, hook.id));
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };
  const refused = async (answer, status, code, message) => {
    const { status: got, json, text } = await answer;
    same([got, json?.error?.code], [status, code], text);
    assert.match(json.error.message, message);
  };

  test("a webhook's whole life", async () => {
    const app = await caddy.app();
    const made = await caddy.admin("POST", path(app), { url, events: ["channel.occupied", "channel.vacated"], prefix: "orders." });
    assert.equal(made.status, 201, made.text);
    assert.equal(made.headers.location, path(app, made.json.id));
    const { secret, ...hook } = made.json;
    assert.equal(Buffer.from(secret.replace("whsec_", ""), "base64").length, 32);
    same(await show(app, hook), hook);
    const { created, id, last4, ...rest } = hook;
    assert.ok(Math.abs(Date.now() - Date.parse(created)) < 120_000, created);
    assert.equal(last4, secret.slice(-4));
    same(rest, {
      url,
      events: ["channel.occupied", "channel.vacated"],
      default_events: false,
      prefix: "orders.",
      enabled: true,
      problem: null,
      previous_secret_until: null,
    });

    const changed = await caddy.admin("PATCH", path(app, id), { enabled: false, events: null, prefix: null });
    same(changed.json, { ...hook, enabled: false, events: defaults, default_events: true, prefix: null });
    same(await show(app, hook), changed.json);

    assert.equal((await caddy.admin("DELETE", path(app, id))).status, 204);
    await refused(caddy.admin("GET", path(app, id)), 404, "not_found", /lists them by their ids/);
    same((await caddy.admin("GET", path(app))).json, { webhooks: [] });
  });

  test("a secret is shown when it is made and never again, in no answer and no log", async () => {
    const app = await caddy.app();
    const first = await add(app);
    const second = (await caddy.admin("POST", path(app, first.id, "rotate"), { overlap: "1h" })).json;
    assert.notEqual(second.secret, first.secret);
    const left = Date.parse(second.previous_secret_until) - Date.now();
    assert.ok(left > 3_000_000 && left <= 3_600_000, second.previous_secret_until);
    const third = (await caddy.admin("POST", path(app, first.id, "rotate"), { overlap: "0s" })).json;
    assert.equal(third.previous_secret_until, null);
    const shown = await Promise.all(
      [path(app), path(app, first.id), "/realtime/apps", `/realtime/apps/${app.id}`, `/realtime/keys/${app.id}`].map((each) => caddy.admin("GET", each)),
    );
    const everything = [...shown.map(({ text }) => text), ...caddy.logs];
    for (const { secret } of [first, second, third]) {
      for (const text of everything) assert.ok(!String(text).includes(secret.slice(6, 20)), text);
    }
    assert.ok(caddy.logs.some((line) => line.includes("webhook secret rotated") && line.includes(first.id)), "the change is in the log");
  });

  test("a change that was answered outlives kill -9", async () => {
    const app = await caddy.app();
    const kept = await add(app, { url, events: ["rejected"] });
    const removed = await add(app);
    const { secret, ...rotated } = (await caddy.admin("POST", path(app, kept.id, "rotate"), { overlap: "1h" })).json;
    await caddy.admin("DELETE", path(app, removed.id));
    await caddy.signal("SIGKILL");
    await caddy.boot();
    same((await caddy.admin("GET", path(app))).json, { webhooks: [rotated] });
    assert.equal(rotated.last4, secret.slice(-4));
  });

  test("mistakes are refused with the cure, and change nothing", async () => {
    const app = await caddy.app();
    const hook = await add(app);
    for (const [body, message] of [
      [{ url: "app.example.com/hooks" }, /begins with https:\/\/ or http:\/\//],
      [{ url: "https://user:password@app.example.com" }, /has a user or a password/],
      [{ url: `${url}#here` }, /has a fragment/],
      [{ url: `https://app.example.com/${"x".repeat(2_048)}` }, /at most 2048 are allowed/],
      [{ url: `${url}?key=${app.publish_key}` }, /contains a key/],
      [{ url, events: [] }, /would never be called/],
      [{ url, events: ["channel_occupied"] }, /The events are channel\.occupied/],
      [{ url, prefix: "orders.*" }, /without the \*/],
      [{ url, secret: hook.secret }, /Unknown field "secret"/],
    ]) {
      await refused(caddy.admin("POST", path(app), body), 400, "invalid_request", message);
      await refused(caddy.admin("PATCH", path(app, hook.id), body), 400, "invalid_request", message);
    }
    await refused(caddy.admin("POST", path(app, hook.id, "rotate"), { overlap: "400d" }), 400, "invalid_request", /"0s" to "366d"/);
    await refused(caddy.admin("PATCH", path(await caddy.app(), hook.id), { enabled: false }), 404, "not_found", /has no webhook/);
    const { secret, ...shown } = hook;
    same((await caddy.admin("GET", path(app))).json, { webhooks: [shown] });
  });

  test("an app has at most 10, whoever is faster", async () => {
    const app = await caddy.app();
    const answers = await Promise.all(Array.from({ length: 14 }, () => caddy.admin("POST", path(app), { url })));
    const count = (status) => answers.filter((answer) => answer.status === status).length;
    same([count(201), count(400)], [10, 4]);
    assert.equal((await caddy.admin("GET", path(app))).json.webhooks.length, 10);
  });

  test("a deleted app has none", async () => {
    const app = await caddy.app();
    const hook = await add(app);
    await caddy.admin("DELETE", `/realtime/apps/${app.id}`);
    await refused(caddy.admin("GET", path(app, hook.id)), 404, "not_found", /No app/);
  });

  test("the commands do the same", async () => {
    const app = await caddy.app();
    const run = (...args) => promisify(execFile)(bin, ["realtime", "webhook", ...args, "--address", `localhost:${caddy.adminPort}`]);
    const json = async (...args) => JSON.parse((await run(...args, "--json")).stdout);
    const { secret, ...hook } = await json("add", app.id, url, "--event", "rejected", "--event", "connection.closed", "--prefix", "orders.", "--paused");
    assert.match(secret, /^whsec_/);
    same([hook.enabled, hook.prefix, hook.events], [false, "orders.", ["rejected", "connection.closed"]]);
    const changed = await json("set", app.id, hook.id, "--enabled", "--default-events", "--prefix", "");
    same(changed, { ...hook, enabled: true, prefix: null, events: defaults, default_events: true });
    assert.match((await run("list", app.id)).stdout, new RegExp(`^${hook.id} .* ${url} +enabled$`, "m"));
    const rotated = await run("rotate", app.id, hook.id, "--overlap", "2h");
    assert.match(rotated.stdout, /^secret +whsec_\S+$/m);
    assert.match((await run("show", app.id, hook.id)).stdout, /^old secret until +2/m);
    await run("remove", app.id, hook.id);
    same(await json("list", app.id), { webhooks: [] });
  });
});
