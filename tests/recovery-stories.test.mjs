// Recovery, one story each: what a stock client that asks for it may count on.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { once, until } from "./lib/wait.mjs";

let caddy, ledger;
before(async () => {
  caddy = await Caddy.start();
  ledger = new Ledger(caddy, await caddy.app());
});
after(() => caddy.close());

const connections = async () => (await caddy.admin("GET", `/realtime/connections/${ledger.app.id}`)).json.connections;

for (const transport of Object.keys(transports)) {
  describe(`over ${transport}`, () => {
    const follow = (t, channels, options) => Follower.start(t, ledger, channels, { transport, ...options });

    test("it recovers before it has received any event", async (t) => {
      const follower = await follow(t, `first.${transport}`);
      assert.deepEqual(follower.connects, [{ id: follower.id, recovered: false }]);
      await follower.recovers({ meanwhile: () => ledger.several(`first.${transport}`, 3) });
      await follower.settles();
    });

    test("it recovers when nothing was published", async (t) => {
      const follower = await follow(t, `quiet.${transport}`);
      await follower.recovers();
      await follower.recovers();
      await follower.settles();
    });

    test("it gets what it missed in the order of its channels together", async (t) => {
      const channels = ["a", "b", "c"].map((name) => `${name}.${transport}`);
      const follower = await follow(t, channels);
      for (const channel of channels) await ledger.publish(channel);
      await follower.recovers({
        meanwhile: async () => {
          for (let i = 0; i < 5; i++) for (const channel of channels.toReversed()) await ledger.publish(channel);
          await ledger.publish(`elsewhere.${transport}`);
        },
      });
      await follower.settles();
    });

    test("it recovers ten times in a row, as the same socket", async (t) => {
      const channel = `again.${transport}`;
      const follower = await follow(t, channel);
      const { pid } = follower;
      for (let i = 0; i < 10; i++) {
        await ledger.publish(channel);
        await follower.recovers({ how: ["reset", "end", "half-open"][i % 3], meanwhile: () => ledger.several(channel, i % 4) });
        assert.equal(follower.pid, pid);
      }
      await follower.settles();
    });

    test("it recovers while the gateway believes in the old connection, and again", async (t) => {
      const channel = `halfopen.${transport}`;
      const follower = await follow(t, channel);
      await ledger.publish(channel);
      for (let i = 0; i < 2; i++) {
        const sent = [];
        await follower.recovers({ how: "half-open", meanwhile: async () => sent.push(...(await ledger.several(channel, 5))) });
        if (transport === "websocket") for (const { subscribers } of sent) assert.equal(subscribers, 1, "the gateway noticed the drop");
      }
      await follower.settles();
      // The gateway ends the old connections, and does not take them for more sockets.
      if (transport === "websocket") await follower.cutter.released();
      const mine = (await connections()).filter(({ channels }) => channels?.includes(channel));
      assert.deepEqual(mine.map(({ id }) => id), [follower.id]);
      assert.equal((await ledger.publish(channel)).subscribers, 1);
    });

    test("it recovers after a cut within an event", async (t) => {
      const channel = `within.${transport}`;
      const follower = await follow(t, channel);
      for (const [i, after] of [1, 2, 7, 20, 45].entries()) {
        await ledger.publish(channel);
        const how = ["reset", "end", "half-open"][i % 3];
        const lost = once(follower.socket, "disconnect");
        const cut = follower.cutter.cut({ how, after });
        await ledger.publish(channel);
        await cut;
        await lost;
        const back = once(follower.socket, "connect");
        follower.cutter.admit();
        await back;
        assert.equal(follower.socket.recovered, true, `${how} after ${after} bytes`);
      }
      await follower.settles();
    });

    test("it recovers after a cut of the recovery itself", async (t) => {
      const channel = `itself.${transport}`;
      const follower = await follow(t, channel, { timeout: 1_000 }); // a cut handshake takes it that long
      const { id } = follower;
      await ledger.publish(channel);
      for (const after of [100, 200, 300, 500, 1_000, 2_000]) {
        for (const how of ["reset", "half-open"]) {
          await follower.drop({
            meanwhile: async () => {
              await ledger.several(channel, 10);
              // What the gateway sends to bring it back is cut, and it comes once more.
              follower.cutter.cut({ how, after, refuse: 0 });
              follower.cutter.refuse();
            },
          });
          follower.cutter.calm();
        }
      }
      await until("it is connected", () => follower.socket.connected);
      for (const connect of follower.connects.slice(1)) assert.deepEqual(connect, { id, recovered: true });
      await follower.settles();
    });

    test("disconnect() and connect() begin a new socket", async (t) => {
      const channel = `goodbye.${transport}`;
      const follower = await follow(t, channel);
      const { id } = follower;
      await ledger.publish(channel);
      await until("the event", () => follower.got.length === 1);
      follower.socket.disconnect();
      await until("the gateway knows", async () => (await ledger.publish(channel)).subscribers === 0);
      const back = once(follower.socket, "connect");
      follower.socket.connect();
      await back;
      await follower.isNew(id);
    });
  });
}

test("string data comes before the ID, and does not pass for one", async (t) => {
  const follower = await Follower.start(t, ledger, "strings");
  const first = await ledger.publish("strings", "x");
  const second = await ledger.publish("strings", first.id); // data that is an event's ID
  await until("both", () => follower.got.length === 2);
  assert.deepEqual(follower.got.map(({ args }) => args), [["x", first.id], [first.id, second.id]]);
  await follower.recovers({ meanwhile: () => ledger.publish("strings", "") });
  await follower.settles();
  assert.deepEqual(follower.data.slice(0, 3), ["x", first.id, ""]);
});

test("an event without data has null in its place, before the ID", async (t) => {
  const follower = await Follower.start(t, ledger, "empty");
  const first = await ledger.publish("empty", undefined);
  await until("the event", () => follower.got.length === 1);
  await follower.recovers({ meanwhile: () => ledger.publish("empty", undefined) });
  await until("the missed event", () => follower.got.length === 2);
  assert.deepEqual(follower.got.map(({ args }) => args), [[null, first.id], [null, ledger.entries.at(-1).id]]);
  await follower.settles();
});

describe("a handler that throws", () => {
  /** Has a handler throw at the first event that fits; errors are then collected, as in a page. */
  function throwing(t, follower, fits) {
    const errors = [];
    process.setUncaughtExceptionCaptureCallback((err) => errors.push(err.message));
    t.after(() => process.setUncaughtExceptionCaptureCallback(null));
    follower.socket.on("m", ({ n }) => {
      if (fits(n) && errors.length === 0) throw new Error(`cannot handle ${n}`);
    });
    return errors;
  }

  test("gets that event again after a recovery, and all later ones", async (t) => {
    const follower = await Follower.start(t, ledger, "throws");
    const errors = throwing(t, follower, (n) => n === 2);
    const [first, second] = await ledger.several("throws", 2);
    await until("the error", () => errors.length === 1);
    let later;
    await follower.recovers({ meanwhile: async () => (later = await ledger.several("throws", 2)) });
    await until("the last event", () => follower.ids.includes(later[1].id));
    assert.deepEqual(follower.ids, [first, second, second, ...later].map(({ id }) => id));
    assert.deepEqual(errors, ["cannot handle 2"]);
  });

  test("during a recovery, loses no later event and doubles none", async (t) => {
    const follower = await Follower.start(t, ledger, "throws.later");
    const errors = throwing(t, follower, (n) => n === 3);
    await ledger.several("throws.later", 2);
    await until("two events", () => follower.got.length === 2);
    await follower.recovers({ meanwhile: () => ledger.several("throws.later", 3) });
    await follower.settles();
    await follower.recovers();
    await follower.settles();
    assert.deepEqual(errors, ["cannot handle 3"]);
  });
});

test("two tabs with the same credentials recover each its own", async (t) => {
  const tabs = [await Follower.start(t, ledger, ["tabs", "tab.0"])];
  tabs.push(await Follower.start(t, ledger, ["tab.1", "tabs"], { through: tabs[0] }));
  const ids = tabs.map(({ id }) => id);
  assert.notEqual(tabs[0].pid, tabs[1].pid);
  for (const how of ["reset", "half-open"]) {
    await ledger.publish("tabs");
    await tabs[0].drop({
      how,
      meanwhile: async () => {
        await until("the other one has dropped too", () => !tabs[1].socket.connected);
        for (const channel of ["tab.0", "tab.1", "tabs", "tab.0"]) await ledger.publish(channel);
      },
    });
    await until("both are back", () => tabs.every(({ socket }) => socket.connected));
  }
  for (const [i, tab] of tabs.entries()) {
    assert.deepEqual(tab.connects.slice(1), Array(2).fill({ id: ids[i], recovered: true }));
    await tab.settles();
  }
});

test("subscribe in the handler of connect is answered, and doubles nothing", async (t) => {
  const follower = await Follower.start(t, ledger, "handler");
  follower.socket.on("connect", () => follower.socket.emit("subscribe", "handler"));
  await ledger.publish("handler");
  for (let i = 2; i <= 4; i++) {
    await follower.recovers({ meanwhile: () => ledger.several("handler", 5) });
    await ledger.several("handler", 5);
    await until("the answer", () => follower.answers.length === i);
    assert.equal(follower.answers.at(-1).channel, "handler");
  }
  await follower.settles();
});

test("what the application emits while it is away is sent when it is back", async (t) => {
  const follower = await Follower.start(t, ledger, "here");
  let answer;
  await follower.recovers({
    meanwhile: async () => {
      answer = follower.subscribe("there");
      answer.catch(() => {}); // of a test that failed
      await ledger.publish("here");
    },
  });
  assert.equal((await answer).channel, "there");
  await ledger.publish("there");
  // It is a channel of the socket like the others, at the next recovery too.
  await follower.recovers({ meanwhile: () => Promise.all([ledger.publish("there"), ledger.publish("here")]) });
  await follower.settles();
});

test("a channel that it has left stays left", async (t) => {
  const follower = await Follower.start(t, ledger, ["kept", "left"]);
  await follower.socket.timeout(30_000).emitWithAck("unsubscribe", "left");
  follower.channels.delete("left");
  await follower.recovers({ meanwhile: () => Promise.all([ledger.publish("left"), ledger.publish("kept")]) });
  assert.equal((await ledger.publish("left")).subscribers, 0);
  await follower.settles();
});

test("it recovers with another valid key of its app", async (t) => {
  const app = await caddy.app();
  const mine = new Ledger(caddy, app);
  const follower = await Follower.start(t, mine, "rotated");
  const { json: key } = await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "subscribe" });
  follower.credentials.subscribeKey = key.key;
  await follower.recovers({ meanwhile: () => mine.several("rotated", 2) });
  await follower.settles();
});

describe("on the wire", () => {
  /** The Socket.IO packets that a client receives. */
  async function packets(t, auth) {
    const got = [];
    const socket = caddy.socket(ledger.app, { autoConnect: false, auth: { appId: ledger.app.id, subscribeKey: ledger.app.subscribe_key, ...auth } });
    socket.io.on("open", () => socket.io.engine.on("message", (packet) => got.push(packet)));
    socket.connect();
    t.after(() => socket.disconnect());
    await once(socket, "connect");
    const handled = [];
    socket.on("m", (...args) => handled.push(args));
    const answer = await socket.timeout(30_000).emitWithAck("subscribe", "wire");
    const entries = [await ledger.publish("wire", { n: 1 }), await ledger.publish("wire", undefined), await ledger.publish("wire", null), await ledger.publish("wire", "x")];
    await until("the events", () => handled.length === entries.length);
    const [greeting] = got.filter((packet) => packet.startsWith("0"));
    return { greeting, events: got.filter((packet) => packet.startsWith('2["m"')), handled, answer, ids: entries.map(({ id }) => id) };
  }

  for (const auth of [{}, { recover: false }]) {
    test(`nothing changes for a client that sends ${JSON.stringify(auth)}`, async (t) => {
      const { greeting, events, handled, answer } = await packets(t, auth);
      assert.match(greeting, /^0\{"sid":"[^"]+"\}$/);
      assert.deepEqual(events, ['2["m",{"n":1}]', '2["m"]', '2["m",null]', '2["m","x"]']);
      assert.deepEqual(handled, [[{ n: 1 }], [], [null], ["x"]]);
      assert.deepEqual(answer, { channel: "wire" });
    });
  }

  test("a client that asks for recovery gets a private ID, and the ID of each event as its last argument", async (t) => {
    const { greeting, events, handled, ids } = await packets(t, { recover: true });
    const { sid, pid } = JSON.parse(greeting.slice(1));
    assert.ok(sid && pid && sid !== pid, greeting);
    const [a, b, c, d] = ids;
    assert.deepEqual(events, [`2["m",{"n":1},"${a}"]`, `2["m",null,"${b}"]`, `2["m",null,"${c}"]`, `2["m","x","${d}"]`]);
    assert.deepEqual(handled, [[{ n: 1 }, a], [null, b], [null, c], ["x", d]]);
    for (const id of ids) assert.match(id, /^[^-]+-[0-9a-z]+$/);
  });
});

test("a client that does not ask for recovery begins anew", async (t) => {
  const follower = await Follower.start(t, ledger, "unasked", { recover: false });
  await follower.starts({ meanwhile: () => ledger.several("unasked", 2) });
});
