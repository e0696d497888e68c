// The matrix of rule, credential, channel and moment: what the gateway does is compared
// with lib/oracle.mjs, some thousand times. matrix-recovery.test.mjs has the clients that
// come back.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Backend, nearlyOver } from "./lib/backend.mjs";
import { Caddy } from "./lib/caddy.mjs";
import { afterChange, connectCode, emitCode, subscribeCode } from "./lib/oracle.mjs";
import { once, until } from "./lib/wait.mjs";

/** Rules of an app, and the beginnings of channels to try with them. */
const apps = {
  "rules of its own": {
    rules: [
      { match: "open.*", access: "open" },
      { match: "token.*", access: "token" },
      { match: "exact.1", access: "token" },
      { match: "closed.1", access: "closed" },
      { match: "closed.*", access: "token" },
      { match: "seen.*", access: "token", presence: true },
      { match: "lobby.*", access: "open", presence: true },
      { match: "chat.*", access: "token", client_events: true },
      { match: "wall.*", access: "open", client_events: true },
    ],
    bases: ["open", "token", "exact", "closed", "seen", "lobby", "chat", "wall", "private-none"],
  },
  "the default rules": { rules: null, bases: ["private-orders", "presence-room", "orders"] },
  "all closed but to tokens": { rules: [{ match: "*", access: "token" }], bases: ["orders", "private-orders"] },
  "no rules": { rules: [], bases: ["private-orders", "presence-room"] },
};

/** Channels of which some only look like what a rule or a token names. */
const channelsOf = (base) => [`${base}.1`, `${base}.10`, `${base}.2`, `${base}.1.1`, base, `${base}x`, `x${base}.1`];

/** Clients that can connect, with what their tokens name below each base. */
const clients = [
  ["a subscribe key", { key: true }],
  ["a token of exact names", { whole: ["ann", ".1"] }],
  ["a token of patterns", { whole: ["ann", ".1*"] }],
  ["a token of prefixes", { whole: ["ann", ".*"] }],
  ["a token of bare prefixes", { whole: ["ann", "*"] }],
  ["a token without channels", { whole: ["ann"] }],
  ["a token without a user", { whole: [undefined, ".*"] }],
  ["a token with client events", { whole: ["ann", ".2"], events: ".1" }],
  ["a key and a token of exact names", { key: true, whole: ["ann", ".1"] }],
  ["a key and a token without channels", { key: true, whole: ["ann"] }],
  ["a key, and a token for each channel", { key: true, own: ["ann", ".*"] }],
  ["a key, and a token for other channels", { key: true, own: ["ann", ".3"] }],
  ["a key, and a token without a user for each channel", { key: true, own: [undefined, ".1"] }],
  ["a token without channels, and one of the same user for each", { whole: ["ann"], own: ["ann", ".1*"] }],
  ["a token, and one of another user for each channel", { whole: ["ann", ".*"], own: ["bob", ".*"] }],
  ["a token, and one without a user for each channel", { whole: ["ann", ".*"], own: [undefined, ".*"] }],
  ["a token without a user, and one of a user for each channel", { whole: [undefined, ".*"], own: ["bob", ".*"] }],
];

/** Cases and their codes, and what was not as expected. */
class Tally {
  cases = 0;
  codes = {};
  wrong = [];

  check(what, got, want) {
    this.cases++;
    const code = want ?? "allowed";
    this.codes[code] = (this.codes[code] ?? 0) + 1;
    if (got !== want) this.wrong.push(`${what}: ${got}, not ${want}`);
  }

  done(t) {
    t.diagnostic(`${this.cases} cases: ${JSON.stringify(this.codes)}`);
    assert.deepEqual(this.wrong, []);
  }
}

describe("the matrix", () => {
  let caddy;
  before(async () => (caddy = await Caddy.start({ global: "auth_failures 0\nmax_channels 1000" })));
  after(() => caddy.close());

  /** A client that keeps all that it is told. */
  function client(backend, auth) {
    const socket = caddy.socket(backend.app, { auth: typeof auth === "function" ? auth : { ...auth } });
    const c = { socket, got: [], expelled: new Map(), lost: [], refused: undefined };
    c.ready = new Promise((done) => {
      socket.on("connect", () => done());
      socket.on("connect_error", (err) => err.data && done((c.refused = err.data.code)));
    });
    socket.on("disconnect", (reason) => c.lost.push(reason));
    socket.on("unsubscribed", (what) => what.code && c.expelled.set(what.channel, what.code));
    socket.onAny((event, data) => event === "m" && c.got.push(data));
    c.subscribe = async (channel, ...options) => (await socket.timeout(30_000).emitWithAck("subscribe", channel, ...options)).error?.code;
    c.emit = async (channel) => (await socket.timeout(30_000).emitWithAck("client", channel, "client-e")).error?.code;
    /** When it is answered, all that was sent before has arrived. */
    c.barrier = () => socket.timeout(30_000).emitWithAck("unsubscribe", "barrier");
    return c;
  }

  async function connected(backend, auth) {
    const c = client(backend, auth);
    assert.equal(await c.ready, undefined);
    return c;
  }

  /** Publishes to the channels, and checks that those clients get it that are in them, and no others. */
  async function publishes(backend, all, channels) {
    for (const c of all) c.got = [];
    for (const channel of channels) {
      const { subscribers } = await caddy.published(backend.app, { channel, event: "m", data: channel });
      assert.equal(subscribers, all.filter((c) => c.socket.connected && c.in.has(channel)).length, channel);
    }
    await Promise.all(all.filter((c) => c.socket.connected).map((c) => c.barrier()));
    for (const c of all) assert.deepEqual(c.got, c.socket.connected ? channels.filter((channel) => c.in.has(channel)) : [], c.what);
  }

  for (const [name, { rules, bases }] of Object.entries(apps)) {
    const token = ([user, ending], events) => ({
      user,
      channels: ending === undefined ? undefined : bases.map((base) => base + ending),
      events: events && bases.map((base) => base + events),
    });

    const credential = ({ key, whole, own, events }) => ({ key, whole: whole && token(whole, events), own: own && token(own) });

    test(`connect, subscribe, publish and emit, with ${name}`, async (t) => {
      const tally = new Tally();
      const backend = await Backend.start(caddy, rules);
      const channels = [...new Set(bases.flatMap(channelsOf))];
      const all = await Promise.all(clients.map(async ([what, given]) => {
        const shown = credential(given);
        const c = await connected(backend, backend.auth(shown));
        tally.check(`${what} connects`, c.refused, connectCode(shown));
        return Object.assign(c, { what, shown, in: new Set() });
      }));
      await Promise.all(all.map(async ({ what, shown, ...c }, i) => {
        const options = shown.own ? [{ token: backend.tokenOf(shown.own) }] : [];
        let { whole } = shown; // the user of the first token that has one is the socket's
        for (const channel of channels) {
          const want = subscribeCode(rules, channel, { ...shown, whole });
          tally.check(`${what} subscribes to ${channel}`, await c.subscribe(channel, ...options), want);
          if (want === undefined) all[i].in.add(channel);
          if (want === undefined && shown.own && whole && !whole.user) whole = { ...whole, user: shown.own.user };
          if (want === undefined && channel.endsWith(".1") && !channel.startsWith("x")) {
            tally.check(`${what} emits in ${channel}`, await c.emit(channel), emitCode(rules, channel, shown));
          }
        }
      }));
      await publishes(backend, all, channels);
      tally.done(t);
    });

    test(`tokens that are not good let nobody in, with ${name}`, async (t) => {
      const tally = new Tally();
      const backend = await Backend.start(caddy, rules);
      const channels = bases.map((base) => `${base}.1`);
      const flawed = await backend.flawed("ann", channels);
      const shown = { key: true, whole: { user: "ann", channels: [] } };
      const c = await connected(backend, backend.auth(shown));
      const nobody = client(backend, backend.auth({}));
      tally.check("no credential", await nobody.ready, connectCode({}));
      await Promise.all(flawed.map(async (whole) => {
        for (const key of [false, true]) {
          for (const recover of [false, true]) {
            const refused = client(backend, { ...backend.auth({ key, whole }), ...(recover && { recover, pid: "x", offset: "y" }) });
            tally.check(`${whole.what}, key ${key}`, await refused.ready, connectCode({ key, whole }));
            assert.ok(!refused.socket.connected);
            refused.socket.disconnect();
          }
        }
        for (const channel of channels) {
          tally.check(`${whole.what}, for ${channel}`, await c.subscribe(channel, { token: whole.raw }), subscribeCode(rules, channel, { ...shown, own: whole }));
        }
        const { error } = await c.socket.timeout(30_000).emitWithAck("authenticate", { token: whole.raw });
        tally.check(`${whole.what}, to authenticate`, error?.code, whole.flaw);
      }));
      c.in = new Set();
      await publishes(backend, [c], channels);
      tally.done(t);
    });
  }

  // What follows are clients that are in their channels when something changes.
  const access = {
    none: undefined,
    open: { access: "open" },
    token: { access: "token" },
    seen: { access: "token", presence: true },
    closed: { access: "closed" },
  };

  test("a rule that changes", async (t) => {
    const tally = new Tally();
    const pairs = Object.keys(access).flatMap((from) => Object.keys(access).map((to) => ({ from, to, channel: `${from}-${to}` })));
    const rules = (side) => pairs.filter((pair) => access[pair[side]]).map((pair) => ({ match: pair.channel, ...access[pair[side]] }));
    const channels = pairs.map(({ channel }) => channel);
    const backend = await Backend.start(caddy, rules("from"));
    const all = await enter(tally, backend, channels, [
      ["a subscribe key", { key: true }],
      ["a token", { whole: { user: "ann", channels } }],
      ["a token of a pattern", { whole: { user: "bob", channels: ["*"] } }],
      ["a token without a user", { whole: { channels: ["*"] } }],
      ["a token of other channels", { whole: { user: "cat", channels: channels.map((channel) => `${channel}.`) } }],
      ["a key and a token", { key: true, whole: { user: "ann", channels } }],
      ["a key, and a token for each channel", { key: true, own: { user: "dan", channels: ["*"] } }],
    ]);
    await backend.setRules(rules("to"));
    await changed(tally, backend, all, channels);
    for (const c of all) {
      for (const channel of channels) {
        tally.check(`${c.what} subscribes to ${channel} after it`, await c.subscribe(channel, ...c.options), subscribeCode(backend.rules, channel, c.shown));
      }
    }
    tally.done(t);
  });

  const moments = {
    "a token that expires": { flaw: "token_expired", exp: nearlyOver },
    "a signing key that is revoked": { flaw: "invalid_token", change: (backend, { old }) => backend.revoke(old) },
    "users who are revoked": {
      flaw: "token_revoked",
      hits: ({ user }) => user === "ann" || user === "bob",
      change: async (backend) => {
        await backend.revokeUser("ann");
        await backend.revokeUser("bob");
      },
    },
    "a subscribe key that is revoked": { keyFlaw: "key_revoked", change: (backend) => backend.revokeSubscribeKey() },
  };
  for (const [moment, { flaw, keyFlaw, exp, change = () => {}, hits = ({ key }) => flaw && key }] of Object.entries(moments)) {
    test(moment, async (t) => {
      const tally = new Tally();
      const rules = ["open", "token", "seen"].map((name) => ({ match: `${name}.*`, ...access[name] }));
      const channels = ["open.1", "token.1", "seen.1", "none.1"];
      const backend = await Backend.start(caddy, rules);
      const old = await backend.addKey();
      const bad = (user, ...names) => ({ user, channels: names, key: old, exp: exp?.() });
      const good = (user, ...names) => ({ user, channels: names });
      const all = await enter(tally, backend, channels, [
        ["a subscribe key", { key: true }],
        ["a token", { whole: bad("ann", "*") }],
        ["a token of exact names", { whole: bad("ann", ...channels) }],
        ["a token of no channels", { whole: bad("ann") }],
        ["a token of no user", { whole: bad(undefined, "*") }],
        ["a token that stays good", { whole: good("gil", "*") }],
        ["a key and a token", { key: true, whole: bad("ann", "*") }],
        ["a key and a token of other channels", { key: true, whole: bad("ann", "token.2") }],
        ["a key and a token that stays good", { key: true, whole: good("gil", "*") }],
        ["a key, and a token for each channel", { key: true, own: bad("bob", "*") }],
        ["a key, a token, and a good one for each channel", { key: true, whole: bad("ann", "*"), own: good("ann", "*") }],
        ["a good token, and one for each channel", { whole: good("ann", "*"), own: bad("ann", "*") }],
        ["a good token of no channels, and one for each channel", { whole: good("ann"), own: bad("ann", "*") }],
        ["a token, and a good one for each channel", { whole: bad("ann"), own: good("ann", "*") }],
      ]);
      await change(backend, { old });
      for (const { shown } of all) {
        for (const token of [shown.whole, shown.own]) if (token && hits(token)) token.flaw = flaw;
        shown.keyFlaw = keyFlaw;
      }
      await changed(tally, backend, all, channels);
      for (const c of all.filter(({ socket }) => socket.connected)) {
        const left = { ...c.shown, whole: c.shown.whole?.flaw ? undefined : c.shown.whole, own: undefined };
        for (const channel of channels) {
          await c.socket.timeout(30_000).emitWithAck("unsubscribe", channel);
          tally.check(`${c.what} subscribes to ${channel} after it`, await c.subscribe(channel), subscribeCode(rules, channel, left));
        }
      }
      tally.done(t);
    });
  }

  /** Connects clients and subscribes them to all channels that they may be in. */
  async function enter(tally, backend, channels, given) {
    return Promise.all(given.map(async ([what, shown]) => {
      const c = await connected(backend, backend.auth(shown));
      // It does not come back: what it was told last is to be seen.
      c.socket.io.reconnection(false);
      Object.assign(c, { what, shown, in: new Set(), options: shown.own ? [{ token: backend.tokenOf(shown.own) }] : [] });
      for (const channel of channels) {
        const want = subscribeCode(backend.rules, channel, shown);
        tally.check(`${what} subscribes to ${channel}`, await c.subscribe(channel, ...c.options), want);
        if (want === undefined) c.in.add(channel);
      }
      return c;
    }));
  }

  /** Waits until each client is told what the oracle says of the change, and no more. */
  async function changed(tally, backend, all, channels) {
    const ends = { network: "transport close", server: "io server disconnect" };
    for (const c of all) {
      const change = afterChange(backend.rules, c.shown);
      c.ends = ends[change];
      c.leaves = new Map(c.ends ? [] : channels.filter((channel) => c.in.has(channel) && change(channel)).map((channel) => [channel, change(channel)]));
    }
    await until("the change", () => all.every((c) => (c.ends ? c.lost.length > 0 : c.expelled.size >= c.leaves.size)), 60_000).catch((err) => {
      const late = all.filter((c) => (c.ends ? !c.lost.length : c.expelled.size < c.leaves.size));
      throw new Error(`${err.message} of ${late.map((c) => `${c.what}: ${c.ends ?? JSON.stringify([...c.leaves])}, is told ${JSON.stringify([...c.expelled])} ${c.lost}`).join("; ")}`);
    });
    for (const c of all) {
      for (const channel of c.leaves.keys()) c.in.delete(channel);
    }
    // A client can see the end of its connection before the gateway has taken leave of it.
    for (const channel of channels) {
      const staying = all.filter((c) => !c.ends && c.in.has(channel)).length;
      await until(`${channel} has ${staying} subscribers`, async () => (await caddy.admin("GET", `/realtime/channels/${backend.app.id}/${encodeURIComponent(channel)}`)).json.subscribers === staying);
    }
    await publishes(backend, all, channels);
    for (const c of all) {
      tally.check(`the end of ${c.what}`, c.lost[0], c.ends);
      if (!c.ends) for (const channel of channels) tally.check(`${c.what} in ${channel}`, c.expelled.get(channel), c.leaves.get(channel));
    }
  }
});
