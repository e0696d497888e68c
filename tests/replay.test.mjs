// subscribe with options: what a channel keeps is replayed from a position or a number
// of events back, or the answer says why it is not.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { once, until } from "./lib/wait.mjs";

let caddy, ledger;
before(async () => {
  caddy = await Caddy.start({ global: "history 1000 2m" });
  ledger = new Ledger(caddy, await caddy.app());
});
after(() => caddy.close());

const idsOf = (entries) => entries.map(({ id }) => id);

/** Subscribes with options, and returns the answer, after "subscribed" has said the same. */
async function replay(follower, channel, options) {
  const before = follower.answers.length;
  const answer = await follower.subscribe(channel, options);
  await until("the event", () => follower.answers.length > before);
  assert.deepEqual(follower.answers[before], answer);
  assert.equal(typeof answer.id, "string", JSON.stringify(answer));
  return answer;
}

/** Fails unless a client gets these entries of a channel next, and then a new one. */
async function gets(follower, channel, entries, from = follower.got.length) {
  const next = await follower.ledger.publish(channel);
  const key = JSON.stringify(next.data); // without recovery, there are no IDs
  await until("the new event", () => follower.data.some((data) => JSON.stringify(data) === key));
  const wanted = [...entries, next].map(({ data }) => data ?? null);
  assert.deepEqual(follower.data.slice(from).map((data) => data ?? null), wanted);
}

for (const [name, recover] of [["a client that asks for recovery", true], ["any other client", false]]) {
  for (const transport of Object.keys(transports)) {
    describe(`for ${name}, over ${transport}`, () => {
      const follow = (t) => Follower.start(t, ledger, [], { transport, recover });
      const channel = `${transport}.${recover}`;
      const entries = () => ledger.entries.filter((entry) => entry.channel === channel);
      before(() => ledger.several(channel, 8));

      /** What replays these entries. */
      const cases = {
        "since an event": [() => ({ since: entries().at(-4).id }), () => entries().slice(-3)],
        "since the last event": [() => ({ since: entries().at(-1).id }), () => []],
        "a number of events back": [() => ({ rewind: 3 }), () => entries().slice(-3)],
        "one event back": [() => ({ rewind: 1 }), () => entries().slice(-1)],
        "more events back than there are": [() => ({ rewind: 100 }), () => entries()],
        "some minutes back": [() => ({ rewind: "2m" }), () => entries()],
      };
      for (const [title, [options, wanted]] of Object.entries(cases)) {
        test(title, async (t) => {
          const follower = await follow(t);
          const order = [];
          follower.socket.onAny((event) => order.push(event));
          const replayed = wanted();
          const answer = await replay(follower, channel, options());
          const { id, ...rest } = answer;
          assert.deepEqual(rest, { channel, complete: true, replayed: replayed.length });
          await gets(follower, channel, replayed, 0);
          assert.equal(order[0], "subscribed");
          for (const { args, id } of follower.got) {
            assert.equal(args.length, recover ? 2 : 1);
            if (recover) assert.ok(ledger.entries.some((entry) => entry.id === id), id);
          }
          // The answer's ID is a position to go on from.
          const later = await follow(t);
          assert.equal((await replay(later, channel, { since: id })).replayed, 1);
        });
      }

      test("nothing is lost or doubled between what is replayed and what is new", async (t) => {
        const follower = await follow(t);
        let running = true;
        const publishing = (async () => {
          const sent = [];
          while (running) sent.push(await ledger.publish(channel));
          return sent;
        })();
        const since = entries().at(-1).id;
        const answer = await replay(follower, channel, { since });
        running = false;
        const sent = await publishing;
        assert.equal(answer.complete, true);
        await gets(follower, channel, sent, 0);
      });
    });
  }
}

test("an event without data is replayed without data, or with null before the ID", async (t) => {
  const { id } = await ledger.publish("nothing", undefined);
  for (const recover of [false, true]) {
    const follower = await Follower.start(t, ledger, [], { recover });
    await replay(follower, "nothing", { rewind: 1 });
    await until("the event", () => follower.got.length === 1);
    assert.deepEqual(follower.got[0].args, recover ? [null, id] : []);
  }
});

test("since an event of another channel of the app", async (t) => {
  await ledger.publish("one");
  const other = await ledger.publish("two");
  const later = await ledger.several("one", 2);
  const follower = await Follower.start(t, ledger);
  assert.equal((await replay(follower, "one", { since: other.id })).replayed, 2);
  await gets(follower, "one", later, 0);
});

test("the ID of a channel that has had no event is a position, too", async (t) => {
  const follower = await Follower.start(t, ledger);
  const { id, ...rest } = await replay(follower, "new", { rewind: 10 });
  assert.deepEqual(rest, { channel: "new", complete: true, replayed: 0 });
  const entries = await ledger.several("new", 2);
  const later = await Follower.start(t, ledger);
  assert.equal((await replay(later, "new", { since: id })).replayed, 2);
  await gets(later, "new", entries, 0);
});

test("a time back leaves out what is older", async (t) => {
  await ledger.several("old", 2);
  const then = Date.now();
  await until("the events are older than a second", () => Date.now() - then > 1_500);
  const follower = await Follower.start(t, ledger);
  assert.equal((await replay(follower, "old", { rewind: "1s" })).replayed, 0);
  await gets(follower, "old", [], 0);
});

test("a subscribe without options is answered as ever", async (t) => {
  await ledger.publish("plain");
  const follower = await Follower.start(t, ledger, [], { recover: false });
  assert.deepEqual(await follower.subscribe("plain"), { channel: "plain" });
  await until("the event", () => follower.answers.length === 1);
  assert.deepEqual(follower.answers, [{ channel: "plain" }]);
  await gets(follower, "plain", [], 0);
});

test("a replay of older events does not make a recovery double newer ones", async (t) => {
  const old = await ledger.several("older", 5);
  const follower = await Follower.start(t, ledger, "newer");
  const fresh = await ledger.several("newer", 5);
  await until("the newer events", () => follower.got.length === 5);
  await replay(follower, "older", { rewind: 5 });
  await until("the older events", () => follower.got.length === 10);
  let missed;
  await follower.recovers({
    meanwhile: async () => (missed = [await ledger.publish("newer"), await ledger.publish("older")]),
  });
  const last = await ledger.publish("newer");
  await until("the last event", () => follower.ids.includes(last.id));
  assert.deepEqual(follower.ids, idsOf([...fresh, ...old, ...missed, last]));
});

describe("refused", () => {
  /** Subscribes and fails unless it is refused, by acknowledgement and event, and not subscribed. */
  async function refused(t, options, code) {
    const follower = await Follower.start(t, ledger, [], { recover: false });
    const event = once(follower.socket, "subscribe_error");
    event.catch(() => {}); // of a test that failed before
    const { error } = await follower.socket.timeout(30_000).emitWithAck("subscribe", "refused", options);
    assert.equal(error?.code, code, `${JSON.stringify(options).slice(0, 100)}: ${JSON.stringify(error)}`);
    assert.ok(error.message.length > 10, error.message);
    assert.deepEqual(await event, [{ channel: "refused", ...error }]);
    assert.equal((await ledger.publish("refused")).subscribers, 0);
    assert.equal(follower.socket.connected, true);
    assert.deepEqual(follower.got, []);
    follower.socket.disconnect();
  }

  const wrong = [
    ...[-1, 0, 101, 1e9, 1.5, "x", "", "-2m", null, true, [], {}].map((rewind) => ({ rewind })),
    { rewind: 1, since: "x-1" },
    { unknown: 1 },
    { rewind: 1, unknown: 1 },
    "x",
    5,
    [{ rewind: 1 }],
  ];
  for (const options of wrong) {
    test(`${JSON.stringify(options)} is invalid_request`, (t) => refused(t, options, "invalid_request"));
  }

  test("both, with a valid position", async (t) => {
    const { id } = await ledger.publish("refused");
    await refused(t, { since: id, rewind: 1 }, "invalid_request");
  });

  test("a position that is none of this app is invalid_position", async (t) => {
    const { id, offset } = await ledger.publish("refused");
    const [epoch] = id.split("-");
    const other = new Ledger(caddy, await caddy.app());
    const [foreign] = (await other.several("refused", offset + 100)).slice(-1); // further than this app
    const positions = ["", "x", "-", `${epoch}-`, "-1", `${epoch}-!`, `${epoch}--1`, `${id}-1`, ` ${id}`, `${epoch}-${"z".repeat(40)}`, "x".repeat(5_000), foreign.id];
    for (const since of positions) await refused(t, { since }, "invalid_position");
    const future = `${epoch}-${(offset + 1_000_000).toString(36)}`;
    await refused(t, { since: future }, "invalid_position");
  });
});

describe("not complete", () => {
  /** Subscribes since a position that history does not reach: it is in the channel, and nothing is replayed. */
  async function incomplete(t, mine, channel, since, reason) {
    for (const recover of [false, true]) {
      const follower = await Follower.start(t, mine, [], { recover });
      const { id, ...rest } = await replay(follower, channel, { since });
      assert.deepEqual(rest, { channel, complete: false, reason, replayed: 0 });
      await gets(follower, channel, [], 0);
      follower.socket.disconnect();
    }
  }

  test("expired: history no longer reaches the position", async (t) => {
    const caddy = await Caddy.start({ global: "history 5 2m" });
    try {
      const mine = new Ledger(caddy, await caddy.app());
      const entries = await mine.several("evicted", 12);
      await incomplete(t, mine, "evicted", entries[0].id, "expired");
      const follower = await Follower.start(t, mine);
      const last = mine.entries.slice(-3);
      assert.equal((await replay(follower, "evicted", { since: mine.entries.at(-4).id })).complete, true);
      await gets(follower, "evicted", last, 0);
    } finally {
      await caddy.close();
    }
  });

  test("expired: the events are older than history keeps them", async (t) => {
    const caddy = await Caddy.start({ global: "history 100 1s" });
    try {
      const mine = new Ledger(caddy, await caddy.app());
      const [first] = await mine.several("aged", 3);
      const then = Date.now();
      await until("the events are too old", () => Date.now() - then > 2_500);
      await incomplete(t, mine, "aged", first.id, "expired");
    } finally {
      await caddy.close();
    }
  });

  test("too_many: more than 1,000 events; but 1,000 are replayed", async (t) => {
    const caddy = await Caddy.start({ global: "history 2000 2m" });
    try {
      const mine = new Ledger(caddy, await caddy.app());
      const entries = await mine.several("many", 1_002);
      const follower = await Follower.start(t, mine);
      assert.equal((await replay(follower, "many", { since: entries[1].id })).replayed, 1_000);
      await gets(follower, "many", entries.slice(2), 0);
      await incomplete(t, mine, "many", entries[0].id, "too_many");
    } finally {
      await caddy.close();
    }
  });

  test("restarted: the position is of before the gateway was killed", async (t) => {
    const caddy = await Caddy.start();
    try {
      const mine = new Ledger(caddy, await caddy.app());
      const { id } = await mine.publish("killed");
      await caddy.signal("SIGKILL");
      await caddy.boot();
      const { id: next } = await mine.publish("killed");
      assert.notEqual(next.split("-")[0], id.split("-")[0], "the epoch is the same");
      await incomplete(t, mine, "killed", id, "restarted");
    } finally {
      await caddy.close();
    }
  });
});
