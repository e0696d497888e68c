// Recovery in a storm: stock clients whose connections break at random bytes, in each of
// the ways in which connections break, and an account of every delivery. "make recovery"
// runs it at full size. RECOVERY_TRANSPORTS, RECOVERY_WAYS and RECOVERY_AGAIN=0 narrow
// down a failure.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Caddy } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { Random } from "./lib/random.mjs";
import { until } from "./lib/wait.mjs";

const setting = (name, value) => Number(process.env[`RECOVERY_${name}`] ?? value);
const storm = {
  clients: setting("CLIENTS", 12),
  drops: setting("DROPS", 3), // of each client
  away: setting("AWAY", 300), // milliseconds until it can come back
  channels: setting("CHANNELS", 6), // each client follows four of them
  rate: setting("RATE", 20), // publishes a second to each channel
  again: setting("AGAIN", 0.5), // how many of the returns are cut again
  seed: setting("SEED", Date.now() % 1_000_000),
  transports: (process.env.RECOVERY_TRANSPORTS ?? "websocket,polling,upgrade").split(","),
  ways: (process.env.RECOVERY_WAYS ?? "half-open,half-open,reset,end").split(","),
};
const limit = 600_000;

test("every event arrives once and in order through drops at random bytes, and every return is a recovery", async (t) => {
  t.diagnostic(`RECOVERY_SEED=${storm.seed}`);
  const random = new Random(storm.seed);
  const caddy = await Caddy.start({ global: "history 1000 2m" });
  const clients = [];
  let running = true;
  try {
    const ledger = new Ledger(caddy, await caddy.app());
    const channels = Array.from({ length: storm.channels }, (_, i) => `storm.${i}`);
    for (let i = 0; i < storm.clients; i++) {
      const follower = await Follower.start(t, ledger, random.some(4, channels), { transport: storm.transports[i % storm.transports.length] });
      // Recovery makes this needless; without it, the client would hear nothing more.
      follower.socket.on("connect", () => {
        if (follower.socket.recovered) return;
        follower.writtenOff = (follower.writtenOff ?? 0) + missed(follower);
        for (const channel of follower.channels.keys()) follower.socket.emit("subscribe", channel);
      });
      clients.push(follower);
    }

    const publishers = channels.map((channel) => publish(ledger, channel, clients, () => running));
    const failed = Promise.all(publishers); // a publish that fails fails the test now
    failed.catch(() => {});
    await Promise.race([Promise.all(clients.map((client) => ride(client, new Random(random.below(2 ** 32))))), failed]);
    running = false;
    await failed;
    for (const channel of channels) await ledger.publish(channel);
    const owed = clients.map((client) => client.account().owed);
    const complete = () => clients.every(({ got }, i) => got.length >= owed[i]);
    await until("all that was published has arrived", complete, 30_000).catch(() => {}); // the account says what is missing
    report(t, clients);
  } finally {
    running = false;
    await caddy.close();
  }
});

/** Publishes at the rate, but waits while a client misses more than recovery promises. */
async function publish(ledger, channel, clients, running) {
  while (running()) {
    // A machine that is busy must not turn a short drop into one of a thousand events. Nor
    // must a stock client that is cut between the answer to its probe and its last poll: it
    // has paused polling, takes itself for connected, and notices with the ping timeout.
    if (clients.every((client) => missed(client) < 600)) await ledger.publish(channel);
    await sleep(1000 / storm.rate);
  }
}

/** How many events a client has yet to get, if it has not begun anew without them. */
function missed({ ledger, channels, got, writtenOff = 0 }) {
  let published = 0;
  for (const channel of channels.keys()) published += ledger.count(channel);
  return published - got.length - writtenOff;
}

/** Takes a client through its drops. */
async function ride(client, random) {
  const { socket, cutter } = client;
  const [channel] = client.channels.keys();
  for (let i = 0; i < storm.drops; i++) {
    await sleep(random.below(500));
    let before; // how often it had connected when it was cut
    // Events flow down all the time. What flows up is mostly what the application sends.
    const direction = random.of(["up", "down"]);
    const after = random.below(direction === "up" ? 100 : 2_000);
    cutter.cut({ how: random.of(storm.ways), direction, after, refuse: storm.away }).then(() => (before = client.connects.length));
    while (before === undefined) {
      if (direction === "up" && socket.connected) socket.emit("subscribe", channel);
      await sleep(5);
    }
    // The return may be cut again, within its handshake or what it is sent first.
    if (random.next() < storm.again) {
      const direction = random.of(["up", "down"]);
      cutter.cut({ how: random.of(storm.ways), direction, after: 1 + random.below(direction === "up" ? 1_000 : 16_000), refuse: 0 });
      cutter.refuse(storm.away);
    }
    await until("the client is back", () => client.connects.length > before, limit);
  }
  cutter.calm();
  cutter.admit();
  await until("the client is connected", () => socket.connected, limit);
}

/** Adds up the accounts, and fails unless they are clean. */
function report(t, clients) {
  const total = { owed: 0, lost: 0, doubled: 0, disordered: 0, foreign: 0, changed: 0, returns: 0, recovered: 0, renamed: 0 };
  const wrong = [];
  for (const [i, client] of clients.entries()) {
    const account = client.account();
    const [first, ...returns] = client.connects;
    account.returns = returns.length;
    account.recovered = returns.filter(({ recovered }) => recovered === true).length;
    account.renamed = returns.filter(({ id }) => id !== first.id).length;
    for (const name of Object.keys(total)) total[name] += account[name];
    const { lost, doubled, disordered, foreign, changed, renamed } = account;
    if (lost || doubled || disordered || foreign || changed || renamed || account.recovered !== account.returns) {
      wrong.push(`client ${i}, ${client.transport}: ${JSON.stringify(account)}`);
    }
  }
  t.diagnostic(JSON.stringify(total));
  assert.ok(total.returns >= storm.clients * storm.drops, `only ${total.returns} returns`);
  assert.deepEqual(wrong, [], JSON.stringify(total));
}
