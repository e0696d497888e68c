// What "make cluster" does: starts Redis, three gateways that share it, and a Caddy in
// front of them; publishes numbers, and shows on a page and in the terminal what clients
// get while you kill machines. Everything it writes is in RUN_DIR, "run/cluster" by default.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";
import { watch } from "./watch.mjs";

const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const root = resolve(here, "../..");
const caddyBin = process.env.CADDY_BIN ?? join(root, "build/caddy");
const run = resolve(root, process.env.RUN_DIR ?? "run/cluster");

const children = new Set();
const machines = []; // { number, port, adminPort, nodePort, child, id, connections }
const taken = new Set(); // ports
let stopping = false;
process.on("SIGINT", () => stop(0));
process.on("SIGTERM", () => stop(0));

try {
  await main();
} catch (err) {
  if (!stopping) {
    console.error(`make cluster: ${err.message}`);
    await stop(1);
  }
}

async function main() {
  if (!existsSync(caddyBin)) throw new Error(`${short(caddyBin)} is missing: run "make build" first`);
  rmSync(run, { recursive: true, force: true }); // Redis begins without data
  mkdirSync(run, { recursive: true, mode: 0o700 });
  const port = await freePort(Number(process.env.PORT ?? 9080));
  const redisPort = await freePort(6390);
  const redis = start("redis-server", ["--port", redisPort, "--bind", "127.0.0.1", "--dir", run, "--save", "", "--appendonly", "yes"], {}, "redis.log");
  mustLive(redis, "Redis");
  for (let number = 1; number <= 3; number++) {
    const machine = { number, redisPort };
    for (const [name, from] of [["port", 9081], ["adminPort", 2031], ["nodePort", 9091]]) machine[name] = await freePort(from);
    machines.push(machine);
  }
  await until("Redis to start", redis, () => listens(redisPort));
  await Promise.all(machines.map(startMachine));
  const env = { PORT: port, MACHINES: machines.map((m) => `localhost:${m.port}`).join(" "), RUN_DIR: run, EXAMPLES: resolve(here, "..") };
  const front = start(caddyBin, ["run", "--config", join(here, "front.Caddyfile")], env, "front.log");
  mustLive(front, "The Caddy in front");
  await until("the Caddy in front to start", front, () => listens(port));

  const url = `http://localhost:${port}`;
  const app = await admin(machines[0], "POST", "/realtime/apps", { name: "cluster" });
  const page = new URLSearchParams({ app: app.id, key: app.subscribe_key });
  console.log(`
Open          ${url}/#${page}
By polling    ${url}/#${page}&transport=polling
1, 2, 3       kill -9 a machine, and start it again
q             ends everything
Logs          ${short(run)}`);
  // Without a terminal, keys are read from a pipe, or another program kills a machine.
  if (!process.stdin.isTTY) console.log("No terminal  ", machines.map(({ number, child }) => `"kill -9 ${child.pid}" kills machine ${number}`).join(", "));
  console.log();
  readKeys();
  const client = watch(io, url, { appId: app.id, subscribeKey: app.subscribe_key }, ["websocket"], () => {});
  await Promise.all([publish(url, app), watchMachines(), report(client.state)]);
}

async function startMachine(machine) {
  const env = { PORT: machine.port, ADMIN_PORT: machine.adminPort, NODE_PORT: machine.nodePort, REDIS_PORT: machine.redisPort };
  const began = Date.now();
  const child = start(caddyBin, ["run", "--config", join(here, "machine.Caddyfile")], env, `machine${machine.number}.log`);
  machine.child = child;
  child.on("exit", () => {
    machine.child = undefined;
    if (stopping) return;
    console.log(`machine ${machine.number}     has ended${machine.key ? "" : "; it is started again in 5 s"}`);
    if (!machine.key) setTimeout(() => !stopping && !machine.child && startMachine(machine).catch(console.error), 5_000);
  });
  await until(`machine ${machine.number} to start`, child, () => admin(machine, "GET", "/realtime/apps").catch(() => false));
  console.log(`machine ${machine.number}     runs after ${Date.now() - began} ms`);
}

function readKeys() {
  if (process.stdin.isTTY) process.stdin.setRawMode(true);
  process.stdin.setEncoding("utf8").on("data", (keys) => {
    for (const key of keys) {
      if (key === "q" || key === "\u0003") stop(0);
      const machine = machines[Number(key) - 1];
      if (!machine) continue;
      machine.key = Boolean(machine.child); // it stays away until the key is pressed again
      if (machine.child) machine.child.kill("SIGKILL");
      else startMachine(machine).catch((err) => console.error(err.message));
    }
  });
}

// Publishes 1, 2, 3, … to "numbers". What is not answered with 200 is sent again with the
// same Idempotency-Key, so that it is published once.
async function publish(url, app) {
  for (let n = 1; !stopping; n++) {
    const key = randomUUID();
    const headers = { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}`, "Idempotency-Key": key };
    const body = JSON.stringify({ channel: "numbers", event: "number", data: n });
    for (;;) {
      const answer = await fetch(`${url}/publish`, { method: "POST", headers, body, signal: AbortSignal.timeout(10_000) }).catch(() => ({}));
      if (answer.ok) break;
      if (stopping) return;
      await sleep(200);
    }
    await sleep(200);
  }
}

// Writes for the page which machines run, and how many connections each has.
async function watchMachines() {
  const file = join(run, "machines.json");
  let asking = false;
  while (!stopping) {
    // The answer takes 2 s while a killed machine is asked, too.
    if (!asking) {
      asking = true;
      learn().catch(() => {}).finally(() => (asking = false));
    }
    const list = machines.map(({ number, id, child, connections }) => ({ number, id, running: Boolean(child), connections }));
    writeFileSync(`${file}.new`, JSON.stringify(list));
    renameSync(`${file}.new`, file);
    await sleep(300);
  }
}

// Asks a machine for the IDs and connections of all.
async function learn() {
  const known = await admin(machines.find(({ child }) => child), "GET", "/realtime/machines");
  for (const machine of machines) {
    // A machine that was killed is listed until its lease has ended, also beside its successor.
    const records = known.machines.filter(({ address }) => address.endsWith(`:${machine.nodePort}`));
    const [latest] = records.sort((a, b) => b.started.localeCompare(a.started));
    Object.assign(machine, { id: latest?.id, connections: latest?.connections });
  }
}

// Prints what the client in this process has got, whenever it is on another machine, and
// every ten seconds.
async function report(state) {
  let before, printed = 0;
  while (!stopping) {
    const on = machines.find(({ id }) => id === state.machine);
    const now = state.connected ? `on machine ${on?.number ?? "?"}` : "disconnected";
    if (now !== before || Date.now() - printed > 10_000) {
      const { received, lost, doubled, recovered, began } = state;
      console.log(`client        ${now}: ${received} received, ${lost} lost, ${doubled} doubled; came back ${recovered + began} times, ${recovered} recovered`);
      [before, printed] = [now, Date.now()];
    }
    await sleep(100);
  }
}

// Caddy's admin endpoint. Node's fetch says that it is a browser (Sec-Fetch-Mode), and the
// endpoint then wants to see an origin that it knows.
async function admin({ adminPort }, method, path, body) {
  const origin = `http://localhost:${adminPort}`;
  const headers = { Origin: origin, ...(body && { "Content-Type": "application/json" }) };
  const answer = await fetch(origin + path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(5_000) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

function start(file, args, env, log) {
  const fd = openSync(join(run, log), "a", 0o600);
  const home = { XDG_DATA_HOME: join(run, log.replace(".log", "")), XDG_CONFIG_HOME: join(run, "config") };
  const child = spawn(file, args.map(String), { stdio: ["ignore", fd, fd], env: { ...process.env, ...home, ...env } });
  closeSync(fd);
  child.log = join(run, log);
  children.add(child);
  child.on("exit", () => children.delete(child));
  child.on("error", (err) => {
    children.delete(child);
    console.error(`make cluster: ${err.code === "ENOENT" ? `${file} is missing: install it, for example with "apt-get install ${file}"` : err.message}`);
    stop(1);
  });
  return child;
}

function mustLive(child, name) {
  child.on("exit", () => {
    if (stopping) return;
    console.error(`make cluster: ${name} has ended. The end of ${short(child.log)}:\n${tail(child)}`);
    stop(1);
  });
}

function tail({ log }) {
  return readFileSync(log, "utf8").split("\n").slice(-10).join("\n");
}

async function until(what, child, done) {
  const deadline = Date.now() + 60_000;
  while (!(await done())) {
    if (child.exitCode !== null) throw new Error(`it ended while waiting for ${what}. The end of ${short(child.log)}:\n${tail(child)}`);
    if (stopping || child.signalCode) throw new Error(`killed while waiting for ${what}`);
    if (Date.now() > deadline) throw new Error(`waited 60 s for ${what}`);
    await sleep(50);
  }
}

function listens(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "localhost", () => socket.end(() => resolve(true))).on("error", () => resolve(false));
  });
}

async function freePort(from) {
  for (let port = from; port < from + 100; port++) {
    if (taken.has(port) || !(await isFree(port))) continue;
    taken.add(port);
    return port;
  }
  throw new Error(`no free port from ${from} to ${from + 99}`);
}

function isFree(port) {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, () => probe.close(() => resolve(true)));
  });
}

async function stop(code) {
  if (stopping) return;
  stopping = true;
  if (process.stdin.isTTY) process.stdin.setRawMode(false);
  const ends = [...children].map((child) => new Promise((resolve) => child.on("exit", resolve)));
  for (const child of children) child.kill("SIGTERM");
  await Promise.all(ends);
  process.exit(code);
}

function short(path) {
  const local = relative(root, path);
  return local.startsWith("..") ? path : local;
}
