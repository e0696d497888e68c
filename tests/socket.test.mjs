// The stock client against the contract's rules of a socket, on each transport.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Caddy, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

let caddy, app;
before(async () => {
  caddy = await Caddy.start();
  app = await caddy.app();
});
after(() => caddy.close());

const numbers = (n) => Array.from({ length: n }, (_, i) => i);

for (const [name, list] of Object.entries(transports)) {
  describe(`over ${name}`, () => {
    const subscriber = (channels) => caddy.subscriber(app, channels, { transports: list });

    test("it ends on the transport that was asked for", async () => {
      const socket = await subscriber("transport");
      const wanted = name === "polling" ? "polling" : "websocket";
      await until("the transport", () => socket.io.engine.transport.name === wanted);
    });

    test("it connects with subprotocols, of which the first is selected", async () => {
      const socket = await caddy.subscriber(app, "protocols", { transports: list, protocols: ["v1.chat", "v2.chat"] });
      const wanted = name === "polling" ? "polling" : "websocket";
      await until("the transport", () => socket.io.engine.transport.name === wanted);
      if (wanted === "websocket") assert.equal(socket.io.engine.transport.ws.protocol, "v1.chat");
    });

    test("a publish leaves out the socket that it names, and reaches the others", async () => {
      const [author, reader] = await Promise.all([subscriber(`except.${name}`), subscriber(`except.${name}`)]);
      const got = { author: [], reader: [] };
      author.on("e", (data) => got.author.push(data));
      reader.on("e", (data) => got.reader.push(data));
      const receipt = await caddy.published(app, { channel: `except.${name}`, event: "e", data: 1, except: author.id });
      assert.equal(receipt.subscribers, 1);
      await caddy.published(app, { channel: `except.${name}`, event: "e", data: 2, except: null });
      await until("both events", () => got.author.includes(2) && got.reader.includes(2));
      assert.deepEqual(got, { author: [2], reader: [1, 2] });
    });

    describe("a refused connection says why, and the client does not hammer", () => {
      const key = () => app.subscribe_key;
      const refusals = {
        missing_app_id: [{}, () => ({ subscribeKey: key() }), () => undefined],
        missing_key: [() => ({ appId: app.id })],
        unknown_app: [() => ({ appId: "app_0000000000000000", subscribeKey: key() })],
        wrong_key_kind: [() => ({ appId: app.id, subscribeKey: app.publish_key })],
        invalid_key: [() => ({ appId: app.id, subscribeKey: `${key().slice(0, -4)}zzzz` })],
        invalid_request: [() => ({ appId: 1, subscribeKey: key() }), () => ({ appId: app.id, subscribeKey: [key()] })],
      };
      for (const [code, auths] of Object.entries(refusals)) {
        for (const [i, auth] of auths.entries()) {
          test(`${code} (${i + 1})`, async () => {
            const socket = caddy.socket(null, {
              transports: list,
              auth: typeof auth === "function" ? auth() : auth,
            });
            await refused(socket, code);
          });
        }
      }

      test("credentials in the query string", async () => {
        const socket = caddy.socket(null, {
          transports: list,
          query: { appId: app.id, subscribeKey: key() },
        });
        const err = await refused(socket);
        assert.match(err.message, /auth/);
        assert.match(err.message, /query/);
      });

      test("an app's key in another app", async () => {
        const other = await caddy.app("other");
        const socket = caddy.socket(null, {
          transports: list,
          auth: { appId: other.id, subscribeKey: key() },
        });
        await refused(socket, "invalid_key");
      });
    });

    // A stock client can only send an object or nothing; the protocol has a
    // parse error for the rest, and no one is connected by it.
    for (const auth of ["a string", ["an", "array"]]) {
      test(`auth that is ${JSON.stringify(auth)} does not connect`, async () => {
        const socket = caddy.socket(null, { transports: list, auth: (send) => send(auth), reconnection: false });
        const outcome = await Promise.race([
          once(socket, "connect_error").then(([err]) => err.data?.code),
          once(socket.io, "close").then(() => "closed"),
        ]);
        assert.ok(["invalid_request", "missing_app_id", "closed"].includes(outcome), outcome);
        assert.equal(socket.connected, false);
      });
    }

    test("another namespace is refused as the protocol says", async () => {
      const socket = caddy.socket(app, { transports: list });
      await once(socket, "connect");
      const other = socket.io.socket("/admin", { auth: socket.auth });
      other.connect();
      const [err] = await once(other, "connect_error");
      assert.equal(err.message, "Invalid namespace");
      assert.equal(socket.connected, true);
    });

    test("subscribe answers by event and by acknowledgement, again if sent again", async () => {
      const socket = caddy.socket(app, { transports: list });
      const joined = [];
      socket.on("subscribed", (p) => joined.push(p));
      socket.emit("subscribe", "twice"); // before it is connected: the client keeps it until then
      await until("the first answer", () => joined.length === 1);
      assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", "twice"), { channel: "twice" });
      await until("the second answer", () => joined.length === 2);
      assert.deepEqual(joined, [{ channel: "twice" }, { channel: "twice" }]);

      const got = [];
      socket.on("e", (data) => got.push(data));
      await caddy.published(app, { channel: "twice", event: "e", data: 1 });
      await caddy.published(app, { channel: "twice", event: "e", data: 2 });
      await until("both events", () => got.includes(2));
      assert.deepEqual(got, [1, 2]);
    });

    test("unsubscribe mirrors it, and no event comes after it", async () => {
      const socket = await subscriber(["left", "kept"]);
      const left = once(socket, "unsubscribed");
      assert.deepEqual(await socket.timeout(5_000).emitWithAck("unsubscribe", "left"), { channel: "left" });
      assert.deepEqual(await left, [{ channel: "left" }]);
      const got = [];
      socket.on("e", (data) => got.push(data));
      await caddy.published(app, { channel: "left", event: "e", data: "left" });
      await caddy.published(app, { channel: "kept", event: "e", data: "kept" });
      await until("the event of the kept channel", () => got.length);
      assert.deepEqual(got, ["kept"]);
    });

    test("a refused channel leaves the connection as it was", async () => {
      const socket = await subscriber("fine");
      for (const channel of ["", "no spaces", "ü", "a".repeat(201), "new\nline"]) {
        const told = once(socket, "subscribe_error");
        const answer = await socket.timeout(5_000).emitWithAck("subscribe", channel);
        assert.equal(answer.error.code, "invalid_channel", JSON.stringify(channel));
        const [refusal] = await told;
        assert.equal(refusal.code, "invalid_channel");
        assert.equal(refusal.channel, channel);
        assert.equal(refusal.message, answer.error.message);
      }
      const longest = "a".repeat(200);
      assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", longest), { channel: longest });
      assert.equal(socket.connected, true);
    });

    test("a channel that is not a string is refused", async () => {
      const socket = await subscriber("fine");
      for (const channel of [1, null, {}, ["a"], true]) {
        const answer = await socket.timeout(5_000).emitWithAck("subscribe", channel);
        assert.ok(["invalid_request", "invalid_channel"].includes(answer.error?.code), JSON.stringify(answer));
      }
      assert.equal(socket.connected, true);
    });

    test("the 101st channel is one too many", async () => {
      const socket = await subscriber(numbers(100).map((i) => `many.${i}`));
      const told = once(socket, "subscribe_error");
      const answer = await socket.timeout(5_000).emitWithAck("subscribe", "many.100");
      assert.equal(answer.error.code, "too_many_channels");
      assert.deepEqual(await told, [{ channel: "many.100", ...answer.error }]);
      // One that it has is still answered, and one given back makes room.
      assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", "many.7"), { channel: "many.7" });
      await socket.timeout(5_000).emitWithAck("unsubscribe", "many.7");
      assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", "many.100"), { channel: "many.100" });
    });

    test("a client cannot publish", async () => {
      const listener = await subscriber("shop");
      const heard = [];
      listener.onAny((...args) => heard.push(args));
      const sender = await subscriber("shop");
      sender.emit("order.updated", { id: 1 });
      sender.emit("message", "hello");
      const answer = await sender.timeout(5_000).emitWithAck("order.updated", { id: 2 });
      assert.equal(answer.error.code, "not_allowed");
      assert.ok(answer.error.message.length > 10);
      await caddy.published(app, { channel: "shop", event: "end" });
      await until("the published event", () => heard.length);
      assert.deepEqual(heard, [["end"]]);
      assert.equal(sender.connected, true);
    });

    test("data arrives as it was sent", async () => {
      const socket = await subscriber("data");
      const got = [];
      socket.on("e", (...args) => got.push(args));
      await caddy.published(app, '{"channel":"data","event":"e"}');
      await caddy.published(app, '{"channel":"data","event":"e","data":null}');
      for (const data of ["false", "0", '""', "[]", '"é\\u00e9\\ud83d\\ude00 😀 <>&\\u2028"', '{"b":1,"a":{"z":[1,2,{}]}}']) {
        await caddy.published(app, `{"channel":"data","event":"e","data":${data}}`);
      }
      await until("all", () => got.length === 8);
      assert.deepEqual(got.slice(0, 7), [[], [null], [false], [0], [""], [[]], ["éé😀 😀 <>&\u2028"]]);
      assert.equal(JSON.stringify(got[7]), '[{"b":1,"a":{"z":[1,2,{}]}}]');
    });

    test("large integers keep their digits on the wire", async () => {
      const socket = await subscriber("digits");
      const packets = [];
      socket.io.engine.on("packet", (packet) => packets.push(packet.data));
      const data = '{"n":12345678901234567890,"f":1.10,"e":1E400}';
      await caddy.published(app, `{"channel":"digits","event":"e","data":${data}}`);
      await until("the packet", () => packets.some((packet) => String(packet).includes(`["e",${data}]`)));
    });

    test("a placeholder of the protocol's in data is only data", async () => {
      const socket = await subscriber("placeholder");
      const event = once(socket, "e");
      const data = { _placeholder: true, num: 0 };
      await caddy.published(app, { channel: "placeholder", event: "e", data });
      assert.deepEqual(await event, [data]);
    });

    test("event names are only names", async () => {
      const socket = await subscriber("names");
      for (const event of ["message", "error", "ping", "ünïcode 😀", 'quo"te', "a".repeat(200), "__proto__"]) {
        const got = once(socket, event);
        await caddy.published(app, { channel: "names", event, data: 1 });
        assert.deepEqual(await got, [1]);
      }
    });

    test("300 events arrive in order, the same for two subscribers", async () => {
      const sockets = [await subscriber("order"), await subscriber("order")];
      const got = sockets.map((socket) => {
        const seen = [];
        socket.on("e", (n) => seen.push(n));
        return seen;
      });
      for (const n of numbers(300)) await caddy.published(app, { channel: "order", event: "e", data: n });
      await until("all", () => got.every((seen) => seen.length >= 300));
      for (const seen of got) assert.deepEqual(seen, numbers(300));
    });

    test("concurrent publishes have one order for all", async () => {
      const sockets = [await subscriber("one"), await subscriber("one"), await subscriber("one")];
      const got = sockets.map((socket) => {
        const seen = [];
        socket.on("e", (n) => seen.push(n));
        return seen;
      });
      await Promise.all(numbers(200).map((n) => caddy.published(app, { channel: "one", event: "e", data: n })));
      await until("all", () => got.every((seen) => seen.length >= 200));
      assert.deepEqual(got[0].toSorted((a, b) => a - b), numbers(200));
      assert.deepEqual(got[1], got[0]);
      assert.deepEqual(got[2], got[0]);
    });

    test("half a megabyte goes through", async () => {
      const socket = await subscriber("large");
      const event = once(socket, "e");
      const data = "x".repeat(500_000);
      await caddy.published(app, { channel: "large", event: "e", data });
      assert.equal((await event)[0].length, data.length);
    });

    test("two apps' channels of one name never meet", async () => {
      const other = await caddy.app("other");
      const mine = await subscriber("same");
      const theirs = await caddy.subscriber(other, "same", { transports: list });
      const got = { mine: [], theirs: [] };
      mine.on("e", (n) => got.mine.push(n));
      theirs.on("e", (n) => got.theirs.push(n));
      for (const n of numbers(20)) await caddy.published(n % 2 ? app : other, { channel: "same", event: "e", data: n });
      await until("all", () => got.mine.length >= 10 && got.theirs.length >= 10);
      assert.deepEqual(got.mine, numbers(20).filter((n) => n % 2));
      assert.deepEqual(got.theirs, numbers(20).filter((n) => n % 2 === 0));
    });
  });
}

test("upgrading while events are published loses, doubles and reorders nothing", async () => {
  const sockets = await Promise.all(
    numbers(20).map(async () => {
      const socket = caddy.socket(app, { transports: transports.upgrade });
      const got = [];
      socket.on("e", (n) => got.push(n));
      // Subscribes as soon as it is connected, on polling; upgrades meanwhile.
      await once(socket, "connect");
      await socket.timeout(10_000).emitWithAck("subscribe", "busy");
      return { socket, got };
    }),
  );
  let n = 0;
  const upgraded = () => sockets.every(({ socket }) => socket.io.engine.transport.name === "websocket");
  const latecomers = [];
  while (!upgraded() || n < 100) {
    if (n % 10 === 0 && n < 100) {
      const socket = caddy.socket(app, { transports: transports.upgrade });
      const got = [];
      socket.on("e", (value) => got.push(value));
      socket.emit("subscribe", "busy");
      latecomers.push({ socket, got });
    }
    await caddy.published(app, { channel: "busy", event: "e", data: n++ });
    assert.ok(n < 5_000, "never upgraded");
  }
  await until("the latecomers", () => latecomers.every(({ socket }) => socket.io.engine.transport.name === "websocket"));
  await caddy.published(app, { channel: "busy", event: "e", data: n++ });
  for (const { got } of [...sockets, ...latecomers]) {
    await until("the last event", () => got.at(-1) === n - 1);
    assert.deepEqual(got, numbers(n).slice(got[0]));
  }
  for (const { got } of sockets) assert.equal(got[0], 0);
});

// The client is told, gives up, and stays so: nothing arrives for three times
// as long as it would wait before it tried again.
async function refused(socket, code) {
  let attempts = 0;
  socket.io.on("reconnect_attempt", () => attempts++);
  const [err] = await once(socket, "connect_error");
  if (code) assert.equal(err.data?.code, code, `${err.message} ${JSON.stringify(err.data)}`);
  assert.equal(typeof err.data?.code, "string");
  assert.equal(err.data.message, err.message);
  assert.ok(err.message.length > 10, err.message);
  assert.equal(socket.active, false);
  await sleep(600);
  assert.equal(attempts, 0);
  assert.equal(socket.connected, false);
  return err;
}
