// Recovery and permissions together: what a client that comes back gets, by what has
// become of its rights while it was away. All that it is sent is read, frame by frame.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Backend, nearlyOver, now } from "./lib/backend.mjs";
import { Caddy } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { once, until } from "./lib/wait.mjs";

const mine = "private-mine";
const open = "news";
const rules = [{ match: "private-*", access: "token" }];
const ann = { user: "ann", channels: ["private-*"] };

/**
 * How clients come to be in their channels: fields of auth, and the options of their
 * subscribe, as credentials of oracle.mjs.
 */
const clients = {
  "a token": { whole: ann },
  "a token of exact names": { whole: { user: "ann", channels: [mine] } },
  "a key and a token": { key: true, whole: ann },
  "a key, and a token of the channel": { key: true, own: ann },
  "a token without channels, and one of the channel": { whole: { user: "ann" }, own: ann },
  "a key, in an open channel": { key: true },
};

/** How they lose their connection. The gateway does not notice the last way. */
const networks = [
  { transport: "websocket", how: "reset" },
  { transport: "polling", how: "reset" },
  { transport: "websocket", how: "half-open" },
];

const withToken = ["a token", "a token of exact names", "a key and a token"];
const withOwn = ["a key, and a token of the channel", "a token without channels, and one of the channel"];
const withoutToken = ["a key, in an open channel"];
const withKey = ["a key and a token", "a key, and a token of the channel", ...withoutToken];
const everyone = Object.keys(clients);

/**
 * What happens while they are away, and the outcome: "recovered", "new" (it connects as
 * a new socket), or the code with which it is refused. change does it; shows is what is
 * different in the credential with which the client comes back; exp is that of the token
 * of the channel; silent: nothing can be published after it; unnoticed: only for clients
 * that the gateway takes for connected; others: it comes back as somebody else, so a
 * session that the gateway takes for connected stays.
 */
const moments = [
  { what: "nothing", to: everyone, outcome: "recovered" },
  { what: "a newer token of the same user", to: withToken, shows: { whole: ann }, outcome: "recovered" },
  { what: "a newer token of exact names", to: withToken, shows: { whole: { user: "ann", channels: ["x", mine] } }, outcome: "recovered" },
  { what: "a token in place of the key", to: ["a key and a token"], shows: { key: false }, outcome: "recovered" },
  { what: "a rule of another channel", to: everyone, change: (b) => b.setRules([{ match: "private-other", access: "closed" }, ...rules]), outcome: "recovered" },
  { what: "the channel is closed", to: everyone, change: (b) => b.setRules([{ match: mine, access: "closed" }, { match: open, access: "closed" }, ...rules]), outcome: "new" },
  { what: "the open channel needs a token", to: withoutToken, change: (b) => b.setRules([{ match: "*", access: "token" }]), outcome: "new" },
  { what: "all channels are closed", to: everyone, change: (b) => b.setRules([{ match: "*", access: "closed" }]), outcome: "new" },
  { what: "the token's key is revoked", to: withToken, change: (b) => b.revoke(b.old), outcome: "invalid_token" },
  { what: "the key of the channel's token is revoked", to: withOwn, change: (b) => b.revoke(b.old), shows: { newKey: true }, outcome: "new" },
  { what: "the token's key is revoked, another token", to: ["a token", "a token of exact names"], change: (b) => b.revoke(b.old), shows: { whole: { ...ann, exp: now() + 300 }, newKey: true }, outcome: "recovered" },
  { what: "the token has expired", to: withToken, shows: { whole: { ...ann, exp: now() - 60 } }, outcome: "token_expired" },
  { what: "the token without channels has expired", to: [withOwn[1]], shows: { whole: { user: "ann", exp: now() - 60 } }, outcome: "token_expired" },
  { what: "the token of the channel has expired", to: withOwn, exp: nearlyOver, outcome: "new" },
  { what: "the new token lacks the channel", to: withToken, shows: { whole: { user: "ann", channels: ["private-other", `${mine}.1`, "private-min"] } }, outcome: "new" },
  { what: "the new token has no channels", to: withToken, shows: { whole: { user: "ann" } }, outcome: "new" },
  { what: "the token is of another user", to: [...withToken, withOwn[1]], shows: { whole: { user: "bob", channels: ["*"] } }, others: true, outcome: "new" },
  { what: "the token is of no user", to: [...withToken, withOwn[1]], shows: { whole: { channels: ["*"] } }, others: true, outcome: "new" },
  { what: "a user where there was none", to: [withOwn[0], ...withoutToken], shows: { whole: { user: "bob", channels: ["*"] } }, others: true, outcome: "new" },
  { what: "the key alone", to: [...withToken, withOwn[1]], shows: { key: true, whole: null }, others: true, outcome: "new" },
  { what: "the token is not signed by the app", to: everyone, shows: { whole: { raw: "e30.e30.e30" } }, outcome: "invalid_token" },
  { what: "the user is revoked", to: [...withToken, withOwn[1]], change: (b) => b.revokeUser("ann"), outcome: "token_revoked" },
  { what: "the user is revoked, a newer token", to: withToken, change: (b) => revokedBefore(b, "ann"), shows: { whole: ann }, outcome: "new" },
  { what: "the user of the channel's token is revoked", to: [withOwn[0]], change: (b) => b.revokeUser("ann"), outcome: "new" },
  { what: "another user is revoked", to: everyone, change: (b) => b.revokeUser("bob"), outcome: "recovered" },
  { what: "the subscribe key is revoked", to: withKey, change: (b) => b.revokeSubscribeKey(), outcome: "key_revoked" },
  { what: "an operator disconnects it", to: everyone, unnoticed: true, change: (b, id) => b.disconnect(id), outcome: "new" },
  { what: "the backend disconnects its user", to: withToken, change: (b) => b.disconnectUser("ann"), outcome: "new" },
  { what: "no credential", to: everyone, shows: { key: false, whole: null }, outcome: "missing_key" },
  { what: "the app is disabled", to: everyone, change: (b) => b.disable(), silent: true, outcome: "app_disabled" },
];

describe("a client that comes back", { concurrency: 4 }, () => {
  let caddy;
  before(async () => (caddy = await Caddy.start({ global: "auth_failures 0\nrecovery 2m" })));
  after(() => caddy.close());

  for (const { what, to, outcome, ...moment } of moments) {
    test(`${what}: ${outcome}`, async (t) => {
      const cases = to.flatMap((name) => networks.filter(({ how }) => !moment.unnoticed || how === "half-open").map((network) => ({ name, ...network })));
      await Promise.all(cases.map(async ({ name, transport, how }) => {
        const got = await comesBack(t, clients[name], { transport, how }, moment).catch((err) => {
          throw new Error(`${name}, ${transport}, ${how}: ${err.message}`, { cause: err });
        });
        assert.equal(got, outcome, `${name}, ${transport}, ${how}`);
      }));
      t.diagnostic(`${cases.length} returns`);
    });
  }

  /** Takes a client away and back, and returns the outcome; fails if it gets what it must not. */
  async function comesBack(t, given, { transport, how }, { change = () => {}, shows = {}, exp = () => undefined, silent = false, others = false }) {
    const backend = await Backend.start(caddy, rules);
    backend.old = await backend.addKey();
    const ledger = new Ledger(caddy, backend.app);
    const whole = given.whole && { key: backend.old, ...given.whole };
    const shown = { ...given, whole: whole && { ...whole, raw: backend.tokenOf(whole) } }; // the same token again
    const own = given.own && { key: backend.old, exp: exp(), ...given.own };
    const client = await Follower.start(t, ledger, [], { transport, auth: authOf(backend, shown) });
    const channels = shown.whole || own ? [mine, open] : [open];
    for (const channel of channels) {
      await client.subscribe(channel, ...(own && channel === mine ? [{ token: backend.tokenOf(own) }] : []));
      await ledger.publish(channel);
    }
    await until("what comes before", () => client.got.length === channels.length);
    const { id, socket } = client;
    const frames = [];
    socket.io.on("open", () => socket.io.engine.on("message", (frame) => frames.push(String(frame))));

    const lost = once(socket, "disconnect", 60_000);
    await client.cutter.cut({ how });
    await lost;
    const missed = [];
    const publish = async () => {
      for (const channel of channels) missed.push((await ledger.publish(channel, `SECRET ${missed.length} of ${channel}`)).data);
    };
    await publish();
    await change(backend, id);
    if (own?.exp) await until("the token has expired", () => Date.now() / 1000 > own.exp + 25, 30_000);
    if (!silent) await publish(); // also after the right was taken

    const back = { ...shown, ...shows };
    if (back.whole && shows.newKey) back.whole = { ...(shows.whole ?? given.whole), key: backend.key };
    else if (shows.whole) back.whole = { key: backend.old, ...shows.whole };
    const outcome = await returns(client, authOf(backend, back));
    const secrets = () => frames.filter((frame) => frame.includes("SECRET"));
    if (outcome === "recovered") {
      assert.equal(socket.id, id);
      await barrier(client);
      assert.deepEqual(client.data.slice(channels.length), missed);
      assert.equal(secrets().length, missed.length);
      return outcome;
    }
    if (outcome !== "new") {
      assert.deepEqual(secrets(), [], "it was refused and got something");
      if (silent) return outcome;
      const bob = { whole: { user: "bob", channels: ["*"] } };
      assert.equal(await returns(client, authOf(backend, bob), () => socket.connect()), "new");
    }
    assert.ok(socket.id && socket.id !== id, `it is ${socket.id} as before`);
    for (const channel of channels) {
      const { subscribers } = await ledger.publish(channel, "SECRET, later");
      if (outcome === "new" && !others) assert.equal(subscribers, 0, channel);
    }
    await barrier(client);
    assert.deepEqual(secrets(), [], "it got what it missed");
    assert.equal(client.got.length, channels.length);
    return outcome;
  }

  for (const away of [false, true]) {
    test(`another user who knows its private ID takes nothing from it${away ? " while it is away" : ""}`, async (t) => {
      const backend = await Backend.start(caddy, rules);
      const ledger = new Ledger(caddy, backend.app);
      const auth = (user) => authOf(backend, { whole: { user, channels: ["private-*"] } });
      const client = await Follower.start(t, ledger, [], { auth: auth("ann") });
      await client.subscribe(mine);
      await ledger.publish(mine);
      await until("ann's event", () => client.got.length === 1);
      const { id, socket } = client;
      const pid = socket._pid;
      assert.match(pid, /^.{20}$/);
      if (away) {
        const lost = once(socket, "disconnect", 60_000);
        await client.cutter.cut({ how: "reset" });
        await lost;
      }
      for (const user of ["bob", undefined]) {
        const thief = await Follower.start(t, ledger, [], { auth: { ...auth(user), pid, offset: client.got[0].id } });
        assert.notEqual(thief.id, id);
        assert.equal(thief.connects[0].recovered, false);
        await ledger.publish(mine);
        await barrier(thief);
        assert.deepEqual(thief.data, []);
      }
      if (away) assert.equal(await returns(client, auth("ann")), "recovered");
      await until("what ann was owed", () => client.got.length === 3);
      assert.equal(socket.id, id);
      assert.equal(client.lost.length, away ? 1 : 0);
    });
  }
});

/** Revokes a user, and waits until a token that is signed now was issued after that. */
async function revokedBefore(backend, user) {
  await backend.revokeUser(user);
  const second = now();
  await until("the next second", () => now() > second);
}

/** The fields of auth of a credential, with null for what it has not. */
const authOf = (backend, shown) => ({ subscribeKey: null, token: null, ...backend.auth(shown) });

/** Lets a client connect with these fields of auth, and returns the outcome. */
async function returns(client, auth, connect = () => client.cutter.admit()) {
  const { socket } = client;
  client.auth = auth;
  let onError;
  const outcome = await new Promise((done) => {
    socket.once("connect", () => done(socket.recovered ? "recovered" : "new"));
    onError = ({ data }) => data && done(data.code); // without data, the network refuses it
    socket.on("connect_error", onError);
    connect();
  });
  socket.off("connect_error", onError);
  return outcome;
}

/** When it is answered, all that was sent to the client before has arrived. */
const barrier = ({ socket }) => socket.timeout(30_000).emitWithAck("unsubscribe", "barrier");
