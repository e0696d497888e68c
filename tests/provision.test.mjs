// Apps by the admin API: at once, for good, and without their keys in sight.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { once } from "./lib/wait.mjs";

describe("apps", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start();
  });
  after(() => caddy.close());

  test("a new one has an id and two keys, works at once, and shows its keys once", async () => {
    const app = await caddy.app("shop");
    assert.equal(app.name, "shop");
    assert.match(app.id, /^app_[A-Za-z0-9_-]+$/);
    assert.match(app.publish_key, /^pk_live_[A-Za-z0-9_-]{22,}$/);
    assert.match(app.subscribe_key, /^sub_live_[A-Za-z0-9_-]{22,}$/);

    const socket = await caddy.subscriber(app, "orders");
    const event = once(socket, "e");
    await caddy.published(app, { channel: "orders", event: "e", data: 1 });
    assert.deepEqual(await event, [1]);

    const shown = await caddy.admin("GET", `/realtime/apps/${app.id}`);
    assert.equal(shown.status, 200);
    assert.equal(shown.json.id, app.id);
    assert.equal(shown.json.name, "shop");
    const listed = await caddy.admin("GET", "/realtime/apps");
    assert.equal(listed.status, 200);
    for (const { text } of [shown, listed]) {
      assert.ok(text.includes(app.id));
      assert.ok(!text.includes(app.publish_key) && !text.includes(app.subscribe_key), "a key in plain text");
    }
  });

  test("a deleted one is gone: its sockets, its publishes, its page", async () => {
    const app = await caddy.app("gone");
    const sockets = await Promise.all(
      Object.values(transports).map((list) => caddy.subscriber(app, "orders", { transports: list })),
    );
    const closed = sockets.map((socket) => once(socket, "disconnect"));
    const answer = await caddy.admin("DELETE", `/realtime/apps/${app.id}`);
    assert.ok([200, 204].includes(answer.status), answer.text);
    for (const [reason] of await Promise.all(closed)) assert.equal(reason, "io server disconnect");
    for (const socket of sockets) assert.equal(socket.active, false, "it does not come back");

    const publish = await caddy.publish(app, { channel: "orders", event: "e" });
    assert.equal(publish.status, 401);
    assert.equal(publish.json.error.code, "unknown_app");
    assert.equal((await caddy.admin("GET", `/realtime/apps/${app.id}`)).status, 404);
    assert.equal((await caddy.admin("DELETE", `/realtime/apps/${app.id}`)).status, 404);
  });

  test("bad requests get errors of the one shape", async () => {
    const cases = [
      ["PUT", "/realtime/apps", {}, 405, "method_not_allowed"],
      ["GET", "/realtime/apps/app_unknown", undefined, 404, "not_found"],
      ["GET", "/realtime/nothing", undefined, 404, "not_found"],
      ["POST", "/realtime/apps", [], 400, /^invalid_/],
      ["POST", "/realtime/apps", { name: 1 }, 400, /^invalid_/],
      ["POST", "/realtime/apps", { name: "x", colour: "red" }, 400, "invalid_request"],
    ];
    for (const [method, path, body, status, code] of cases) {
      const answer = await caddy.admin(method, path, body);
      const what = `${method} ${path} ${JSON.stringify(body)}: ${answer.status} ${answer.text}`;
      assert.equal(answer.status, status, what);
      assert.match(answer.headers["content-type"], /^application\/json/, what);
      assert.match(answer.json.error.code, typeof code === "string" ? new RegExp(`^${code}$`) : code, what);
      assert.ok(answer.json.error.message.length > 5, what);
      if (status === 405) assert.match(answer.headers.allow, /GET.*POST|POST.*GET/);
    }
    const broken = await caddy.request("POST", "/realtime/apps", {
      origin: `http://localhost:${caddy.adminPort}`,
      headers: { "Content-Type": "application/json" },
      body: '{"name":',
    });
    assert.equal(broken.status, 400, broken.text);
    assert.equal(broken.json.error.code, "invalid_json");
  });
});

test("30 apps outlive kill -9 in the same instant, and no key is in any file or log", async () => {
  const caddy = await Caddy.start();
  try {
    const apps = await Promise.all(
      Array.from({ length: 30 }, async (_, i) => ({ ...(await caddy.app(`app ${i}`)), i })),
    );
    const { signal } = await caddy.signal("SIGKILL");
    assert.equal(signal, "SIGKILL");

    await caddy.boot();
    for (const app of apps) {
      const socket = await caddy.subscriber(app, "orders");
      const event = once(socket, "e");
      await caddy.published(app, { channel: "orders", event: "e", data: app.i });
      assert.deepEqual(await event, [app.i]);
      socket.disconnect();
    }

    assert.equal(statSync(caddy.store).mode & 0o777, 0o700);
    const files = readdirSync(caddy.store, { recursive: true })
      .filter((name) => statSync(join(caddy.store, name)).isFile())
      .map((name) => [name, readFileSync(join(caddy.store, name), "latin1")]);
    files.push(["the log", caddy.logs.join("\n")]);
    assert.ok(files.length > 2);
    for (const app of apps) {
      for (const key of [app.publish_key, app.subscribe_key]) {
        const secret = key.split("_").at(-1);
        for (const [name, text] of files) assert.ok(!text.includes(secret), `a key in ${name}`);
      }
    }
  } finally {
    await caddy.close();
  }
});
