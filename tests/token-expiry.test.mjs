// Tokens that expire while events flow: stock clients whose auth is a function come back
// with another token, and miss nothing. "make tokens" runs it with 1,000 clients whose
// tokens live for a minute, for ten minutes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Backend, now } from "./lib/backend.mjs";
import { Caddy } from "./lib/caddy.mjs";
import { crowd, follow } from "./lib/crowd.mjs";
import { Ledger } from "./lib/follower.mjs";
import { until } from "./lib/wait.mjs";

const setting = (name, value) => Number(process.env[`TOKENS_${name}`] ?? value);
const full = {
  clients: setting("CLIENTS", 50),
  // Seconds from a connect until exp. It is let in until 30 s after exp, and ends 25 s after
  // it: with -15, a client comes back every ten seconds.
  life: setting("LIFE", -15),
  seconds: setting("SECONDS", 25),
  channels: setting("CHANNELS", 10), // each client follows two of them
  pause: setting("PAUSE", 100), // milliseconds between two publishes to a channel
};
const transports = ["websocket", "polling", "upgrade"];

test("tokens that expire cost stock clients a quick reconnect, and no event", async (t) => {
  const caddy = await Caddy.start({ global: "history 1000 2m" });
  t.after(() => caddy.close());
  const backend = await Backend.start(caddy);
  const ledger = new Ledger(caddy, backend.app);
  const channels = Array.from({ length: full.channels }, (_, i) => `private-tokens.${i}`);
  let refusals = 0; // tokens that had expired before a busy machine took them
  const clients = await crowd(full.clients, async (i) => {
    const mine = [...new Set([channels[i % channels.length], channels[(i * 5 + 1) % channels.length]])];
    const auth = {
      subscribeKey: null,
      get token() {
        return backend.sign({ sub: `${i}`, channels: mine, exp: now() + full.life });
      },
    };
    const client = await follow(t, ledger, mine, { transport: transports[i % transports.length], auth });
    client.socket.on("connect_error", ({ data }) => {
      if (data?.code !== "token_expired") return;
      refusals++;
      client.socket.connect();
    });
    return client;
  });
  const ids = clients.map(({ id }) => id);

  const end = Date.now() + full.seconds * 1000;
  await Promise.all(channels.map(async (channel, i) => {
    await sleep((full.pause * i) / channels.length);
    while (Date.now() < end) {
      await ledger.publish(channel);
      await sleep(full.pause);
    }
  }));
  await until("every client has come back once", () => clients.every(({ connects }) => connects.length > 1), 120_000);
  for (const channel of channels) await ledger.publish(channel);
  const owed = clients.map((client) => client.owed().length);
  await until("the last events", () => clients.every(({ got }, i) => got.length >= owed[i]), 60_000).catch(() => {}); // the account says what is missing

  const total = { owed: 0, lost: 0, doubled: 0, disordered: 0, foreign: 0, changed: 0, returns: 0, recovered: 0, refusals };
  const wrong = [];
  for (const [i, client] of clients.entries()) {
    const returns = client.connects.slice(1);
    const account = client.account();
    account.returns = returns.length;
    account.recovered = returns.filter(({ recovered, id }) => recovered === true && id === ids[i]).length;
    for (const name of Object.keys(account)) total[name] += account[name];
    const { lost, doubled, disordered, foreign, changed, recovered } = account;
    if (lost || doubled || disordered || foreign || changed || recovered !== returns.length) {
      wrong.push(`${i}, ${client.transport}: ${JSON.stringify(account)}, ${client.lost}`);
    }
  }
  t.diagnostic(JSON.stringify({ clients: clients.length, events: ledger.entries.length, ...total }));
  assert.deepEqual(wrong, []);
});
