// Users: publishing to them, and what their backend can see and end, with the stock client.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { Caddy } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const now = () => Math.floor(Date.now() / 1000);

describe("users", () => {
  let caddy, app, signing, manage;

  before(async () => {
    caddy = await Caddy.start({ global: "recovery 1m", site: "realtime {\n\tapi_path /realtime-api\n}" });
    app = await caddy.app();
    signing = (await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "sign" })).json;
    manage = (await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "publish", scopes: ["publish", "manage"] })).json;
  });
  after(() => caddy.close());

  const token = (claims) => jwt.sign({ exp: now() + 600, ...claims }, signing.key, { algorithm: "HS256" });

  /** Asks the API of backends. */
  const api = (method, path, { key = manage.key, headers = {} } = {}) =>
    caddy.request(method, `/realtime-api${path}`, { headers: { "X-App-Id": app.id, Authorization: `Bearer ${key}`, ...headers }, documented: false });

  async function connected(auth, options) {
    const socket = caddy.socket(app, { auth: { appId: app.id, ...auth }, ...options });
    socket.got = [];
    socket.on("note", (data) => socket.got.push(data));
    await once(socket, "connect");
    return socket;
  }

  /** Ends a client's connection as a network does, and waits until the server knows that the user has that many left. */
  async function cut(socket, user, left) {
    socket.io.reconnection(false);
    socket.io.engine.close();
    await until("the server has noticed", async () => (await api("GET", `/users/${user}`)).json.sockets === left);
  }

  test("what is published to a user between two of its tokens is recovered", async () => {
    const socket = await connected({ token: token({ sub: "ivy", exp: now() - 20 }), recover: true }, { reconnection: false });
    const { id } = socket;
    await caddy.published(app, { user: "ivy", event: "note", data: 1 });
    await until("the first", () => socket.got.length === 1);
    await once(socket, "disconnect", 30_000); // 25 s after the token's end
    await caddy.published(app, { user: "ivy", event: "note", data: 2 });
    socket.auth.token = token({ sub: "ivy" });
    socket.connect();
    await once(socket, "connect");
    await caddy.published(app, { user: "ivy", event: "note", data: 3 });
    await until("all of it", () => socket.got.length >= 3);
    assert.deepEqual([socket.id, socket.got], [id, [1, 2, 3]]);
    socket.disconnect();
  });

  test("all sockets of a user get what is published to the user, and no others", async () => {
    const ann = [await connected({ token: token({ sub: "ann" }) }), await connected({ token: token({ sub: "ann" }) }, { transports: ["polling"] })];
    const late = await connected({ subscribeKey: app.subscribe_key });
    const bob = await connected({ token: token({ sub: "bob" }) });
    const nobody = await connected({ subscribeKey: app.subscribe_key });
    assert.equal((await late.emitWithAck("authenticate", { token: token({ sub: "ann" }) })).user, "ann");
    const one = await connected({ subscribeKey: app.subscribe_key });
    assert.equal((await one.emitWithAck("subscribe", "private-a", { token: token({ sub: "ann", channels: ["private-a"] }) })).error, undefined);
    const receipt = await caddy.published(app, { user: "ann", event: "note", data: 1 });
    assert.equal(receipt.subscribers, 4);
    const all = [...ann, late, one];
    const batch = await caddy.published(app, { messages: [{ channel: "private-a", event: "note", data: 2 }, { user: "ann", event: "note", data: 3, except: late.id }] });
    assert.deepEqual(batch.results.map((r) => r.subscribers), [1, 3]);
    await until("all of it", () => ann.every((s) => s.got.length === 2) && one.got.length === 3 && late.got.length === 1);
    assert.deepEqual(ann.map((s) => s.got), [[1, 3], [1, 3]]);
    assert.deepEqual([one.got, late.got], [[1, 2, 3], [1]]);
    assert.deepEqual([bob.got, nobody.got], [[], []]);
    const list = await caddy.admin("GET", `/realtime/channels/${app.id}`);
    assert.deepEqual(list.json.channels, [{ channel: "private-a", subscribers: 1 }]);
    for (const socket of [...all, bob, nobody]) socket.disconnect();
  });

  test("a client that was away gets what was published to its user, in order with the rest", async () => {
    const auth = { token: token({ sub: "away" }), recover: true };
    const socket = await connected(auth);
    await socket.emitWithAck("subscribe", "news");
    await caddy.published(app, { user: "away", event: "note", data: 0 });
    await until("the first", () => socket.got.length === 1);
    await cut(socket, "away", 0);
    for (const [i, to] of ["user", "channel", "user", "channel"].entries()) {
      await caddy.published(app, { [to]: to === "user" ? "away" : "news", event: "note", data: i + 1 });
    }
    socket.connect();
    await once(socket, "connect");
    await until("all", () => socket.got.length === 5);
    assert.ok(socket.recovered);
    assert.deepEqual(socket.got, [0, 1, 2, 3, 4]);
    socket.disconnect();
  });

  test("the users who are connected are listed page by page", async () => {
    const own = await caddy.app();
    const key = (await caddy.admin("POST", `/realtime/keys/${own.id}`, { kind: "sign" })).json.key;
    const connect = async (sub) => {
      const socket = caddy.socket(own, { auth: { appId: own.id, subscribeKey: own.subscribe_key, token: sub && jwt.sign({ exp: now() + 600, sub }, key) } });
      await once(socket, "connect");
      return socket;
    };
    const sockets = await Promise.all(["b/1", "ann", "é", "b/1", undefined].map(connect));
    const list = async (query = "") => (await caddy.admin("GET", `/realtime/users/${own.id}${query}`)).json;
    const all = [{ user: "ann", sockets: 1 }, { user: "b/1", sockets: 2 }, { user: "é", sockets: 1 }];
    assert.deepEqual(await list(), { users: all, next: null });
    assert.deepEqual(await list("?limit=2"), { users: all.slice(0, 2), next: "b/1" });
    assert.deepEqual(await list("?limit=2&after=b%2F1"), { users: all.slice(2), next: null });
    sockets[1].disconnect();
    await until("ann has left", async () => (await list()).users.length === 2);
    for (const socket of sockets) socket.disconnect();
    const eve = await connected({ token: token({ sub: "solo" }) });
    assert.deepEqual((await api("GET", "/users?after=sol")).json, { users: [{ user: "solo", sockets: 1 }], next: null });
    eve.disconnect();
  });

  test("a socket whose token has expired is none of its user's any longer, until it shows another", async () => {
    const socket = await connected({ subscribeKey: app.subscribe_key, token: token({ sub: "brief", exp: now() - 20 }) });
    assert.equal((await api("GET", "/users/brief")).json.sockets, 1);
    await until("the token's end", async () => (await api("GET", "/users/brief")).json.sockets === 0);
    assert.ok(socket.connected);
    assert.equal((await caddy.published(app, { user: "brief", event: "note" })).subscribers, 0);
    await socket.emitWithAck("authenticate", { token: token({ sub: "brief" }) });
    assert.equal((await caddy.published(app, { user: "brief", event: "note", data: 1 })).subscribers, 1);
    await until("the event", () => socket.got.length === 1);
    socket.disconnect();
  });

  test("a backend disconnects a user, who may come back but does not recover", async () => {
    const auth = { token: token({ sub: "kim" }), recover: true };
    const here = await connected(auth);
    const away = await connected(auth);
    await cut(away, "kim", 1);
    const gone = once(here, "disconnect");
    assert.deepEqual((await api("DELETE", "/users/kim/connections")).json, { user: "kim", disconnected: 1 });
    assert.equal((await gone)[0], "io server disconnect");
    for (const socket of [here, away]) {
      socket.connect();
      await once(socket, "connect");
      assert.equal(socket.recovered, false);
      socket.disconnect();
    }
  });

  test("a user who is revoked is out at once, and in again with a token issued after the answer", async () => {
    const old = token({ sub: "eve", channels: ["private-x"] });
    const auth = { token: old, recover: true };
    const socket = await connected(auth);
    const away = await connected(auth);
    await away.emitWithAck("subscribe", "private-x");
    await cut(away, "eve", 1);
    const gone = once(socket, "disconnect");
    const answer = await api("POST", "/users/eve/revoke");
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.disconnected, 1);
    await gone;
    const back = caddy.socket(app, { auth: { appId: app.id, token: old } });
    const [err] = await once(back, "connect_error");
    assert.equal(err.data.code, "token_revoked");
    back.disconnect();
    away.auth = { ...auth, appId: app.id, token: token({ sub: "eve", channels: ["private-x"] }) };
    away.connect();
    await once(away, "connect");
    assert.equal(away.recovered, false);
    const shown = (await api("GET", "/users/eve")).json;
    assert.equal(shown.sockets, 1);
    assert.equal(shown.revoked, answer.json.revoked);
    away.disconnect();
  });

  test("the limit of connections per user holds for a user who is known only later", async () => {
    const set = (max) => caddy.admin("PATCH", `/realtime/apps/${app.id}`, { max_connections_per_user: max });
    assert.equal((await set(1)).status, 200);
    const first = await connected({ token: token({ sub: "max" }) });
    const second = await connected({ subscribeKey: app.subscribe_key });
    const answer = await second.emitWithAck("authenticate", { token: token({ sub: "max" }) });
    assert.equal(answer.error.code, "too_many_connections");
    assert.equal((await caddy.published(app, { user: "max", event: "note" })).subscribers, 1);
    assert.equal((await second.emitWithAck("authenticate", { token: token({ sub: "other" }) })).user, "other");
    await set(null);
    first.disconnect();
    second.disconnect();
  });

  test("a backend reads channels, members and messages as an operator does", async () => {
    const socket = await connected({ token: token({ sub: "a/b ü", channels: ["presence-*"], info: { name: "<b>" } }) });
    await socket.emitWithAck("subscribe", "presence-room/1");
    const { id: first } = await caddy.published(app, { channel: "presence-room/1", event: "note", data: { n: 1 } });
    const { id: last } = await caddy.published(app, { channel: "presence-room/1", event: "note" });
    const both = async (path) => {
      const backend = await api("GET", path);
      const [, kind, rest] = /^\/(\w+)(.*)$/.exec(path);
      const operator = await caddy.admin("GET", `/realtime/${kind}/${app.id}${rest}`);
      assert.deepEqual([backend.status, backend.json], [operator.status, operator.json], path);
      return backend;
    };
    const member = { id: "a/b ü", info: { name: "<b>" }, sockets: 1 };
    const channel = "/channels/presence-room%2F1";
    assert.deepEqual((await both("/channels?prefix=presence-")).json, { channels: [{ channel: "presence-room/1", subscribers: 1 }], next: null });
    assert.deepEqual((await both(channel)).json, { channel: "presence-room/1", subscribers: 1, members: 1 });
    assert.deepEqual((await both(`${channel}/members`)).json, { channel: "presence-room/1", count: 1, members: [member], next: null });
    const page = (await both(`${channel}/messages?limit=1`)).json;
    assert.deepEqual([page.messages.map((m) => [m.id, m.event, m.data]), page.more, page.complete, page.id], [[[first, "note", { n: 1 }]], true, true, last]);
    const rest = (await both(`${channel}/messages?since=${first}`)).json;
    assert.deepEqual([rest.messages.map((m) => [m.id, m.data]), rest.more], [[[last, undefined]], false]);
    assert.deepEqual((await both(`${channel}/messages?order=desc`)).json.messages.map((m) => m.id), [last, first]);
    const user = (await both("/users/a%2Fb%20%C3%BC")).json;
    assert.deepEqual([user.sockets, user.connections[0].id, user.connections[0].user], [1, socket.id, "a/b ü"]);
    socket.disconnect();
  });

  test("each bad request to the backend's API gets its code", async () => {
    const bad = { key: `${manage.key.slice(0, -1)}_` };
    for (const [method, path, status, code, options] of [
      ["GET", "/channels", 401, "invalid_key", bad],
      ["GET", "/channels", 401, "wrong_key_kind", { key: app.subscribe_key }],
      ["GET", "/channels", 401, "unknown_app", { headers: { "X-App-Id": "app_00000000000000000000" } }],
      ["GET", "/channels", 403, "missing_scope", { key: app.publish_key }],
      ["GET", "/channels", 400, "invalid_request", { headers: { Origin: caddy.origin } }],
      ["GET", "/", 404, "not_found"],
      ["GET", "/nothing", 404, "not_found"],
      ["GET", "/users?after=%01", 400, "invalid_request"],
      ["GET", "/users?limit=x", 400, "invalid_request"],
      ["DELETE", "/users", 405, "method_not_allowed"],
      ["GET", "/channels//members", 404, "not_found"],
      ["POST", "/channels", 405, "method_not_allowed"],
      ["GET", "/users/42/revoke", 405, "method_not_allowed"],
      ["GET", "/channels?limit=0", 400, "invalid_request"],
      ["GET", "/channels?page=2", 400, "invalid_request"],
      ["GET", "/channels/a%20b", 422, "invalid_channel"],
      ["GET", "/channels/a/members", 400, "invalid_request"],
      ["GET", "/channels/presence-a/members?after=nobody", 400, "invalid_request"],
      ["GET", "/channels/a/messages?order=up", 400, "invalid_request"],
      ["GET", "/channels/a/messages?since=x", 422, "invalid_position"],
      ["GET", "/channels/a/messages?since=AAAAAAAAAAAAAAAA-1", 422, "invalid_position"],
      ["GET", `/users/${"x".repeat(129)}`, 400, "invalid_request"],
      ["GET", "/users/%01", 400, "invalid_request"],
      ["GET", "/users/42?after=x", 400, "invalid_request"],
    ]) {
      const answer = await api(method, path, options);
      assert.deepEqual([answer.status, answer.json?.error?.code], [status, code], `${method} ${path}: ${answer.text}`);
    }
    assert.equal((await api("GET", "/channels", { headers: { Authorization: "Basic x" } })).status, 401);
    assert.equal((await caddy.request("GET", "/REALTIME-API/channels", { documented: false })).status, 404);
  });
});
