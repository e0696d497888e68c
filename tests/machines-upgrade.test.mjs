// Three machines with one Redis behind a load balancer without sticky sessions, which are
// restarted one after another, as for an upgrade. UPGRADE_FROM is the binary that they
// begin with, by default the one under test; at the end, one goes back to it.
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { bin, root, transports } from "./lib/caddy.mjs";
import { crowd } from "./lib/crowd.mjs";
import { Keeper, settle } from "./lib/keeper.mjs";
import { Load } from "./lib/load.mjs";
import { Machines } from "./lib/machines.mjs";
import { until } from "./lib/wait.mjs";

const from = resolve(root, process.env.UPGRADE_FROM ?? bin);
const clientCount = Number(process.env.UPGRADE_CLIENTS ?? 18);
const rate = Number(process.env.UPGRADE_RATE ?? 40); // publishes a second
const channels = ["a", "b", "c", "d"];
const ways = Object.keys(transports);

test("machines are upgraded one after another, and clients recover on the others each time", async (t) => {
  const machines = await Machines.start(3, "history 1000 2m\n\t\tdrain 1s", { binary: from });
  t.after(() => machines.close());
  await machines.all[0].published(machines.app, { channel: "first", event: "m" }); // "subscribed" has an id from now on
  const clients = await crowd(clientCount, (i) => Keeper.start(t, machines.front, machines.app, channels, ways[i % 3], machines.front.origin));
  const load = new Load(machines.front.origin, machines.app);
  t.after(() => load.close());
  load.start(rate, () => channels[load.entries.length % channels.length]);
  const flows = async () => {
    const before = load.entries.length;
    await until("events flow", () => load.entries.length >= before + rate / 2, 60_000);
  };
  await flows();
  for (const [caddy, binary] of [...machines.all.map((caddy) => [caddy, bin]), [machines.all[0], from]]) {
    const id = await machines.idOf(caddy);
    assert.ok(clients.some(({ machine }) => machine === id), "the machine has no client");
    await machines.end(caddy);
    await until("all clients are back", () => clients.every(({ back, machine }) => back && machine !== id), 60_000);
    caddy.binary = binary;
    await machines.revive(caddy);
    await machines.known();
    await flows();
  }
  await load.stop();
  assert.ifError(load.failure);
  await settle(clients, channels, load.entries);
  const total = { returns: 0, recovered: 0, began: 0 };
  for (const { connects, recovered, began } of clients) {
    total.returns += connects - 1;
    total.recovered += recovered;
    total.began += began;
  }
  t.diagnostic(JSON.stringify({ publishes: load.entries.length, repeated: load.repeated, refused: load.refused, ...total, logs: machines.all.map((caddy) => warnings(caddy)) }));
  assert.equal(total.began, 0, "clients began again");
});

/** The numbers of warnings and errors in a machine's log, by message. */
function warnings(caddy) {
  const counts = {};
  for (const line of caddy.logs) {
    const { level, logger, msg } = JSON.parse(line.startsWith("{") ? line : "{}");
    if ((level === "warn" || level === "error") && logger?.startsWith("realtime")) counts[msg] = (counts[msg] ?? 0) + 1;
  }
  return counts;
}
