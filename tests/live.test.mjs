// Who is connected, and what happens, as an operator sees it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { EventStream } from "./lib/events.mjs";
import { once, until } from "./lib/wait.mjs";

describe("an operator", () => {
  let caddy, app, other;
  before(async () => {
    caddy = await Caddy.start();
    app = await caddy.app();
    other = await caddy.app("other");
  });
  after(() => caddy.close());

  const get = async (path) => {
    const answer = await caddy.admin("GET", path);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };
  const watch = (id = app.id) => EventStream.open(`http://localhost:${caddy.adminPort}/realtime/live/${id}`);

  test("sees an app's connections, and a channel's members", async () => {
    const began = Date.now();
    const sockets = [];
    for (const list of [transports.websocket, transports.polling]) {
      sockets.push(await caddy.subscriber(app, ["orders.1", `over.${list[0]}`], { transports: list, extraHeaders: { Origin: caddy.origin } }));
    }
    await caddy.subscriber(other, "orders.1");
    const { connections, next } = await get(`/realtime/connections/${app.id}`);
    assert.equal(next, null);
    assert.deepEqual(connections.map((c) => c.id).sort(), sockets.map((s) => s.id).sort());
    const key = app.keys.find((k) => k.kind === "subscribe").id;
    for (const socket of sockets) {
      const transport = socket.io.engine.transport.name;
      const shown = await get(`/realtime/connections/${app.id}/${socket.id}`);
      assert.deepEqual(shown, connections.find((c) => c.id === socket.id));
      assert.deepEqual(shown.channels, ["orders.1", `over.${transport}`]);
      assert.equal(shown.transport, transport);
      assert.equal(shown.key, key);
      assert.equal(shown.origin, caddy.origin);
      assert.match(shown.client_ip, /^(127\.0\.0\.1|::1)$/);
      assert.ok(Date.parse(shown.connected) > began - 2_000 && Date.parse(shown.connected) <= Date.now());
      const members = await get(`/realtime/connections/${app.id}?channel=over.${transport}`);
      assert.deepEqual(members.connections, [shown]);
    }
    assert.deepEqual((await get(`/realtime/connections/${app.id}?channel=nobody`)).connections, []);

    const first = await get(`/realtime/connections/${app.id}?limit=1`);
    const second = await get(`/realtime/connections/${app.id}?limit=1&after=${first.next}`);
    assert.deepEqual([...first.connections, ...second.connections], connections);
    assert.equal(second.next, null);
    for (const socket of sockets) socket.disconnect();
    await until("nobody is connected", async () => (await get(`/realtime/connections/${app.id}`)).connections.length === 0);
  });

  test("disconnects one client, and no other", async () => {
    const [one, two] = [await caddy.subscriber(app, "a"), await caddy.subscriber(app, "a")];
    const gone = once(one, "disconnect");
    assert.equal((await caddy.admin("DELETE", `/realtime/connections/${app.id}/${one.id}`)).status, 204);
    assert.equal((await gone)[0], "io server disconnect");
    const listed = async () => (await get(`/realtime/connections/${app.id}`)).connections.map((c) => c.id);
    await until("it is listed no more", async () => !(await listed()).includes(one.id));
    assert.deepEqual(await listed(), [two.id]);
    await until("the audit line", () => caddy.logged(/"connection closed".*"app":"app_/).length === 1);
    two.disconnect();
  });

  test("gets clear refusals", async () => {
    const socket = await caddy.subscriber(other, "a");
    for (const [method, path, status, code] of [
      ["GET", "/realtime/connections/app_none", 404, "not_found"],
      ["GET", `/realtime/connections/${app.id}?limit=x`, 400, "invalid_request"],
      ["GET", `/realtime/connections/${app.id}?channel=no+spaces`, 422, "invalid_channel"],
      ["GET", `/realtime/connections/${app.id}/none`, 404, "not_found"],
      ["DELETE", `/realtime/connections/${app.id}/none`, 404, "not_found"],
      ["DELETE", `/realtime/connections/${app.id}/${socket.id}`, 404, "not_found"],
      ["DELETE", `/realtime/connections/${app.id}`, 405, "method_not_allowed"],
      ["POST", `/realtime/connections/${app.id}/none`, 405, "method_not_allowed"],
      ["GET", "/realtime/live/app_none", 404, "not_found"],
      ["POST", `/realtime/live/${app.id}`, 405, "method_not_allowed"],
    ]) {
      const answer = await caddy.admin(method, path);
      assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
      assert.equal(answer.json.error.code, code);
    }
    assert.equal((await caddy.admin("HEAD", `/realtime/live/${app.id}`)).status, 200);
    assert.ok(socket.connected);
    socket.disconnect();
  });

  test("watches what happens in one app, refusals with their cure included", async () => {
    const stream = await watch();
    assert.equal(stream.headers["content-type"], "text/event-stream");
    assert.equal(stream.headers["cache-control"], "no-store");
    const socket = await caddy.subscriber(app, "orders.42");
    const key = app.keys.find((k) => k.kind === "subscribe").id;
    const connected = await stream.tells("connected", { socket: socket.id });
    assert.equal(connected.key, key);
    assert.match(connected.client_ip, /127\.0\.0\.1|::1/);
    await stream.tells("subscribed", { socket: socket.id, channel: "orders.42" });

    const receipt = await caddy.published(app, '{"channel":"orders.42","event":"order.updated","data":{"id": 12345678901234567890,\n"b":"</script>"}}');
    const published = await stream.tells("published", { message: receipt.id });
    assert.equal(published.channel, "orders.42");
    assert.equal(published.subscribers, 1);
    assert.equal(published.data.b, "</script>");

    await caddy.publish({ ...app, publish_key: app.subscribe_key }, { channel: "a", event: "e" });
    assert.match((await stream.tells("refused", { attempt: "publish", code: "wrong_key_kind" })).cure, /publish key/);
    await caddy.publish(app, { channel: "no spaces", event: "e" });
    await stream.tells("refused", { attempt: "publish", code: "invalid_channel" });
    caddy.socket({ ...app, subscribe_key: "sub_live_wrong" });
    await stream.tells("refused", { attempt: "connect", code: "invalid_key" });
    socket.emit("subscribe", "no spaces");
    await stream.tells("refused", { attempt: "subscribe", code: "invalid_channel", socket: socket.id });
    socket.emit("chat", "hello");
    await stream.tells("refused", { attempt: "emit", code: "not_allowed", socket: socket.id });
    socket.emit("unsubscribe", "orders.42");
    await stream.tells("unsubscribed", { socket: socket.id, channel: "orders.42" });
    const { id } = socket; // it has none when it is disconnected
    socket.disconnect();
    await stream.tells("disconnected", { socket: id, reason: "client namespace disconnect" });

    const quiet = stream.events.length;
    await caddy.published(other, { channel: "orders.42", event: "e" });
    await until("two more seconds", () => stream.events.slice(quiet).filter((e) => e.kind === "second").length > 1);
    assert.deepEqual(stream.events.slice(quiet).filter((e) => e.kind === "published"), []);
    assert.doesNotMatch(JSON.stringify(stream.events), new RegExp([app.publish_key, app.subscribe_key, "sub_live_wrong"].join("|")));
    stream.close();
  });

  test("is told of a sample under load, and of how much is missing", async () => {
    const stream = await watch();
    await stream.tells("second");
    for (let i = 0; i < 30; i++) {
      await Promise.all(Array.from({ length: 20 }, () => caddy.published(app, { channel: "load", event: "e" })));
    }
    const sum = (name) => stream.events.filter((e) => e.kind === "second").reduce((n, e) => n + e[name], 0);
    await until("all are counted", () => sum("published") === 600);
    const told = stream.events.filter((e) => e.kind === "published").length;
    assert.equal(told + sum("skipped"), 600);
    assert.ok(sum("skipped") > 0, `${told} were told`);
    stream.close();
  });

  test("is told of the app's events while refusals of strangers pour in", async () => {
    const stream = await watch();
    await stream.tells("second");
    for (let i = 0; i < 20; i++) {
      await Promise.all(Array.from({ length: 20 }, () => caddy.request("GET", "/publish", { headers: { "X-App-Id": app.id } })));
      const { id } = await caddy.published(app, { channel: "own", event: "e" });
      await stream.tells("published", { message: id });
    }
    const sum = (name) => stream.events.filter((e) => e.kind === "second").reduce((n, e) => n + e[name], 0);
    await until("all are counted", () => sum("refused") === 400);
    assert.ok(sum("skipped") > 0, "the refusals are a sample");
    stream.close();
  });

  test("a stream outlives the ten seconds of the admin endpoint's requests, and ends with its app", async () => {
    const fleeting = await caddy.app("fleeting");
    const stream = await watch(fleeting.id);
    await until("twelve seconds", () => stream.events.filter((e) => e.kind === "second").length > 12);
    await caddy.admin("DELETE", `/realtime/apps/${fleeting.id}`);
    assert.equal(await stream.ended, "end");
  });

  test("a reload and an exit wait for no stream", async () => {
    const stream = await watch();
    await stream.tells("second");
    const { code, output } = await caddy.reload();
    assert.equal(code, 0, output);
    // The configuration has not changed: nothing was reloaded, and nothing ends.
    caddy.configure({ rateLimit: "100000 1m" });
    await caddy.reload();
    assert.equal(await stream.ended, "end");
    const again = await watch();
    await again.tells("second");
    const began = Date.now();
    assert.deepEqual(await caddy.signal("SIGTERM"), { code: 0, signal: null });
    assert.ok(Date.now() - began < 5_000, `it took ${Date.now() - began} ms`);
    assert.equal(await again.ended, "end");
  });
});
