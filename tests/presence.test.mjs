// Who is in a channel: presence by user, as stock clients see it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { believe } from "./lib/believe.mjs";
import { Caddy } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { once, until } from "./lib/wait.mjs";

/** A Caddy with an app that has a signing key. */
async function start(global) {
  const caddy = await Caddy.start({ global });
  const app = await caddy.app();
  const { key } = (await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "sign" })).json;
  return { caddy, app, key };
}

describe("presence", () => {
  let caddy, app, key;

  before(async () => ({ caddy, app, key } = await start("presence_grace 500ms")));
  after(() => caddy.close());

  const token = (sub, claims) => jwt.sign({ sub, channels: ["presence-*", "room.*"], ...claims }, key, { expiresIn: "1h" });

  async function enter(sub, channel, { claims, ...options } = {}) {
    const socket = caddy.socket(app, { auth: { appId: app.id, token: token(sub, claims) }, ...options });
    await once(socket, "connect");
    const belief = believe(socket, channel);
    const answer = await socket.timeout(5_000).emitWithAck("subscribe", channel);
    assert.equal(answer.error, undefined, JSON.stringify(answer));
    return { socket, belief, answer };
  }

  const ids = ({ belief }) => [...belief.members.keys()].sort();

  test("members see who is there, by user, and who comes and goes", async () => {
    const channel = "presence-a";
    const ann = await enter("ann", channel, { claims: { info: { name: "Ann" } } });
    assert.deepEqual(ann.answer, { channel, presence: { count: 1, members: [{ id: "ann", info: { name: "Ann" }, sockets: 1 }] } });
    const bob = await enter("bob", channel);
    assert.deepEqual(bob.answer.presence.members.map(({ id }) => id), ["ann", "bob"]);
    await until("ann sees bob", () => ann.belief.events.length === 1);
    const tab = await enter("bob", channel);
    assert.deepEqual(tab.answer.presence, { count: 2, members: [{ id: "ann", info: { name: "Ann" }, sockets: 1 }, { id: "bob", sockets: 2 }] });
    bob.socket.disconnect();
    const cat = await enter("cat", channel); // whatever bob's tab causes comes before
    await until("ann sees cat", () => ann.belief.members.has("cat"));
    assert.deepEqual(ann.belief.events, ["+bob", "+cat"]);
    tab.socket.disconnect();
    await until("ann sees that bob has left", () => ann.belief.events.length === 3);
    assert.deepEqual(ann.belief.events, ["+bob", "+cat", "-bob"]);
    assert.deepEqual(ids(ann), ["ann", "cat"]);
    assert.deepEqual(ids(cat), ["ann", "cat"]);
    await cat.socket.timeout(5_000).emitWithAck("unsubscribe", channel);
    await until("ann is alone", () => ann.belief.members.size === 1);
  });

  test("a page that is reloaded within the grace is silent", async (t) => {
    const before = { caddy, app, key };
    ({ caddy, app, key } = await start("presence_grace 5m"));
    t.after(async () => {
      await caddy.close();
      ({ caddy, app, key } = before);
    });
    const channel = "presence-reload";
    const ann = await enter("ann", channel);
    let bob = await enter("bob", channel);
    await until("ann sees bob", () => ann.belief.events.length === 1);
    for (let i = 0; i < 5; i++) {
      bob.socket.disconnect();
      bob = await enter("bob", channel);
    }
    await enter("cat", channel);
    await until("ann sees cat", () => ann.belief.members.has("cat"));
    assert.deepEqual(ann.belief.events, ["+bob", "+cat"]);
  });

  test("a client that comes back knows who is there by then", async (t) => {
    const channel = "presence-back";
    const ledger = new Ledger(caddy, app);
    const ann = await Follower.start(t, ledger, [], { auth: { subscribeKey: null, token: token("ann") } });
    const belief = believe(ann.socket, channel);
    await ann.subscribe(channel);
    const bob = await enter("bob", channel);
    await until("ann sees bob", () => belief.members.has("bob"));
    await ann.recovers({ meanwhile: async () => {
      bob.socket.disconnect();
      const cat = await enter("cat", channel);
      await until("both have left", () => cat.belief.members.size === 1);
    } });
    await until("ann knows", () => [...belief.members.keys()].sort().join() === "ann,cat");
  });

  test("who may not be seen does not see: a token without a user is refused", async () => {
    const socket = caddy.socket(app, { auth: { appId: app.id, token: jwt.sign({ channels: ["presence-*"] }, key, { expiresIn: "1h" }) } });
    await once(socket, "connect");
    const { error } = await socket.timeout(5_000).emitWithAck("subscribe", "presence-a");
    assert.equal(error.code, "channel_forbidden");
  });

  test("a rule gives presence to a channel and takes it away, while clients are in it", async (t) => {
    t.after(() => caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels: null }));
    const ann = await enter("ann", "room.1");
    assert.deepEqual(ann.answer, { channel: "room.1" });
    await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels: [{ match: "room.*", access: "open", presence: true }] });
    await until("ann is told", () => ann.belief.members.has("ann"));
    const guest = caddy.socket(app); // with a subscribe key: it sees and is not seen
    await once(guest, "connect");
    const answer = await guest.timeout(5_000).emitWithAck("subscribe", "room.1");
    assert.deepEqual(answer.presence, { count: 1, members: [{ id: "ann", sockets: 1 }] });
    const bob = await enter("bob", "room.1");
    assert.deepEqual(ids(bob), ["ann", "bob"]);
    await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels: [] });
    await until("both have left", () => ann.belief.events.filter((event) => event[0] === "-").length === 2);
  });
});

describe("events of clients", () => {
  let caddy, app, key;
  before(async () => {
    ({ caddy, app, key } = await start(""));
    const rules = [{ match: "room.*", access: "token", client_events: true }, { match: "open", access: "open", client_events: true }];
    assert.equal((await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels: rules })).status, 200);
  });
  after(() => caddy.close());

  async function enter(channels, auth, ...names) {
    const socket = caddy.socket(app, { auth: { appId: app.id, token: jwt.sign({ sub: "1", channels }, key, { expiresIn: "1h" }), ...auth } });
    await once(socket, "connect");
    for (const name of names) assert.equal((await socket.timeout(5_000).emitWithAck("subscribe", name)).channel, name);
    socket.got = [];
    socket.onAny((event, ...args) => event.startsWith("client-") && socket.got.push([event, ...args]));
    return socket;
  }

  const both = [{ match: "room.*", client_events: true }];
  const send = (socket, ...args) => socket.timeout(5_000).emitWithAck("client", ...args);

  test("reach all others in the channel, and nobody else", async () => {
    const ann = await enter(both, {}, "room.1");
    const bob = await enter(["room.*"], { recover: true }, "room.1");
    const cat = await enter(both, {}, "room.2");
    assert.deepEqual(await send(ann, "room.1", "client-typing", { on: true }), {});
    assert.deepEqual(await send(ann, "room.1", "client-text", "not an id"), {});
    assert.deepEqual(await send(ann, "room.1", "client-nothing"), {});
    await until("bob has them", () => bob.got.length === 3);
    assert.deepEqual(bob.got, [["client-typing", { on: true }], ["client-text", "not an id", null], ["client-nothing"]]);
    assert.deepEqual([ann.got, cat.got], [[], []]);
    for (const [socket, args, code] of [
      [bob, ["room.1", "client-a"], "channel_forbidden"], // its token does not allow it
      [ann, ["room.2", "client-a"], "channel_forbidden"], // it is not there
      [ann, ["room.1", "typing"], "invalid_event"],
      [ann, ["room.1", 5], "invalid_request"],
      [ann, ["room.1"], "invalid_request"],
      [ann, ["ro om", "client-a"], "invalid_channel"],
      [ann, ["room.1", "client-a", Buffer.from("x")], "invalid_request"],
    ]) {
      assert.equal((await send(socket, ...args)).error?.code, code, JSON.stringify(args));
    }
  });

  test("are ten a second", async () => {
    const ann = await enter(both, {}, "open");
    const began = performance.now();
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => send(ann, "open", "client-a", i)));
    const seconds = Math.floor((performance.now() - began) / 1000) + 1;
    const refused = answers.filter(({ error }) => error);
    const accepted = answers.length - refused.length;
    assert.ok(accepted >= 10 && accepted <= 10 * seconds, `${accepted} are accepted in ${seconds} s`);
    assert.ok(refused.every(({ error }) => error.code === "rate_limited"), JSON.stringify(refused));
    await until("the next second", async () => !(await send(ann, "open", "client-a")).error);
  });

  test("a user has as many connections as the app allows", async (t) => {
    const limit = (max) => caddy.admin("PATCH", `/realtime/apps/${app.id}`, { max_connections_per_user: max });
    t.after(() => limit(null));
    const user = `u${Date.now()}`;
    const connect = () => caddy.socket(app, { auth: { appId: app.id, token: jwt.sign({ sub: user }, key, { expiresIn: "1h" }) } });
    assert.equal((await limit(2)).status, 200);
    const sockets = [connect(), connect()];
    await Promise.all(sockets.map((socket) => once(socket, "connect")));
    const [err] = await once(connect(), "connect_error");
    assert.equal(err.data.code, "too_many_connections");
    sockets[0].disconnect();
    await until("there is room again", async () => {
      const socket = connect();
      const connected = await Promise.race([once(socket, "connect").then(() => true), once(socket, "connect_error").then(() => false)]);
      if (!connected) socket.disconnect();
      return connected;
    });
  });

  test("a key that may only manage does not publish", async () => {
    const { key: manage } = (await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "publish", scopes: ["manage"] })).json;
    const answer = await caddy.publish({ ...app, publish_key: manage }, { channel: "open", event: "e" });
    assert.equal(answer.status, 403);
    assert.equal(answer.json.error.code, "missing_scope");
  });
});
