// Keys and apps change while they are used: at once, without a restart, and
// for those only whom it concerns.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const event = { channel: "orders", event: "e", data: 1 };

describe("keys", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start();
  });
  after(() => caddy.close());

  const keyOf = async (app, kind) => {
    const { json } = await caddy.admin("GET", `/realtime/keys/${app.id}`);
    return json.keys.find((key) => key.kind === kind);
  };
  const add = async (app, body) => {
    const answer = await caddy.admin("POST", `/realtime/keys/${app.id}`, body);
    assert.equal(answer.status, 201, answer.text);
    return answer.json;
  };
  const code = async (answer) => (await answer).json?.error?.code;

  test("an added key works beside the first, and is shown once", async () => {
    const app = await caddy.app();
    const key = await add(app, { kind: "publish", label: "worker" });
    assert.match(key.key, /^pk_live_/);
    assert.equal(key.label, "worker");
    await caddy.published(app, event);
    await caddy.published({ ...app, publish_key: key.key }, event);
    const listed = await caddy.admin("GET", `/realtime/keys/${app.id}`);
    assert.equal(listed.json.keys.length, 3);
    assert.equal(listed.json.keys[2].last4, key.key.slice(-4));
    const [used, unused] = [listed.json.keys[2].last_used, listed.json.keys[1].last_used];
    assert.ok(Date.now() - Date.parse(used) < 120_000, `last used ${used}`);
    assert.equal(unused, null);
    assert.ok(!listed.text.includes(key.key));
  });

  test("a revoked key disconnects its sockets on every transport, for good, and no others", async () => {
    const app = await caddy.app();
    const other = await add(app, { kind: "subscribe" });
    const doomed = await Promise.all(
      Object.values(transports).map((list) => caddy.subscriber(app, "orders", { transports: list })),
    );
    const staying = await caddy.subscriber({ ...app, subscribe_key: other.key }, "orders");
    const closed = doomed.map((socket) => once(socket, "disconnect", 1_000));
    const key = await keyOf(app, "subscribe");
    assert.equal((await caddy.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`)).status, 204);
    for (const [reason] of await Promise.all(closed)) assert.equal(reason, "io server disconnect");
    for (const socket of doomed) assert.equal(socket.active, false, "it does not come back");

    const heard = once(staying, "e");
    await caddy.published(app, event);
    assert.deepEqual(await heard, [1]);
    const [err] = await once(caddy.socket(app), "connect_error");
    assert.equal(err.data.code, "key_revoked");
  });

  test("a revoked publish key is refused by the next publish, with the reason", async () => {
    const app = await caddy.app();
    const key = await keyOf(app, "publish");
    await caddy.published(app, event);
    await caddy.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`);
    assert.equal(await code(caddy.publish(app, event)), "key_revoked");
    assert.ok(await until("the audit line", () => caddy.logged(new RegExp(`key revoked.*${key.id}`)).length === 1));
  });

  test("rotation with overlap loses no publish and no socket until the old key expires", async () => {
    const app = await caddy.app();
    const [publish, subscribe] = [await keyOf(app, "publish"), await keyOf(app, "subscribe")];
    const old = await caddy.subscriber(app, "orders");
    const gone = once(old, "disconnect");
    const rotate = async (key) => {
      const answer = await caddy.admin("POST", `/realtime/keys/${app.id}/${key.id}/rotate`, { overlap: "2s" });
      assert.equal(answer.status, 201, answer.text);
      return answer.json;
    };
    const fresh = { ...app, publish_key: (await rotate(publish)).key, subscribe_key: (await rotate(subscribe)).key };
    const expires = Date.parse((await keyOf(app, "subscribe")).expires);
    const socket = await caddy.subscriber(fresh, "orders");
    let received = 0;
    for (const each of [old, socket]) each.on("e", () => received++);
    await caddy.published(app, event);
    await caddy.published(fresh, event);
    await until("both heard both", () => received === 4);

    const [reason] = await gone;
    assert.equal(reason, "io server disconnect");
    assert.ok(Date.now() >= expires && Date.now() < expires + 5_000, `${Date.now() - expires} ms after the expiry`);
    assert.equal(await code(caddy.publish(app, event)), "key_expired");
    const heard = once(socket, "e");
    await caddy.published(fresh, event);
    await heard;
  });

  test("a disabled app lets nobody in until it is enabled", async () => {
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, "orders");
    const closed = once(socket, "disconnect", 1_000);
    const answer = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { enabled: false });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.enabled, false);
    assert.deepEqual((await closed)[0], "io server disconnect");
    assert.equal(await code(caddy.publish(app, event)), "app_disabled");
    const [err] = await once(caddy.socket(app), "connect_error");
    assert.equal(err.data.code, "app_disabled");
    await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { enabled: true });
    await caddy.subscriber(app, "orders");
    await caddy.published(app, event);
  });

  test("an app's own limit and origins act on the next request", async () => {
    const app = await caddy.app();
    const patch = (body) => caddy.admin("PATCH", `/realtime/apps/${app.id}`, body);
    const limited = await patch({ name: "  store ", rate_limit: { publishes: 2, window: "1h" }, allowed_origins: ["https://a.example"] });
    assert.equal(limited.json.name, "store");
    assert.deepEqual(limited.json.rate_limit, { publishes: 2, window: "1h" });
    await caddy.published(app, event);
    await caddy.published(app, event);
    assert.equal(await code(caddy.publish(app, event)), "rate_limited");
    const [err] = await once(caddy.socket(app, { extraHeaders: { Origin: "https://b.example" } }), "connect_error");
    assert.equal(err.data.code, "origin_not_allowed");
    const reset = await patch({ rate_limit: null, allowed_origins: [] });
    assert.equal(reset.json.rate_limit, null);
    assert.equal(reset.json.name, "store", "what is absent stays");
    await caddy.published(app, event);
    await once(caddy.socket(app, { extraHeaders: { Origin: "https://b.example" } }), "connect");
  });

  test("an app's bounds act on the next connection, subscription and publish", async () => {
    const app = await caddy.app();
    const patch = async (body) => (await caddy.admin("PATCH", `/realtime/apps/${app.id}`, body)).json;
    const first = await caddy.subscriber(app, "a");
    const shown = await patch({ max_connections: 2, max_channels: 2, max_body: 100 });
    assert.deepEqual([shown.max_connections, shown.max_channels, shown.max_body], [2, 2, 100]);

    await caddy.subscriber(app, "a");
    const third = caddy.socket(app);
    const [err] = await once(third, "connect_error");
    assert.equal(err.data.code, "too_many_connections");
    assert.deepEqual(await first.emitWithAck("subscribe", "b"), { channel: "b" });
    assert.equal((await first.emitWithAck("subscribe", "c")).error.code, "too_many_channels");
    assert.equal(await code(caddy.publish(app, { ...event, data: "x".repeat(100) })), "payload_too_large");
    await caddy.published(app, event);

    const reset = await patch({ max_connections: null, max_channels: null, max_body: null });
    assert.deepEqual([reset.max_connections, reset.max_channels, reset.max_body], [null, null, null]);
    third.connect();
    await once(third, "connect");
    assert.deepEqual(await first.emitWithAck("subscribe", "c"), { channel: "c" });
    await caddy.published(app, { ...event, data: "x".repeat(100) });
  });

  test("an app's history acts on the next publish, and its recovery on the next return", async () => {
    const app = await caddy.app();
    const patch = async (body) => {
      const answer = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, body);
      assert.equal(answer.status, 200, answer.text);
      return answer.json;
    };
    const socket = await caddy.subscriber(app, []);
    const replayed = async () => {
      const answer = await socket.timeout(5_000).emitWithAck("subscribe", "kept", { rewind: 100 });
      await socket.timeout(5_000).emitWithAck("unsubscribe", "kept");
      return answer.replayed;
    };
    const publish = async (n) => {
      for (let i = 0; i < n; i++) await caddy.published(app, { channel: "kept", event: "e" });
    };
    await publish(3);
    assert.equal(await replayed(), 3);
    assert.deepEqual((await patch({ history: { messages: 2, age: "1h" } })).history, { messages: 2, age: "1h" });
    await publish(1);
    assert.equal(await replayed(), 2);
    assert.deepEqual((await patch({ history: { messages: 0 } })).history, { messages: 0 });
    await publish(1);
    assert.equal(await replayed(), 0);
    assert.equal((await patch({ history: null })).history, null);
    await publish(1);
    assert.equal(await replayed(), 1);

    const auth = { appId: app.id, subscribeKey: app.subscribe_key, recover: true };
    const client = caddy.socket(app, { auth, reconnection: false });
    await once(client, "connect");
    const comesBack = async () => {
      client.io.engine.close();
      client.connect();
      await once(client, "connect");
      return client.recovered === true; // undefined without a session
    };
    assert.equal(await comesBack(), true);
    assert.equal((await patch({ recovery: "0s" })).recovery, "0s");
    assert.equal(await comesBack(), false);
    assert.equal((await patch({ recovery: "10m" })).recovery, "10m");
    assert.equal(await comesBack(), false, "it got no session while recovery was off");
    assert.equal(await comesBack(), true);
    assert.equal((await patch({ recovery: null })).recovery, null);
    assert.equal(await comesBack(), true);
  });

  test("a client that is away counts, and gives way to a new one", async () => {
    const app = await caddy.app();
    await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { max_connections: 1 });
    const auth = { appId: app.id, subscribeKey: app.subscribe_key, recover: true };
    const [first, second] = [0, 1].map(() => caddy.socket(app, { auth, reconnection: false, autoConnect: false }));
    const arrives = async (socket) => {
      const connected = once(socket, "connect");
      socket.connect();
      await connected;
      return socket.recovered === true;
    };
    const nobody = async () => (await caddy.admin("GET", `/realtime/connections/${app.id}`)).json.connections.length === 0;
    const leaves = async (socket) => {
      socket.io.engine.close();
      await until("it is gone", nobody);
    };
    assert.equal(await arrives(first), false);
    await leaves(first);
    assert.equal(await arrives(first), true, "nobody needed its place");
    await leaves(first);
    assert.equal(await arrives(second), false, "the one that is away does not keep it out");
    const refused = once(first, "connect_error");
    first.connect();
    const [err] = await refused;
    assert.equal(err.data.code, "too_many_connections");
    second.disconnect();
    await until("its place is free", nobody);
    assert.equal(await arrives(first), false, "its session gave way");
    first.disconnect();
  });

  test("a place is free again when its socket is gone", async () => {
    const app = await caddy.app();
    await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { max_connections: 1 });
    for (const list of Object.values(transports)) {
      const socket = await caddy.subscriber(app, "a", { transports: list });
      socket.disconnect();
      await until("it is gone", async () => (await caddy.admin("GET", `/realtime/apps/${app.id}`)).json.connections === 0);
    }
  });

  test("a change of what was not read last is refused", async () => {
    const app = await caddy.app();
    const path = `/realtime/apps/${app.id}`;
    const { etag } = (await caddy.admin("GET", path)).headers;
    const patch = (tag, body) =>
      caddy.request("PATCH", path, {
        origin: `http://localhost:${caddy.adminPort}`,
        headers: { "Content-Type": "application/json", "If-Match": tag },
        body: JSON.stringify(body),
      });
    const first = await patch(etag, { name: "first" });
    assert.equal(first.status, 200, first.text);
    assert.notEqual(first.headers.etag, etag);
    const second = await patch(etag, { name: "second" });
    assert.equal(second.status, 412);
    assert.equal(second.json.error.code, "precondition_failed");
    assert.equal((await patch(`"x", ${first.headers.etag}`, { name: "third" })).status, 200);
    assert.equal((await patch("*", { name: "fourth" })).json.name, "fourth");
  });

  test("bad requests get errors that name the cure", async () => {
    const app = await caddy.app();
    const { id } = await keyOf(app, "publish");
    const keys = `/realtime/keys/${app.id}`;
    const cases = [
      ["POST", keys, {}, 400, "invalid_request", /publish.*subscribe/],
      ["POST", keys, { kind: "both" }, 400, "invalid_request", /publish.*subscribe/],
      ["POST", keys, { kind: "publish", label: "a\nb" }, 400, "invalid_request", /100 printable/],
      ["POST", keys, { kind: "publish", expires: "2001-01-01T00:00:00Z" }, 400, "invalid_request", /in the past/],
      ["POST", keys, { kind: "publish", expires: "tomorrow" }, 400, "invalid_request", /expires is "tomorrow".*for example "90d"/],
      ["POST", keys, { kind: "publish", colour: "red" }, 400, "invalid_request", /colour/],
      ["POST", "/realtime/keys/app_none", { kind: "publish" }, 404, "not_found", /app_none/],
      ["GET", "/realtime/keys/app_none", undefined, 404, "not_found", /app_none/],
      ["PUT", keys, {}, 405, "method_not_allowed", /./],
      ["GET", `${keys}/${id}`, undefined, 405, "method_not_allowed", /./],
      ["DELETE", `${keys}/key_none`, undefined, 404, "not_found", /key_none/],
      ["POST", `${keys}/key_none/rotate`, { overlap: "1h" }, 404, "not_found", /key_none/],
      ["POST", `${keys}/${id}/rotate`, {}, 400, "invalid_request", /overlap.*24h/],
      ["POST", `${keys}/${id}/rotate`, { overlap: "-1h" }, 400, "invalid_request", /overlap.*24h/],
      ["POST", `${keys}/${id}/rotate`, { overlap: "9999d" }, 400, "invalid_request", /overlap.*24h/],
      ["PATCH", "/realtime/apps/app_none", { name: "x" }, 404, "not_found", /app_none/],
      ["PATCH", `/realtime/apps/${app.id}`, { name: "" }, 400, "invalid_request", /printable/],
      ["PATCH", `/realtime/apps/${app.id}`, { id: "app_x" }, 400, "invalid_request", /id/],
      ["PATCH", `/realtime/apps/${app.id}`, { rate_limit: { publishes: -1 } }, 400, "invalid_request", /0 for no limit/],
      ["PATCH", `/realtime/apps/${app.id}`, { rate_limit: { publishes: 5, window: "soon" } }, 400, "invalid_request", /1m/],
      ["PATCH", `/realtime/apps/${app.id}`, { history: 5 }, 400, "invalid_request", /history is a number\. Send \{"messages":100,"age":"2m"\}/],
      ["PATCH", `/realtime/apps/${app.id}`, { history: { age: "1m" } }, 400, "invalid_request", /history needs messages.*\{"messages":0\}/],
      ["PATCH", `/realtime/apps/${app.id}`, { history: { messages: 5 } }, 400, "invalid_request", /history's age is a duration/],
      ["PATCH", `/realtime/apps/${app.id}`, { history: { messages: 5, window: "1m" } }, 400, "invalid_request", /window/],
      ["PATCH", `/realtime/apps/${app.id}`, { history: { messages: 10_001, age: "1m" } }, 400, "invalid_request", /from 1 to 10000; write 0 for none/],
      ["PATCH", `/realtime/apps/${app.id}`, { history: { messages: 5, age: "2d" } }, 400, "invalid_request", /history's age is 48h; it must be from 10ms to 24h/],
      ["PATCH", `/realtime/apps/${app.id}`, { recovery: 120 }, 400, "invalid_request", /recovery is a duration: "2m"/],
      ["PATCH", `/realtime/apps/${app.id}`, { recovery: "soon" }, 400, "invalid_request", /recovery is a duration: "2m"/],
      ["PATCH", `/realtime/apps/${app.id}`, { recovery: "2d" }, 400, "invalid_request", /from 10ms to 24h; write 0 for none/],
      ["PATCH", `/realtime/apps/${app.id}`, { max_connections: 0 }, 400, "invalid_request", /max_connections.*null/],
      ["PATCH", `/realtime/apps/${app.id}`, { max_channels: "many" }, 400, "invalid_request", /max_channels/],
      ["PATCH", `/realtime/apps/${app.id}`, { max_body: 2 ** 40 }, 400, "invalid_request", /max_body/],
      ["PATCH", `/realtime/apps/${app.id}`, { allowed_origins: ["a.example/path"] }, 400, "invalid_request", /a\.example/],
    ];
    for (const [method, path, body, status, want, cure] of cases) {
      const answer = await caddy.admin(method, path, body);
      const what = `${method} ${path} ${JSON.stringify(body)}: ${answer.status} ${answer.text}`;
      assert.equal(answer.status, status, what);
      assert.match(answer.json.error.code, typeof want === "string" ? new RegExp(`^${want}$`) : want, what);
      assert.match(answer.json.error.message, cure, what);
    }
  });
});

test("a revocation and a rotation that were answered outlive kill -9, and the overlap goes on", async () => {
  const caddy = await Caddy.start();
  try {
    const [revoked, rotated] = [await caddy.app(), await caddy.app()];
    const id = async (app) =>
      (await caddy.admin("GET", `/realtime/keys/${app.id}`)).json.keys.find((key) => key.kind === "publish").id;
    const ids = [await id(revoked), await id(rotated)];
    const fresh = (await caddy.admin("POST", `/realtime/keys/${rotated.id}/${ids[1]}/rotate`, { overlap: "1h" })).json.key;
    assert.equal((await caddy.admin("DELETE", `/realtime/keys/${revoked.id}/${ids[0]}`)).status, 204);
    await caddy.signal("SIGKILL");
    await caddy.boot();
    assert.equal((await caddy.publish(revoked, event)).json.error.code, "key_revoked");
    await caddy.published(rotated, event);
    await caddy.published({ ...rotated, publish_key: fresh }, event);
  } finally {
    await caddy.close();
  }
});
