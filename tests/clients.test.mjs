// Every minor of socket.io-client 3 and 4 on each transport, with what its
// users do; and one of 2, which is told to go. The versions are in clients/.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, afterEach, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const require = createRequire(new URL("clients/package.json", import.meta.url));
const versions = Object.keys(require("./package.json").devDependencies)
  .map((name) => name.replace("client-", ""))
  .filter((version) => version >= "3");
const each = versions.flatMap((version) => Object.entries(transports).map(([transport, list]) => ({ version, transport, list })));

let caddy;
before(async () => {
  caddy = await Caddy.start({ global: "ping_interval 300ms\n\t\tping_timeout 10s\n\t\tconnect_timeout 5s" });
});
after(() => caddy.close());

/** Sockets that are not to come back, each with what it is. */
const gone = [];

/** A socket of a version, which counts when it tries to come back. */
function socketOf(which, app, options) {
  const socket = caddy.socket(app, { client: require(`client-${which.version}`).io, transports: which.list, ...options });
  (which.sockets ??= []).push(socket);
  socket.attempts = 0;
  socket.io.on("reconnect_attempt", () => socket.attempts++);
  return socket;
}

/** Emits, and waits for the acknowledgement: its first argument, and all of them. */
const ask = async (socket, ...args) => (await askAll(socket, ...args))[0];
const askAll = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));

/** A version's connected socket, subscribed to channels. */
async function subscriber(which, app, ...channels) {
  const socket = socketOf(which, app);
  await once(socket, "connect");
  for (const channel of channels) assert.deepEqual(await ask(socket, "subscribe", channel), { channel });
  return socket;
}

/** All that a socket hears but the answers to subscribe and unsubscribe. */
function heard(socket) {
  const events = [];
  socket.onAny((name, ...args) => /subscribed$/.test(name) || events.push([name, ...args]));
  return events;
}

const ends = ({ transport }) => (transport === "polling" ? "polling" : "websocket");

describe("socket.io-client", { concurrency: versions.length }, () => {
  for (const version of versions) {
    describe(version, { concurrency: 3 }, () => {
      for (const [transport, list] of Object.entries(transports)) {
        describe(`over ${transport}`, { concurrency: 1 }, () => behaviour({ version, transport, list }));
      }
    });
  }
});

function behaviour(which) {
  const { version, transport } = which;
  const name = `${version} over ${transport}`;
  let app;
  before(async () => {
    app = await caddy.app(name);
  });
  // What a test leaves behind would poll until the last one ends.
  afterEach(() => {
    for (const socket of which.sockets.splice(0)) if (!gone.some((one) => one.socket === socket)) socket.disconnect();
  });

  test("it connects, and ends on the transport that was asked for", async () => {
    const socket = await subscriber(which, app);
    assert.equal(typeof socket.id, "string");
    await until("the transport", () => socket.io.engine.transport.name === ends(which));
    assert.equal(socket.attempts, 0);
  });

  test("refused, it is told why, and does not come back", async () => {
    const socket = socketOf(which, { ...app, subscribe_key: app.publish_key });
    const sentAway = version < "4.4" && once(socket, "disconnect");
    const [err] = await once(socket, "connect_error");
    assert.ok(err instanceof Error);
    assert.match(err.message, /publish key/);
    assert.deepEqual(err.data, { code: "wrong_key_kind", message: err.message });
    assert.equal(socket.connected, false);
    // Before 4.4 a client that was refused stays, until the connect timeout.
    if (sentAway) assert.equal((await sentAway)[0], "io server disconnect");
    assert.equal(socket.active, false);
    gone.push({ socket, what: `${name}, refused` });
  });

  test("refused, it may try again with other credentials at once", async () => {
    const socket = socketOf(which, { ...app, subscribe_key: app.publish_key });
    socket.once("connect_error", () => {
      socket.auth.subscribeKey = app.subscribe_key;
      socket.connect();
    });
    await once(socket, "connect");
    assert.deepEqual(await ask(socket, "subscribe", "a"), { channel: "a" });
  });

  test("subscribe answers by event and by acknowledgement", async () => {
    const socket = socketOf(which, app);
    const joined = once(socket, "subscribed");
    socket.emit("subscribe", "early"); // which the client keeps until it is connected
    assert.deepEqual(await joined, [{ channel: "early" }]);
    const again = once(socket, "subscribed");
    assert.deepEqual(await ask(socket, "subscribe", "early"), { channel: "early" });
    assert.deepEqual(await again, [{ channel: "early" }]);

    const refused = once(socket, "subscribe_error");
    const { error } = await ask(socket, "subscribe", "no spaces");
    assert.equal(error.code, "invalid_channel");
    assert.deepEqual(await refused, [{ channel: "no spaces", ...error }]);
    assert.equal((await ask(socket, "order.updated", {})).error.code, "not_allowed");
    assert.equal(socket.connected, true);
  });

  test("events arrive in order as they were published, and none after unsubscribe", async () => {
    const socket = await subscriber(which, app, "orders", "end");
    const events = heard(socket);
    const published = [
      ["order.updated", { id: 42, lines: [{ sku: "a", tags: [] }, null] }],
      ["ünïcode 😀", "é\u2028😀 <>&\"\\"],
      ["nothing"],
      ["null", null],
      ["placeholder", { _placeholder: true, num: 0 }],
      ["array", [1, "two", [3]]],
      ["large", "x".repeat(100_000)],
      ...Array.from({ length: 20 }, (_, i) => ["n", i]),
    ];
    for (const [event, ...data] of published) {
      await caddy.published(app, { channel: "orders", event, ...(data.length && { data: data[0] }) });
    }
    await until("all events", () => events.length >= published.length);
    assert.deepEqual(events, published);

    const left = once(socket, "unsubscribed");
    assert.deepEqual(await ask(socket, "unsubscribe", "orders"), { channel: "orders" });
    assert.deepEqual(await left, [{ channel: "orders" }]);
    await caddy.published(app, { channel: "orders", event: "late" });
    await caddy.published(app, { channel: "end", event: "end" });
    await until("the end", () => events.length > published.length);
    assert.deepEqual(events.slice(published.length), [["end"]]);
  });

  // A ping comes only after the last one was answered. Before 4.1 a client does
  // not emit "ping" for it, as it should.
  test("it answers heartbeats", async () => {
    const socket = await subscriber(which, app, "beat");
    let pings = 0;
    socket.io.engine.on("packet", ({ type }) => type === "ping" && pings++);
    await until("three pings", () => pings >= 3);
    const event = once(socket, "e");
    await caddy.published(app, { channel: "beat", event: "e", data: "alive" });
    assert.deepEqual(await event, ["alive"]);
    assert.equal(socket.attempts, 0);
  });

  test("volatile, timeout, emitWithAck and retries do as they say, since their version", async () => {
    const socket = socketOf(which, app);
    socket.volatile.emit("subscribe", "dropped"); // it is not connected
    const joined = once(socket, "subscribed");
    socket.emit("subscribe", "kept");
    assert.deepEqual(await joined, [{ channel: "kept" }]);
    await until("a volatile subscribe", async () => {
      socket.volatile.emit("subscribe", "volatile"); // also dropped while a POST is under way
      return (await caddy.published(app, { channel: "volatile", event: "e" })).subscribers === 1;
    });
    assert.equal((await caddy.published(app, { channel: "dropped", event: "e" })).subscribers, 0);

    assert.equal(typeof socket.timeout, version < "4.4" ? "undefined" : "function");
    if (version >= "4.4") {
      assert.deepEqual(await askAll(socket.timeout(10_000), "subscribe", "timely"), [null, { channel: "timely" }]);
    }
    assert.equal(typeof socket.emitWithAck, version < "4.6" ? "undefined" : "function");
    if (version >= "4.6") {
      assert.deepEqual(await socket.timeout(10_000).emitWithAck("subscribe", "promised"), { channel: "promised" });
      const persistent = socketOf(which, app, { retries: 3, ackTimeout: 10_000 });
      const answers = await Promise.all(["first", "second"].map((channel) => askAll(persistent, "subscribe", channel)));
      assert.deepEqual(answers, [[null, { channel: "first" }], [null, { channel: "second" }]]);
    }
  });

  test("disconnect() ends its subscriptions, and connect() begins anew", async () => {
    const socket = await subscriber(which, app, "left");
    const { id } = socket;
    assert.equal((await caddy.published(app, { channel: "left", event: "e" })).subscribers, 1);
    const reason = once(socket, "disconnect");
    socket.disconnect();
    assert.equal((await reason)[0], "io client disconnect");
    await until("nobody is left", async () => (await caddy.published(app, { channel: "left", event: "e" })).subscribers === 0);
    assert.equal(socket.attempts, 0);

    // Before 4.4 the end of the old transport would be taken for the new one's.
    const { engine } = socket.io;
    if (version < "4.4") await until("the old transport is closed", () => engine.readyState === "closed");
    socket.connect();
    await once(socket, "connect");
    assert.notEqual(socket.id, id);
    assert.deepEqual(await ask(socket, "subscribe", "left"), { channel: "left" });
    assert.equal((await caddy.published(app, { channel: "left", event: "e" })).subscribers, 1);
    socket.disconnect();
    gone.push({ socket, what: `${name}, left` });
  });

  test("a revoked key disconnects it, for good", async () => {
    const key = (await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "subscribe" })).json;
    const socket = await subscriber(which, { ...app, subscribe_key: key.key }, "orders");
    const closed = once(socket, "disconnect");
    assert.equal((await caddy.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`)).status, 204);
    assert.equal((await closed)[0], "io server disconnect");
    assert.equal(socket.active, false);
    gone.push({ socket, what: `${name}, revoked` });
  });
}

for (const [signal, what] of Object.entries({ SIGTERM: "ends", SIGKILL: "is killed" })) {
  describe(`when Caddy ${what} and is started anew`, () => {
    let app, clients;
    before(async () => {
      app = await caddy.app(what);
      clients = each.map((which) => {
        const socket = socketOf(which, app);
        const client = { ...which, socket, joined: 0, reasons: [], events: heard(socket) };
        socket.on("connect", () => socket.emit("subscribe", "orders"));
        socket.on("subscribed", () => client.joined++);
        socket.on("disconnect", (reason) => client.reasons.push(reason));
        return client;
      });
      for (const client of clients) {
        await until("all are subscribed", () => client.joined === 1 && client.socket.io.engine.transport.name === ends(client));
      }
      await caddy.signal(signal);
      await caddy.boot();
      for (const { joined, socket } of clients) await until("all are back", () => joined === 2 || socket.connected);
    });
    after(() => {
      for (const { socket } of clients) socket.disconnect();
    });

    for (const [i, { version, transport }] of each.entries()) {
      test(`${version} over ${transport} comes back, subscribes and hears events`, async () => {
        const client = clients[i];
        await until("subscribed again", () => client.joined === 2);
        await caddy.published(app, { channel: "orders", event: `to ${i}`, data: { i } });
        await until("the event", () => client.events.some(([name]) => name === `to ${i}`));
        assert.deepEqual(client.events.at(-1), [`to ${i}`, { i }]);
        assert.match(client.reasons.join(), /^transport (close|error)$/);
      });
    }

    test("who was refused, revoked or has left has not tried to", () => {
      assert.equal(gone.length, 3 * each.length);
      for (const { socket, what } of gone) {
        assert.deepEqual({ attempts: socket.attempts, active: socket.active, connected: socket.connected }, { attempts: 0, active: false, connected: false }, what);
      }
    });
  });
}

// Socket.IO 2 speaks Engine.IO 3, and no Socket.IO 5. Its clients report no
// more than that they failed, and when they are refused try again as if
// nobody had answered.
describe("socket.io-client 2.5 is refused at once", () => {
  const errors = {
    websocket: ["websocket error", (err) => err.description.message, /^Unexpected server response: 400$/],
    polling: ["xhr poll error", (err) => String(err.description), /^400$/],
    upgrade: ["xhr poll error", (err) => String(err.description), /^400$/],
  };
  for (const [transport, [message, detail, wanted]] of Object.entries(errors)) {
    test(`over ${transport}`, async () => {
      const socket = caddy.socket(null, { client: require("client-2.5"), transports: transports[transport] });
      const [err] = await once(socket, "connect_error", 5_000);
      assert.equal(err.message, message);
      assert.match(detail(err), wanted);
      socket.close();
    });
  }

  test("and whoever looks at the answer reads what to use", async () => {
    for (const transport of ["polling", "websocket"]) {
      const { status, json } = await caddy.request("GET", `/socket.io/?EIO=3&transport=${transport}`);
      assert.equal(status, 400);
      assert.equal(json.code, 5);
      assert.equal(json.message, "Unsupported protocol version");
      assert.equal(json.error.code, "invalid_request");
      assert.match(json.error.message, /socket\.io-client 3 or 4/);
    }
  });
});
