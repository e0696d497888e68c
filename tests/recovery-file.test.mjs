// The recovery file in every state in which a start can find it: the gateway starts, says
// what it does, and clients recover completely or begin again.
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Caddy } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { Random } from "./lib/random.mjs";
import { until } from "./lib/wait.mjs";

let caddy, app;
before(async () => {
  caddy = await Caddy.start();
  app = await caddy.app();
});
after(() => caddy.close());

const file = () => join(caddy.store, "recovery");
const notUsed = /the recovery file is not used/;

/** Damages that a start has to notice, each done to a good file. */
const damages = {
  "is absent": [(path) => rmSync(path), undefined],
  "is empty": [(path) => writeFileSync(path, ""), notUsed],
  "is of another version": [(path, data) => writeFileSync(path, Buffer.concat([Buffer.from("caddy-realtime recovery 99\n"), data.subarray(data.indexOf(10) + 1)])), /another version wrote it/],
  "is a directory": [(path) => (rmSync(path), mkdirSync(path)), notUsed],
  "is truncated": [(path, data, random) => writeFileSync(path, data.subarray(0, 30 + random.below(data.length - 30))), /truncated or damaged/],
  "has a flipped byte": [
    (path, data, random) => {
      data[30 + random.below(data.length - 30)] ^= 1 << random.below(8);
      writeFileSync(path, data);
    },
    /truncated or damaged/,
  ],
};

for (const [name, [damage, says]] of Object.entries(damages)) {
  test(`a start whose recovery file ${name} is clean, and clients begin again`, async (t) => {
    const seed = Number(process.env.RECOVERY_SEED ?? Date.now() % 1_000_000);
    t.diagnostic(`RECOVERY_SEED=${seed}`);
    const { client, ledger } = await follower(t);
    await stopped(client, () => damage(file(), readFileSync(file()), new Random(seed)));
    if (says) assert.equal(caddy.logged(says).length, 1, caddy.logTail());
    else assert.deepEqual(caddy.logged(/recovery file/), []);
    await anew(client, ledger);
    rmSync(file(), { recursive: true, force: true });
    // The next planned restart is one as any other.
    await stopped(client, () => assert.equal(statSync(file()).mode & 0o777, 0o600));
    assert.equal(client.connects.at(-1).recovered, true);
    await client.settles();
  });
}

test("what a killed process left of an unfinished recovery file is removed", async (t) => {
  const { client } = await follower(t);
  const left = join(caddy.store, "recovery.tmp");
  await stopped(client, () => writeFileSync(left, "half"));
  assert.ok(!existsSync(left));
  assert.equal(client.connects.at(-1).recovered, true);
  assert.deepEqual(readdirSync(caddy.store).filter((name) => name.startsWith("recovery")), []);
});

test("a recovery file is not used for clients that were away for longer than recovery", async (t) => {
  caddy.configure({ global: "recovery 1s" });
  await caddy.load();
  const { client, ledger } = await follower(t);
  await stopped(client, () => sleep(1200)); // the wait is what is tested
  assert.match(caddy.logged(/read the recovery file/).at(-1), /"sessions_dropped":[1-9]/);
  await anew(client, ledger);
  caddy.configure();
  await caddy.load();
});

test("recovery_file off leaves and reads no file", async (t) => {
  caddy.configure({ global: "recovery_file off" });
  await caddy.load();
  const { client, ledger } = await follower(t);
  await stopped(client, () => assert.ok(!existsSync(file())));
  assert.deepEqual(caddy.logged(/recovery file/), []);
  await anew(client, ledger);
  caddy.configure();
  await caddy.load();
});

test("a recovery file is not used after a process that did not use it", async (t) => {
  const { client, ledger } = await follower(t);
  await client.drop({
    async meanwhile() {
      // It is away from here on, and what this process publishes is in no file.
      await caddy.signal("SIGTERM");
      assert.ok(existsSync(file()));
      caddy.configure({ global: "recovery_file off" });
      await caddy.boot();
      await ledger.publish("a");
      await caddy.signal("SIGTERM");
      caddy.configure();
      await caddy.boot();
    },
  });
  await client.isNew(client.connects.at(-2).id);
});

test("the recovery file can be in another place", async (t) => {
  const other = join(caddy.dir, "elsewhere");
  caddy.configure({ global: `recovery_file ${other}` });
  await caddy.load();
  const { client } = await follower(t);
  await stopped(client, () => {
    assert.ok(existsSync(other));
    assert.ok(!existsSync(file()));
  });
  assert.ok(!existsSync(other));
  assert.equal(client.connects.at(-1).recovered, true);
  await client.settles();
  caddy.configure();
  await caddy.load();
});

test("a recovery file of another keystore is not used, even if the same app is in it", async (t) => {
  const path = join(caddy.dir, "elsewhere");
  caddy.configure({ global: `recovery_file ${path}` });
  await caddy.load();
  const { client, ledger } = await follower(t);
  const copy = join(caddy.dir, "copy");
  await stopped(client, () => {
    cpSync(caddy.store, copy, { recursive: true });
    caddy.configure({ global: `recovery_file ${path}`, keystore: `badger ${copy}` });
  });
  assert.equal(caddy.logged(/it is of another keystore/).length, 1, caddy.logTail());
  await anew(client, ledger);
  await caddy.signal("SIGTERM");
  caddy.configure();
  await caddy.boot();
});

test("a recovery file that cannot be written is said, and does not hinder the exit", async (t) => {
  caddy.configure({ global: `recovery_file ${join(caddy.dir, "absent", "recovery")}` });
  await caddy.load();
  const { client, ledger } = await follower(t);
  await stopped(client, () => {});
  assert.equal(caddy.logged(/the recovery file could not be written/).length, 1, caddy.logTail());
  await anew(client, ledger);
  caddy.configure();
  await caddy.load();
});

test("a recovery file that cannot be removed is not used", async (t) => {
  // It would be read again at the next start, when it is no longer true.
  const { client, ledger } = await follower(t);
  await caddy.signal("SIGTERM");
  caddy.configure({ global: "recovery_file /proc/version" }); // can be read, and not removed
  caddy.logs.length = 0;
  await caddy.boot();
  assert.equal(caddy.logged(notUsed).length, 1, caddy.logTail());
  await until("it is back", () => client.socket.connected);
  await anew(client, ledger);
  caddy.configure();
  await caddy.load();
});

test("an app that is deleted between two processes takes its sessions and messages along", async (t) => {
  const mine = await Follower.start(t, new Ledger(caddy, app), ["a"]);
  const other = await caddy.app("other");
  const theirs = await Follower.start(t, new Ledger(caddy, other), ["a"]);
  await theirs.ledger.publish("a");
  await caddy.signal("SIGTERM");
  const saved = readFileSync(file());
  await caddy.boot();
  await until("both are back", () => mine.socket.connected && theirs.socket.connected);
  assert.equal((await caddy.admin("DELETE", `/realtime/apps/${other.id}`)).status, 204);
  await until("its client is disconnected", () => !theirs.socket.connected);
  await stopped(mine, () => {
    assert.ok(!readFileSync(file()).includes(other.id), "the file has something of the deleted app");
    writeFileSync(file(), saved); // as if another process had deleted the app
  });
  assert.match(caddy.logged(/read the recovery file/).at(-1), /"sessions_dropped":[1-9]/);
  assert.equal(mine.connects.at(-1).recovered, true);
  await mine.settles();
});

/** Returns a client in channel a that has had an event. */
async function follower(t) {
  const ledger = new Ledger(caddy, app);
  const client = await Follower.start(t, ledger, ["a"]);
  await ledger.publish("a");
  await until("the event", () => client.got.length === 1);
  return { client, ledger };
}

/** Stops Caddy, does something, and starts it; it waits until the client is back. */
async function stopped(client, meanwhile) {
  const connects = client.connects.length;
  await caddy.signal("SIGTERM");
  await meanwhile();
  caddy.logs.splice(0, caddy.logs.length, ...caddy.logs.filter((line) => /panic|could not be written/.test(line)));
  await caddy.boot();
  await until("the client is back", () => client.connects.length > connects);
}

async function anew(client, ledger) {
  await client.isNew(client.connects.at(-2).id);
  client.socket.emit("unsubscribe", "marker");
  client.channels.clear();
  client.got = [];
  await client.subscribe("a");
}
