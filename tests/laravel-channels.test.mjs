// examples/laravel: private and presence channels of a Laravel application, with
// routes/channels.php, /broadcasting/auth and stock clients.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { Realtime } from "../examples/laravel/realtime.js";
import { launch } from "./lib/browser.mjs";
import { Caddy } from "./lib/caddy.mjs";
import { Laravel } from "./lib/laravel.mjs";
import { once, until } from "./lib/wait.mjs";

const SAID = "Tests\\SaidNow"; // an event without broadcastAs

describe("a Laravel application", () => {
  let caddy, app, laravel;
  const open = new Set(); // what a test has started and after() ends
  const clients = new Set(); // of the current test
  before(async () => {
    caddy = await Caddy.start({ global: "presence_grace 0s" });
    app = await caddy.app();
    app.signing_key = await caddy.signingKey(app);
    laravel = await start();
  });
  afterEach(() => {
    for (const realtime of clients) realtime.disconnect();
    clients.clear();
  });
  after(async () => {
    for (const stop of open) await stop();
    await caddy?.close();
  });

  /** Starts the application; it ends with the tests. */
  async function start(env) {
    const started = await Laravel.start(caddy, app, env);
    open.add(() => started.close());
    return started;
  }

  const login = (user, { at = laravel, guard } = {}) => at.login(user, guard);

  const post = (path, headers, body, at = laravel) => at.post(path, headers, body);
  const tokenFor = (channel, headers) => laravel.tokenFor(channel, headers);

  /** The example's client, as a page of a user would have it. */
  async function client(user, { at = laravel, ...options } = {}) {
    const headers = await login(user, { at, ...options });
    const realtime = new Realtime({
      url: caddy.origin,
      appId: app.id,
      subscribeKey: app.subscribe_key,
      authEndpoint: `${at.origin}/broadcasting/auth`,
      headers: () => headers,
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 200,
    });
    clients.add(realtime);
    return realtime;
  }

  /** Waits until a channel's page would fetch its state. */
  function ready(channel) {
    return new Promise((resolve, reject) => channel.subscribed(resolve).error((error) => !error.temporary && reject(new Error(JSON.stringify(error)))));
  }

  /** Waits until a channel is refused. */
  function refused(channel) {
    return new Promise((resolve, reject) => channel.error(resolve).subscribed(() => reject(new Error(`${channel.name} is open`))));
  }

  async function subscribe(socket, channel, ...options) {
    return (await socket.timeout(15_000).emitWithAck("subscribe", channel, ...options)).error?.code;
  }

  const say = async (channel, text, headers) => {
    const answer = await post(`/say/${channel}`, headers, { text });
    assert.equal(answer.status, 200, answer.text);
  };

  test("a user whom a rule lets in gets a token for that one channel, and its events", async () => {
    const [ann, bob] = await Promise.all([login(1), login(2)]);
    const token = await tokenFor("private-orders.1", ann);
    const { iat, ...claims } = jwt.verify(token, app.signing_key, { algorithms: ["HS256"] });
    assert.deepEqual(claims, { sub: "1", exp: iat + 300, channels: ["private-orders.1"] });

    const [socket, other] = [await caddy.subscriber(app, []), await caddy.subscriber(app, [])];
    assert.equal(await subscribe(socket, "private-orders.1", { token }), undefined);
    const refusal = await post("/broadcasting/auth", bob, { channel_name: "private-orders.1" });
    assert.equal(refusal.status, 403);
    assert.match(refusal.text, /No rule in routes\/channels\.php lets this user into private-orders\.1/);
    assert.equal(await subscribe(other, "private-orders.1"), "token_required");
    assert.equal(await subscribe(other, "private-orders.1", { token: await tokenFor("private-orders.2", bob) }), "channel_forbidden");
    const heard = [];
    other.onAny((event) => heard.push(event));
    const event = once(socket, SAID);
    await say("orders.1", "for Ann", ann);
    assert.deepEqual(await event, [{ text: "for Ann", more: [] }]);
    await caddy.published(app, { channel: "public", event: "end" }); // ends what other could have heard
    assert.equal(await subscribe(other, "public", { rewind: 1 }), undefined);
    await until("the end", () => heard.includes("end"));
    assert.deepEqual(heard, ["subscribed", "end"]);
  });

  for (const [what, channel, user, message] of [
    ["a guest", "private-user.1", undefined, /Nobody is logged in, so there is no token for private-user\.1/],
    ["a guest in a channel open to all users", "presence-room.1", undefined, /Nobody is logged in/],
    ["a channel without a rule", "private-secrets", 1, /No rule in routes\/channels\.php/],
    ["a pattern, which a token would take for other channels", "private-anything.*", 1, /channel_name must be the name/],
    ["a pattern in a presence channel", "presence-room.*", 1, /channel_name must be the name/],
    ["a newline", "private-anything.a\n", 1, /channel_name must be the name/],
    ["a channel that needs no token", "orders.1", 1, /channel_name must be the name of a private or presence channel/],
    ["an encrypted channel", "private-encrypted-user.1", 1, /does not encrypt/],
    ["a list of channels", ["private-user.1"], 1, /channel_name must be the name/],
    ["no channel", undefined, 1, /channel_name must be the name/],
    ["a user of another guard", "presence-staff.1", 1, /Nobody is logged in/],
  ]) {
    test(`/broadcasting/auth refuses ${what}`, async () => {
      const answer = await post("/broadcasting/auth", await login(user), { channel_name: channel });
      assert.equal(answer.status, 403, answer.text);
      assert.match(JSON.parse(answer.text).message, message);
    });
  }

  test("a rule's guard says whose user it is", async () => {
    const token = await tokenFor("presence-staff.1", await login(7, { guard: "admin" }));
    const { sub, info } = jwt.verify(token, app.signing_key, { algorithms: ["HS256"] });
    assert.deepEqual([sub, info], ["7", { name: "Žofie" }]);
  });

  test("without a signing key, the log says how to make one", async () => {
    const bare = await start({ REALTIME_SIGNING_KEY: app.publish_key });
    const answer = await post("/broadcasting/auth", await login(1, { at: bare }), { channel_name: "private-user.1" }, bare);
    assert.equal(answer.status, 500, answer.text);
    assert.match(bare.log, /REALTIME_SIGNING_KEY must be a signing key of the app .* caddy realtime key add <app> --kind sign/);
    assert.ok(!bare.log.includes(app.publish_key), "the key in the log");
  });

  test("the client listens to a private channel, and toOthers leaves out its own socket", async () => {
    const [ann, tab] = [await client(1), await client(1)];
    const heard = { ann: [], tab: [] };
    const channels = [ann.private("user.1").listen(SAID, (...args) => heard.ann.push(args)), tab.private("user.1").listen(SAID, (...args) => heard.tab.push(args))];
    await Promise.all(channels.map(ready));
    const page = await login(1);
    await say("user.1", "by the tab", { ...page, "X-Socket-ID": tab.socketId });
    await say("user.1", "to both", page);
    const both = [{ text: "to both", more: [] }];
    await until("both hear", () => heard.ann.length === 2 && heard.tab.length === 1);
    assert.deepEqual(heard, { ann: [[{ text: "by the tab", more: [] }], both], tab: [both] });

    channels[0].stopListening(SAID);
    tab.leave("user.1");
    await until("the tab has left", async () => (await caddy.admin("GET", `/realtime/channels/${app.id}/private-user.1`)).json.subscribers === 1);
  });

  test("the client says why a channel is refused", async () => {
    const [guest, bob] = [await client(), await client(2)];
    assert.deepEqual(await refused(guest.private("user.1")), {
      message: "Nobody is logged in, so there is no token for private-user.1.", code: undefined, status: 403, temporary: false,
    });
    assert.equal((await refused(bob.private("user.1"))).status, 403);
    const large = await refused(bob.join("large.1"));
    assert.equal(large.code, "invalid_token");
    assert.match(large.message, /info has \d+ bytes; at most 1024/);
    await ready(guest.channel("public"));
  });

  test("a presence channel says who is here, joins and leaves, with what the rule returned", async () => {
    const [annUser, bobUser] = [{ id: 1, name: "Ann" }, { id: 2, name: "Bob" }];
    const seen = { ann: [], bob: [] };
    const watch = (channel, log) =>
      channel
        .here((users) => log.push(["here", ...users]))
        .joining((user) => log.push(["joining", user]))
        .leaving((user) => log.push(["leaving", user]))
        .listen(SAID, ({ text }) => log.push(["said", text]));
    const ann = await client(1);
    await ready(watch(ann.join("room.1"), seen.ann));
    const bob = await client(2);
    await ready(watch(bob.join("room.1"), seen.bob));
    await until("Ann sees Bob", () => seen.ann.length === 2);
    await say("room.1", "hello", await login(2));
    await until("both hear", () => seen.ann.length === 3 && seen.bob.length === 2);
    bob.leave("room.1");
    await until("Ann sees Bob leave", () => seen.ann.length === 4);
    assert.deepEqual(seen.ann, [["here", annUser], ["joining", bobUser], ["said", "hello"], ["leaving", bobUser]]);
    assert.deepEqual(seen.bob, [["here", annUser, bobUser], ["said", "hello"]]);
  });

  test("a client that is a new one to the gateway gets what it missed in each of its channels", async () => {
    const realtime = await client(1);
    const heard = [];
    let fetches = 0;
    const channel = realtime.private("user.1").listen("n", (n) => heard.push(n)).subscribed(() => fetches++);
    await ready(channel);
    await ready(realtime.channel("counts").listen("m", (m) => heard.push(m)));
    await caddy.published(app, { channel: "private-user.1", event: "n", data: 1 });
    await until("the first", () => heard.length === 1);
    realtime.socket.disconnect();
    await until("it is gone", async () => (await caddy.admin("GET", `/realtime/channels/${app.id}?prefix=counts`)).json.channels.length === 0);
    await caddy.published(app, { channel: "private-user.1", event: "n", data: 2 });
    await caddy.published(app, { channel: "counts", event: "m", data: "missed" });
    realtime.socket.connect();
    await until("what it missed", () => heard.length >= 3);
    await caddy.published(app, { channel: "private-user.1", event: "n", data: 3 });
    await until("the last", () => heard.includes(3));
    assert.deepEqual([heard.filter(Number), heard.filter(isNaN), fetches], [[1, 2, 3], ["missed"], 1]);
  });

  test("a client that recovers has missed nothing, and is not in a channel that it left meanwhile", async () => {
    const realtime = await client(1);
    const heard = [];
    await ready(realtime.private("user.1").listen("n", (n) => heard.push(n)));
    await ready(realtime.private("anything.left").listen("n", () => assert.fail("it has left")));
    const subscribers = async (channel) => (await caddy.admin("GET", `/realtime/channels/${app.id}/${channel}`)).json.subscribers ?? 0;
    const gone = once(realtime.socket, "disconnect");
    const back = once(realtime.socket, "connect");
    realtime.socket.io.engine.close();
    await gone;
    realtime.leave("anything.left");
    await caddy.published(app, { channel: "private-user.1", event: "n", data: 1 });
    await back;
    assert.equal(realtime.socket.recovered, true);
    await until("it has left", async () => (await subscribers("private-anything.left")) === 0);
    await caddy.published(app, { channel: "private-user.1", event: "n", data: 2 });
    await until("both", () => heard.length >= 2);
    assert.deepEqual(heard, [1, 2]);
  });

  test("the client renews its tokens, and no event is lost or doubled", async () => {
    // Tokens end 16 s after they were signed; the client renews them after 8.
    const late = await start({ LARAVEL_TOKEN_LIFE: "16", LARAVEL_CLOCK: "25" });
    const realtime = await client(1, { at: late });
    const [heard, told, here] = [[], [], []];
    realtime.socket.on("unsubscribed", (why) => told.push(why.code));
    let renewals = -2; // less the two first ones
    realtime.socket.on("subscribed", () => renewals++);
    await ready(realtime.private("user.1").listen("n", (n) => heard.push(n)));
    await ready(realtime.join("room.2").here((users) => here.push(users.length)));
    const began = Date.now();
    let sent = 0;
    await until("each channel's token was renewed twice, and the first have ended", async () => {
      await caddy.published(app, { channel: "private-user.1", event: "n", data: sent++ });
      return renewals >= 4 && Date.now() - began > 20_000;
    }, 120_000);
    await until("the last", () => heard.length >= sent);
    assert.deepEqual(heard, Array.from({ length: sent }, (_, i) => i));
    assert.deepEqual([told, here], [[], [1]]);
  });

  test("a token that expired while the application was away is replaced, and no event is lost", async () => {
    const away = await start({ LARAVEL_TOKEN_LIFE: "3", LARAVEL_CLOCK: "25" }); // ends after 3 s
    const realtime = await client(1, { at: away });
    const [heard, told, errors] = [[], [], []];
    realtime.socket.on("unsubscribed", (why) => told.push(why.code));
    const channel = realtime.private("user.1").listen("n", (n) => heard.push(n)).error((error) => errors.push(error));
    await ready(channel);
    await away.stop();
    await caddy.published(app, { channel: "private-user.1", event: "n", data: "before" });
    await until("the token has expired", () => told.length === 1);
    assert.equal(told[0], "token_expired");
    await caddy.published(app, { channel: "private-user.1", event: "n", data: "missed" });
    await until("the client has tried", () => errors.length > 0);
    assert.equal(errors[0].temporary, true);
    await away.boot();
    await until("what it missed", () => heard.length === 2, 60_000);
    assert.deepEqual(heard, ["before", "missed"]);
  });

  test("in a browser, with the session's cookie and Laravel's CSRF protection", async () => {
    const browser = await launch(caddy);
    open.add(() => browser.close());
    const page = await browser.newPage();
    await page.goto(`${laravel.origin}/login/1`);
    await page.goto(`${laravel.origin}/page`);
    const settings = { url: caddy.origin, appId: app.id, subscribeKey: app.subscribe_key, authEndpoint: "/protected/auth" };
    const subscribed = await page.evaluate(async (settings) => {
      const { Realtime } = await import("/files/realtime");
      window.heard = [];
      window.realtime = new Realtime(settings);
      const channel = window.realtime.private("user.1").listen("Tests\\SaidNow", ({ text }) => window.heard.push(text));
      return new Promise((resolve) => channel.subscribed(() => resolve("subscribed")).error(resolve));
    }, settings);
    assert.equal(subscribed, "subscribed");
    await say("user.1", "to the page", await login(1));
    await page.waitForFunction(() => window.heard.length === 1);
    assert.deepEqual(await page.evaluate(() => window.heard), ["to the page"]);

    // The endpoint does check it.
    const { Cookie } = await login(1);
    assert.equal((await post("/protected/auth", { Cookie }, { channel_name: "private-user.1" })).status, 419);
  });
});
