// Who may subscribe to what: channel rules and tokens, with the stock client.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { Caddy } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { once, until } from "./lib/wait.mjs";

const now = () => Math.floor(Date.now() / 1000);

/** The exp of a token that is let in, within the leeway of 30 s, and ends 25 s after its exp. */
const nearlyOver = () => now() - 15;

describe("tokens", () => {
  let caddy, app, signing, ledger;

  before(async () => {
    caddy = await Caddy.start({ global: "recovery 1m" });
    app = await caddy.app();
    signing = await addKey({ kind: "sign" });
    ledger = new Ledger(caddy, app);
  });
  after(() => caddy.close());

  async function addKey(body, to = app) {
    const answer = await caddy.admin("POST", `/realtime/keys/${to.id}`, body);
    assert.equal(answer.status, 201, answer.text);
    return answer.json;
  }

  async function patch(body) {
    const answer = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, body);
    assert.equal(answer.status, 200, answer.text);
  }

  /** A token as a backend makes it. */
  function token(claims, { key = signing.key, ...options } = {}) {
    return jwt.sign({ exp: now() + 600, ...claims }, key, { algorithm: "HS256", ...options });
  }

  /** A client with only a token, or what auth says. */
  function connect(auth, options) {
    return caddy.socket(app, { auth: typeof auth === "function" ? auth : { appId: app.id, ...auth }, ...options });
  }

  async function connected(auth, options) {
    const socket = connect(auth, options);
    await once(socket, "connect");
    return socket;
  }

  async function refused(auth) {
    const socket = connect(auth);
    const [err] = await once(socket, "connect_error");
    socket.disconnect();
    return err.data.code;
  }

  /** The code of a subscribe that is refused, or undefined. */
  async function subscribe(socket, channel, ...options) {
    const answer = await socket.timeout(10_000).emitWithAck("subscribe", channel, ...options);
    return answer.error?.code;
  }

  test("a channel that needs a token is only for those whose token has it", async () => {
    const key = { subscribeKey: app.subscribe_key };
    const alice = await connected({ token: token({ sub: "alice", channels: ["private-orders.alice"] }) });
    const bob = await connected({ ...key, token: token({ sub: "bob", channels: ["private-orders.bob", "presence-*"] }) });
    const nobody = await connected(key);
    for (const [socket, channel, code] of [
      [alice, "private-orders.alice", undefined],
      [alice, "private-orders.bob", "channel_forbidden"],
      [alice, "private-orders.alice.2", "channel_forbidden"],
      [alice, "public", undefined],
      [bob, "private-orders.alice", "channel_forbidden"],
      [bob, "private-orders.bob", undefined],
      [bob, "presence-room", undefined],
      [bob, "private-orders.*", "invalid_channel"],
      [nobody, "private-orders.alice", "token_required"],
      [nobody, "presence-room", "token_required"],
      [nobody, "public", undefined],
    ]) {
      assert.equal(await subscribe(socket, channel), code, `${channel}`);
    }
    const got = [];
    for (const socket of [alice, bob, nobody]) socket.onAny((event) => event === "order" && got.push(socket));
    const { subscribers } = await caddy.published(app, { channel: "private-orders.alice", event: "order" });
    assert.equal(subscribers, 1);
    await until("the order", () => got.length > 0);
    assert.deepEqual(got, [alice]);
  });

  test("a token for one channel comes with its subscribe", async () => {
    const socket = await connected({ subscribeKey: app.subscribe_key });
    assert.equal(await subscribe(socket, "private-a", { token: token({ sub: "1", channels: ["private-a"] }) }), undefined);
    assert.equal(await subscribe(socket, "private-b"), "token_required");
    assert.equal(await subscribe(socket, "private-b", { token: token({ sub: "1", channels: ["private-a"] }) }), "channel_forbidden");
    assert.equal(await subscribe(socket, "private-b", { token: token({ sub: "2", channels: ["private-b"] }) }), "user_mismatch");
    assert.equal(await subscribe(socket, "private-b", { token: "x" }), "invalid_token");
    assert.equal(await subscribe(socket, "private-b", { token: "" }), "invalid_request");
    assert.equal(await subscribe(socket, "private-b", { token: token({ sub: "1", channels: ["private-*"] }), rewind: 5 }), undefined);
    // The token was for that channel.
    assert.equal(await subscribe(socket, "private-c"), "token_required");
  });

  test("tokens that are not good let nobody in, and say why", async () => {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const pem = publicKey.export({ type: "spki", format: "pem" });
    const other = await caddy.app("other");
    const foreign = await addKey({ kind: "sign" }, other);
    const mine = await caddy.app("mine");
    const es = await addKey({ kind: "sign", public_key: pem }, mine);
    const into = (token) => caddy.socket(mine, { auth: { appId: mine.id, token } });
    const good = into(jwt.sign({ exp: now() + 60 }, privateKey, { algorithm: "ES256", keyid: es.id }));
    await once(good, "connect");
    for (const [what, auth, code] of [
      ["no signature", { token: jwt.sign({ exp: now() + 60 }, null, { algorithm: "none" }) }, "invalid_token"],
      ["another app's key", { token: token({}, { key: foreign.key }) }, "invalid_token"],
      ["another kind of key", { token: token({}, { key: app.publish_key }) }, "invalid_token"],
      ["no exp", { token: jwt.sign({ sub: "1" }, signing.key) }, "invalid_token"],
      ["too late", { token: token({ exp: now() - 60 }) }, "token_expired"],
      ["too far", { token: token({ exp: now() + 2 * 86400 }) }, "invalid_token"],
      ["not yet", { token: token({ nbf: now() + 120 }) }, "invalid_token"],
      ["not a token", { token: "sub_live_x" }, "invalid_token"],
      ["a bad token with a good key", { token: "x.y.z", subscribeKey: app.subscribe_key }, "invalid_token"],
      ["a good token with a bad key", { token: token({}), subscribeKey: "sub_live_x" }, "invalid_key"],
      ["a number", { token: 5 }, "invalid_request"],
      ["a signing key as the subscribe key", { subscribeKey: signing.key }, "wrong_key_kind"],
    ]) {
      assert.equal(await refused(auth), code, what);
    }
    // The public key is no secret, so a token that is signed with it as one is worth nothing.
    const forged = into(`${Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url")}.${Buffer.from(`{"exp":${now() + 60}}`).toString("base64url")}.${"A".repeat(43)}`);
    const [err] = await once(forged, "connect_error");
    assert.equal(err.data.code, "invalid_token");
  });

  test("authenticate renews a token in place, and takes away what the new one lacks", async () => {
    const socket = await connected({ token: token({ sub: "7", channels: ["private-a", "private-b"] }) });
    assert.equal(await subscribe(socket, "private-a"), undefined);
    assert.equal(await subscribe(socket, "private-b"), undefined);
    const left = once(socket, "unsubscribed");
    const exp = now() + 300;
    const answer = await socket.timeout(5_000).emitWithAck("authenticate", { token: token({ sub: "7", exp, channels: ["private-b"] }) });
    assert.deepEqual(answer, { user: "7", expires: exp });
    const [{ channel, code }] = await left;
    assert.deepEqual([channel, code], ["private-a", "channel_forbidden"]);
    for (const [args, code] of [
      [[{ token: token({ sub: "8" }) }], "user_mismatch"],
      [[{ token: token({}) }], "user_mismatch"],
      [[{ token: "x" }], "invalid_token"],
      [[{}], "invalid_request"],
      [["x"], "invalid_request"],
      [[], "invalid_request"],
    ]) {
      const refusal = await socket.timeout(5_000).emitWithAck("authenticate", ...args);
      assert.equal(refusal.error.code, code, JSON.stringify(args));
    }
    assert.equal(await subscribe(socket, "private-b"), undefined);
  });

  for (const transport of ["websocket", "polling"]) {
    test(`a token that expires costs a stock client nothing but a quick reconnect, over ${transport}`, async (t) => {
      const channel = `private-expiry.${transport}`;
      let calls = 0;
      const auth = { subscribeKey: null, get token() {
        calls++;
        return token({ sub: "9", exp: calls === 1 ? nearlyOver() : now() + 600, channels: [channel] });
      } };
      const follower = await Follower.start(t, ledger, channel, { transport, auth });
      const id = follower.id;
      await until("it is back with another token", () => follower.connects.length === 2, 60_000);
      assert.deepEqual(follower.connects[1], { id, recovered: true });
      assert.equal(calls, 2);
      await follower.settles();
    });
  }

  test("a socket with a subscribe key stays when its token expires, without the channels that needed it", async () => {
    const socket = caddy.socket(app, { auth: { appId: app.id, subscribeKey: app.subscribe_key, token: token({ sub: "1", exp: nearlyOver(), channels: ["private-a"] }) } });
    const told = once(socket, "realtime:token_expiring");
    await once(socket, "connect");
    assert.equal(typeof (await told)[0].expires, "number");
    const left = once(socket, "unsubscribed", 60_000);
    assert.equal(await subscribe(socket, "private-a"), undefined);
    assert.equal(await subscribe(socket, "public"), undefined);
    const [{ channel, code }] = await left;
    assert.deepEqual([channel, code], ["private-a", "token_expired"]);
    assert.equal((await caddy.published(app, { channel: "public", event: "e" })).subscribers >= 1, true);
    assert.equal(await subscribe(socket, "private-a"), "token_required");
    assert.ok(socket.connected);
  });

  test("a token of one channel is renewed by another subscribe, without leaving it", async () => {
    const socket = await connected({ subscribeKey: app.subscribe_key });
    const told = [];
    const left = [];
    const got = [];
    socket.on("realtime:token_expiring", (notice) => told.push(notice));
    socket.on("unsubscribed", (notice) => left.push(notice));
    socket.on("e", (data) => got.push(data));
    const exp = nearlyOver();
    const own = (channel, exp) => ({ token: token({ sub: "1", exp, channels: [channel] }) });
    for (const channel of ["private-a", "private-b"]) {
      assert.equal((await socket.timeout(5_000).emitWithAck("subscribe", channel, own(channel, exp))).error, undefined);
    }
    await until("it is told of both", () => told.length === 2);
    assert.deepEqual(told.sort((a, b) => (a.channel < b.channel ? -1 : 1)), ["private-a", "private-b"].map((channel) => ({ expires: exp, channel })));
    assert.equal((await socket.timeout(5_000).emitWithAck("subscribe", "private-a", own("private-a", now() + 600))).error, undefined);
    await until("the other's end", () => left.length === 1, 60_000);
    assert.deepEqual([left[0].channel, left[0].code], ["private-b", "token_expired"]);
    await caddy.published(app, { channel: "private-a", event: "e", data: 1 });
    await until("its event", () => got.length === 1);
    assert.deepEqual([told.length, left.length], [2, 1]);
  });

  test("a change of the rules acts on those who are in a channel", async (t) => {
    t.after(() => patch({ channels: null }));
    const socket = await connected({ subscribeKey: app.subscribe_key });
    const holder = await connected({ token: token({ sub: "1", channels: ["news.*"] }) });
    for (const client of [socket, holder]) assert.equal(await subscribe(client, "news.1"), undefined);
    let left = once(socket, "unsubscribed");
    await patch({ channels: [{ match: "news.*", access: "token" }] });
    assert.equal((await left)[0].code, "token_required");
    assert.equal(await subscribe(socket, "news.1"), "token_required");
    assert.equal((await caddy.published(app, { channel: "news.1", event: "e" })).subscribers, 1);
    left = once(holder, "unsubscribed");
    await patch({ channels: [{ match: "news.1", access: "closed" }, { match: "news.*", access: "token" }] });
    assert.equal((await left)[0].code, "channel_forbidden");
    assert.equal(await subscribe(holder, "news.2"), undefined);
    await patch({ channels: [] });
    assert.equal(await subscribe(socket, "private-anything"), undefined);
    left = once(socket, "unsubscribed");
    await patch({ channels: null });
    assert.equal((await left)[0].code, "token_required");
  });

  test("a channel keeps as much as its rule says", async (t) => {
    t.after(() => patch({ channels: null }));
    await patch({ channels: [{ match: "kept.none", history: { messages: 0 } }, { match: "kept.*", history: { messages: 2, age: "1m" } }] });
    const socket = await connected({ subscribeKey: app.subscribe_key });
    for (const [channel, replayed] of [["kept.none", 0], ["kept.two", 2], ["other", 3]]) {
      for (let i = 0; i < 3; i++) await caddy.published(app, { channel, event: "e" });
      const answer = await socket.timeout(5_000).emitWithAck("subscribe", channel, { rewind: 10 });
      assert.equal(answer.replayed, replayed, channel);
    }
  });

  test("a revoked signing key ends its sockets, and its tokens are worth nothing", async () => {
    const key = await addKey({ kind: "sign" });
    const auth = { token: token({ sub: "1", channels: ["private-a"] }, { key: key.key, keyid: key.id }) };
    const alone = await connected(auth, { reconnection: false });
    const both = await connected({ ...auth, subscribeKey: app.subscribe_key });
    assert.equal(await subscribe(both, "private-a"), undefined);
    const [ended, left] = [once(alone, "disconnect"), once(both, "unsubscribed")];
    const { status } = await caddy.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`);
    assert.equal(status, 204);
    await ended;
    assert.equal((await left)[0].code, "invalid_token");
    assert.ok(both.connected);
    assert.equal(await refused(auth), "invalid_token");
  });

  describe("recovery", () => {
    const channels = ["private-mine", "public-too"];
    const claims = { sub: "5", channels: ["private-*"] };

    async function follow(t, auth) {
      const follower = await Follower.start(t, ledger, channels, { auth });
      await ledger.publish(channels[0]);
      await until("the event", () => follower.got.length === 1);
      return follower;
    }

    test("with the same user's token, everything comes back", async (t) => {
      const follower = await follow(t, { token: token(claims) });
      await follower.recovers({ meanwhile: async () => {
        follower.auth.token = token(claims);
        for (const channel of channels) await ledger.publish(channel);
      } });
      await follower.settles();
    });

    test("a right that was taken while the client was away leaves it with nothing", async (t) => {
      t.after(() => patch({ channels: null }));
      const follower = await follow(t, { token: token(claims) });
      await follower.starts({ meanwhile: async () => {
        for (const channel of channels) await ledger.publish(channel);
        await patch({ channels: [{ match: "private-*", access: "closed" }] });
      } });
    });

    for (const [what, auth] of [
      ["another user", () => ({ token: token({ ...claims, sub: "6" }) })],
      ["a token without a user", () => ({ token: token({ channels: claims.channels }) })],
      ["a token that lacks a channel", () => ({ token: token({ ...claims, channels: ["private-other"] }) })],
      ["no token", () => ({ token: null })],
    ]) {
      test(`${what} gets nothing of what the client has missed`, async (t) => {
        const follower = await follow(t, { token: token(claims) });
        await follower.starts({ meanwhile: async () => {
          follower.auth = auth();
          for (const channel of channels) await ledger.publish(channel);
        } });
      });
    }

    test("a channel's own token is remembered", async (t) => {
      const follower = await Follower.start(t, ledger, []);
      await follower.subscribe("private-one", { token: token({ sub: "5", channels: ["private-one"] }) });
      await ledger.publish("private-one");
      await follower.recovers({ meanwhile: () => ledger.publish("private-one") });
      await follower.settles();
    });
  });
});
