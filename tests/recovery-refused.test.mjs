// What is not recovered: the client is a new socket, in no channel, and gets nothing of
// what it missed. It is all or nothing.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { once, until } from "./lib/wait.mjs";

describe("not recovered", () => {
  let caddy, app, ledger;
  before(async () => {
    // Channels keep more than a socket can miss, so that history is not what limits it.
    caddy = await Caddy.start({ global: "history 2000 2m" });
    app = await caddy.app();
    ledger = new Ledger(caddy, app);
  });
  after(() => caddy.close());

  /** A client that has got an event. */
  async function follow(t, channel, options, mine = ledger) {
    const follower = await Follower.start(t, mine, channel, options);
    await mine.publish(channel);
    await until("the event", () => follower.got.length === 1);
    return follower;
  }

  /** Adds a subscribe key to an app. */
  async function addKey({ id }) {
    const answer = await caddy.admin("POST", `/realtime/keys/${id}`, { kind: "subscribe" });
    assert.equal(answer.status, 201, answer.text);
    return answer.json;
  }

  /** Waits until the server has disconnected a client, which then connects again. */
  async function disconnected(follower, disconnect) {
    const lost = once(follower.socket, "disconnect");
    await disconnect();
    assert.deepEqual((await lost)[0], "io server disconnect");
    return () => {
      const back = once(follower.socket, "connect");
      follower.socket.connect();
      return back;
    };
  }

  for (const transport of ["websocket", "polling"]) {
    test(`a socket that the server disconnected, over ${transport}`, async (t) => {
      const follower = await follow(t, `kicked.${transport}`, { transport });
      const { id } = follower;
      const again = await disconnected(follower, () => caddy.admin("DELETE", `/realtime/connections/${app.id}/${id}`));
      await again();
      await follower.isNew(id);
    });

    test(`a socket that a revoked key disconnected, with another key, over ${transport}`, async (t) => {
      const key = await addKey(app);
      const follower = await Follower.start(t, new Ledger(caddy, { ...app, subscribe_key: key.key }), `revoked.${transport}`, { transport });
      await follower.ledger.publish(`revoked.${transport}`);
      const { id } = follower;
      const again = await disconnected(follower, () => caddy.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`));
      follower.credentials.subscribeKey = app.subscribe_key;
      await again();
      await follower.isNew(id);
    });
  }

  /** Drops a client, which is refused when it comes back and gets nothing. */
  async function refused(follower, code, meanwhile) {
    const lost = once(follower.socket, "disconnect");
    await follower.cutter.cut();
    await lost;
    await meanwhile();
    const got = follower.got.length;
    let answer;
    follower.socket.on("connect_error", ({ data }) => (answer ??= data)); // without data, it is the network
    follower.cutter.admit();
    await until("the refusal", () => answer);
    assert.equal(answer.code, code);
    assert.equal(follower.socket.active, false);
    assert.equal(follower.got.length, got);
    assert.equal(follower.connects.length, 1);
  }

  test("a client whose key was revoked while it was away", async (t) => {
    const key = await addKey(app);
    const follower = await follow(t, "away.revoked", {}, new Ledger(caddy, { ...app, subscribe_key: key.key }));
    await refused(follower, "key_revoked", async () => {
      await ledger.publish("away.revoked");
      assert.equal((await caddy.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`)).status, 204);
    });
  });

  test("a client whose app was deleted while it was away", async (t) => {
    const mine = new Ledger(caddy, await caddy.app());
    const follower = await follow(t, "away.deleted", {}, mine);
    await refused(follower, "unknown_app", async () => {
      await mine.publish("away.deleted");
      assert.equal((await caddy.admin("DELETE", `/realtime/apps/${mine.app.id}`)).status, 204);
    });
  });

  test("a client whose key is wrong when it comes back; with the right one it is recovered", async (t) => {
    const follower = await follow(t, "wrong.key");
    const { id } = follower;
    const key = follower.credentials.subscribeKey;
    await refused(follower, "invalid_key", async () => {
      await ledger.publish("wrong.key");
      follower.credentials.subscribeKey = `${key.slice(0, -4)}zzzz`;
    });
    follower.credentials.subscribeKey = key;
    const back = once(follower.socket, "connect");
    follower.socket.connect();
    await back;
    assert.deepEqual(follower.connects.at(-1), { id, recovered: true });
    await follower.settles();
  });

  test("more than 1,000 events; but 1,000 are", async (t) => {
    const follower = await follow(t, "thousand");
    await follower.recovers({ meanwhile: () => ledger.several("thousand", 1_000) });
    await follower.settles();
    await follower.starts({ meanwhile: () => ledger.several("thousand", 1_001) });
  });

  test("more than 1,000 events of several channels together", async (t) => {
    const follower = await Follower.start(t, ledger, ["many.0", "many.1", "many.2"]);
    await follower.starts({
      meanwhile: async () => {
        for (let i = 0; i < 3; i++) await ledger.several(`many.${i}`, 334);
      },
    });
  });

  test("more than half of max_queue; but less is", async (t) => {
    const big = async (n) => {
      for (let i = 0; i < n; i++) await ledger.publish("large", { i, text: "x".repeat(100 << 10) });
    };
    const follower = await follow(t, "large");
    await follower.recovers({ meanwhile: () => big(4) });
    await follower.settles();
    await follower.starts({ meanwhile: () => big(6) });
  });

  test("a wrong private ID", async (t) => {
    for (const pid of ["x", "", "x".repeat(2_000)]) {
      const follower = await follow(t, "wrong.pid");
      await follower.starts({
        meanwhile: async () => {
          await ledger.publish("wrong.pid");
          follower.auth = { pid };
        },
      });
    }
  });

  test("an offset that is none of this app", async (t) => {
    const [{ id }] = await ledger.several("offsets", 1);
    const [epoch] = id.split("-");
    const other = await new Ledger(caddy, await caddy.app()).publish("offsets");
    const future = `${epoch}-${(Number.MAX_SAFE_INTEGER - 1).toString(36)}`;
    const offsets = ["", "x", "-", `${epoch}-`, `-${id.split("-")[1]}`, `${epoch}-!`, `${epoch}--1`, `${id}-1`, `${id} `, `${epoch}-${"z".repeat(40)}`, `OTHER-1`, future, "é".repeat(100), "x".repeat(4_000)];
    if (!other.id.startsWith(`${epoch}-`)) offsets.push(other.id);
    for (const offset of offsets) {
      const follower = await follow(t, "offsets");
      try {
        await follower.starts({
          meanwhile: async () => {
            await ledger.publish("offsets");
            follower.auth = { offset };
          },
        });
      } catch (err) {
        err.message = `${JSON.stringify(offset).slice(0, 60)}: ${err.message}`;
        throw err;
      }
    }
  });

  test("an offset of a megabyte, which does not get in at all", async (t) => {
    const follower = await follow(t, "megabyte");
    const lost = once(follower.socket, "disconnect");
    await follower.cutter.cut();
    await lost;
    await ledger.publish("megabyte");
    follower.auth = { offset: "x".repeat(1 << 20) };
    const { id } = follower.connects[0];
    let attempts = 0;
    follower.socket.io.on("reconnect", () => attempts++); // Engine.IO's connection; CONNECT comes next
    follower.cutter.admit();
    await until("it has tried", () => attempts > 2 || follower.connects.length > 1 || !follower.socket.active);
    for (const connect of follower.connects.slice(1)) assert.ok(!connect.recovered && connect.id !== id, JSON.stringify(connect));
    assert.equal(follower.got.length, 1);
  });

  test("the private ID of another app, whose own client is recovered after it", async (t) => {
    const follower = await follow(t, "stolen");
    const thief = await follow(t, "stolen", {}, new Ledger(caddy, await caddy.app()));
    const { id, pid } = follower;
    await follower.recovers({
      meanwhile: async () => {
        await ledger.publish("stolen");
        await thief.starts({ meanwhile: () => (thief.auth = { pid, offset: follower.ids.at(-1) }) });
        assert.notEqual(thief.id, id);
      },
    });
    await follower.settles();
  });
});

test("not recovered: a client that was away for longer than the setting", async (t) => {
  const caddy = await Caddy.start({ global: "recovery 1s" });
  try {
    const ledger = new Ledger(caddy, await caddy.app());
    const follower = await Follower.start(t, ledger, "late");
    let gone;
    follower.socket.once("disconnect", () => (gone = Date.now()));
    await follower.starts({
      meanwhile: async () => {
        await ledger.publish("late");
        await until("the time is over", () => Date.now() - gone > 2_000);
      },
    });
  } finally {
    await caddy.close();
  }
});

test("not recovered: anything, where recovery is off", async (t) => {
  const caddy = await Caddy.start({ global: "recovery 0" });
  try {
    const ledger = new Ledger(caddy, await caddy.app());
    const follower = await Follower.start(t, ledger, "off");
    assert.equal(follower.pid, undefined);
    const before = follower.id;
    await follower.drop({ meanwhile: () => ledger.publish("off") });
    assert.ok(!follower.socket.recovered);
    assert.notEqual(follower.id, before);
    assert.equal((await ledger.publish("off")).subscribers, 0);
    assert.deepEqual(follower.got, []);
  } finally {
    await caddy.close();
  }
});

test("all or nothing, where channels keep less than was missed", async (t) => {
  const caddy = await Caddy.start({ global: "history 5 2m" });
  try {
    const ledger = new Ledger(caddy, await caddy.app());
    const follower = await Follower.start(t, ledger, ["short", "quiet"]);
    await ledger.publish("short");
    await until("the event", () => follower.got.length === 1);
    const { id } = follower;
    await follower.recovers({ meanwhile: () => ledger.several("short", 5) });
    await follower.settles();
    await follower.drop({ meanwhile: () => ledger.several("short", 20) });
    if (follower.socket.recovered) await follower.settles();
    else await follower.isNew(id);
  } finally {
    await caddy.close();
  }
});
