// Three machines with one Redis, each in a network namespace of its own with two links: one
// to Redis and the other machines, one to the clients. Links are cut: packets are dropped,
// and no connection is closed. "make network" runs it; it requires Linux and root.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { crowd } from "../lib/crowd.mjs";
import { Keeper, settle } from "../lib/keeper.mjs";
import { Load } from "../lib/load.mjs";
import { Machines } from "../lib/machines.mjs";
import { Redis } from "../lib/redis.mjs";
import { once, until } from "../lib/wait.mjs";

const cutTime = Number(process.env.NETWORK_CUT ?? 30_000); // longer than the lease of a machine
const clientCount = Number(process.env.NETWORK_CLIENTS ?? 30);
const channels = ["a", "b", "c"];
const links = { redis: 7, clients: 8 }; // the second number of their addresses

const run = (command) => execFileSync("sh", ["-c", command], { stdio: ["ignore", "pipe", "inherit"] });

/** A network namespace for machine i, which is 10.7.i.2 and 10.8.i.2 to this one. */
class Namespace {
  static async start(t, i) {
    const space = new Namespace();
    space.i = i;
    space.holder = spawn("unshare", ["--net", "sh", "-c", "echo; exec sleep infinity"], { stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => space.holder.kill("SIGKILL"));
    await once(space.holder.stdout, "data");
    space.within = ["nsenter", `--net=/proc/${space.holder.pid}/ns/net`];
    space.run("ip link set lo up");
    for (const [name, n] of Object.entries(links)) {
      run(`ip link add ${name}${i} type veth peer name ${name} netns ${space.holder.pid}`);
      run(`ip addr add 10.${n}.${i}.1/24 dev ${name}${i} && ip link set ${name}${i} up`);
      space.run(`ip addr add 10.${n}.${i}.2/24 dev ${name}`);
      space.up(name);
    }
    return space;
  }

  run(command) {
    run(`${this.within.join(" ")} sh -c '${command}'`);
  }

  /** Has a link drop all packets; nobody is told. */
  down(name) {
    this.run(`ip link set ${name} down`);
  }

  up(name) {
    this.run(`ip link set ${name} up`);
    if (name === "redis") this.run(`ip route add 10.7.0.0/16 via 10.7.${this.i}.1`); // to the other machines
  }
}

test("a machine is cut off from Redis, from its clients, and from both, and nothing is lost", async (t) => {
  run("ip link set lo up");
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  assert.equal(readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim(), "1");
  const spaces = [];
  for (let i = 1; i <= 3; i++) spaces.push(await Namespace.start(t, i));
  const machines = await Machines.start(3, "history 1000 5m\n\t\tping_interval 2s\n\t\tping_timeout 4s", (i, { port }) => ({
    host: `10.8.${i + 1}.2`, node: `10.7.${i + 1}.2`, redis: `redis://10.7.${i + 1}.1:${port}`, within: spaces[i].within,
  }), { start: () => Redis.start("--bind", "0.0.0.0", "--protected-mode", "no") });
  const clients = [];
  t.after(() => {
    for (const client of clients) client.close(); // or the front waits for what they have asked machines that are cut off
    return machines.close();
  });
  await machines.all[0].published(machines.app, { channel: "first", event: "m" }); // "subscribed" has an id from now on
  clients.push(...await crowd(clientCount, (i) =>
    Keeper.start(t, machines.front, machines.app, channels, i % 3 === 2 ? "polling" : "websocket", machines.front.origin)));
  const load = new Load(machines.front.origin, machines.app);
  t.after(() => load.close());
  load.start(30, () => channels[load.entries.length % channels.length]);
  const flows = async () => {
    const before = load.entries.length;
    await until("events flow", () => load.entries.length >= before + 30, 60_000);
  };
  await flows();

  const report = [];
  for (const [i, what] of [["redis"], ["clients"], ["redis", "clients"]].entries()) {
    const caddy = machines.all[i];
    const id = await machines.idOf(caddy);
    const there = clients.filter(({ machine }) => machine === id);
    const sockets = there.filter(({ transport }) => transport === "websocket").map((client) => [client, client.connects]);
    assert.ok(sockets.length > 0, "the machine has no client");
    const end = Date.now() + cutTime;
    for (const link of what) spaces[i].down(link);
    await flows(); // through the others
    // Without its clients' link, it has sessions on polling, which the others forward.
    const away = (client) => client.machine !== id || client.transport === "polling" && !what.includes("redis");
    if (what.includes("clients")) await until("its clients are elsewhere", () => clients.every((client) => client.back && away(client)), 60_000);
    await sleep(Math.max(0, end - Date.now()));
    if (!what.includes("clients")) assert.ok(sockets.every(([client, connects]) => client.socket.connected && client.connects === connects), "a socket was closed");
    for (const link of what) spaces[i].up(link);
    const began = performance.now();
    await until("all machines know each other", async () => {
      for (const other of machines.all) {
        const answer = await other.admin("GET", "/realtime/machines").catch(() => {});
        if (answer?.json?.machines?.length !== 3) return false;
      }
      return true;
    }, 60_000);
    const publish = () => caddy.publish(machines.app, { channel: "nobody", event: "m" }).catch(() => {});
    await until("it publishes", async () => (await publish())?.status === 200, 60_000);
    report.push({ cut: what.join(" and "), there: there.length, "normal after ms": Math.round(performance.now() - began) });
    await flows();
    await until("all clients are back", () => clients.every(({ back }) => back), 60_000);
  }

  await load.stop();
  assert.ifError(load.failure);
  for (const channel of channels) await load.publish(channel);
  const sum = (f) => clients.reduce((n, client) => n + f(client), 0);
  t.diagnostic(JSON.stringify({
    publishes: load.entries.length, repeated: load.repeated, refused: load.refused, returns: sum(({ connects }) => connects - 1),
    recovered: sum(({ recovered }) => recovered), began: sum(({ began }) => began), report,
  }));
  // What is read again of one channel can cross what is new in another.
  const accounts = await settle(clients, channels, load.entries, ["doubled", "disordered", "foreign"], 60_000);
  t.diagnostic(`told: ${accounts.reduce((n, { told }) => n + told, 0)}`);
});
