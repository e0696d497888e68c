// What "make run" does: starts the Caddy that was built with the Caddyfile
// beside this file, makes a demo app, shows an event going from publish.mjs to
// subscribe.mjs, and stays up. ONCE=1 ends it there. Everything it keeps is in
// RUN_DIR, "run" by default.
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, relative, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const examples = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const root = resolve(examples, "..");
const caddyBin = process.env.CADDY_BIN ?? join(root, "build/caddy");
const run = resolve(root, process.env.RUN_DIR ?? "run");
const envFile = join(run, "demo.env");
const logFile = join(run, "caddy.log");

const children = new Set();
let stopping = false;
process.on("SIGINT", () => stop(0));
process.on("SIGTERM", () => stop(0));

try {
  await main();
  if (process.env.ONCE) await stop(0);
} catch (err) {
  console.error(`make run: ${err.message}`);
  await stop(1);
}

async function main() {
  mkdirSync(run, { recursive: true, mode: 0o700 });
  // Not the Caddyfile's own ports and keystore: README's first steps use those,
  // and both may run at a time.
  const port = await freePort(Number(process.env.PORT ?? 9443));
  const adminPort = await freePort(Number(process.env.ADMIN_PORT ?? 2029), port);
  const caddy = startCaddy(port, adminPort);
  const admin = adminOf(adminPort);

  const rootCert = join(run, "data/caddy/pki/authorities/local/root.crt");
  await until("Caddy to start", caddy, async () => {
    const listed = await admin("GET", "/realtime/apps").catch(() => ({}));
    return listed.status === 200 && existsSync(rootCert);
  });
  const app = await demoApp(admin);
  const env = {
    REALTIME_URL: `https://localhost:${port}`,
    ...app,
    // Both Node and curl are told to trust this Caddy's own CA.
    NODE_EXTRA_CA_CERTS: rootCert,
    CURL_CA_BUNDLE: rootCert,
  };
  writeEnv(env);
  console.log(`Caddy         ${env.REALTIME_URL}, its log in ${short(logFile)}`);
  console.log(`Demo app      ${app.REALTIME_APP_ID}, its keys in ${short(envFile)}\n`);

  const subscriber = example("subscribe.mjs", env);
  await subscriber.prints(/^Joined orders\.42/);
  const publisher = example("publish.mjs", env);
  await publisher.prints(/^200 /);
  await subscriber.prints(/id: 42/);

  const page = new URLSearchParams({
    app: app.REALTIME_APP_ID,
    key: app.REALTIME_SUBSCRIBE_KEY,
    channel: "orders.42",
  });
  console.log(`
Open          ${env.REALTIME_URL}/#${page}
              The browser warns once: the certificate is signed by this Caddy's own CA,
              ${short(rootCert)}
Publish       (set -a; . ${short(envFile)}; examples/publish.sh)
Stop          Ctrl-C`);
}

function startCaddy(port, adminPort) {
  if (!existsSync(caddyBin)) throw new Error(`${short(caddyBin)} is missing: run "make build" first`);
  const log = openSync(logFile, "w", 0o600);
  const child = spawn(caddyBin, ["run", "--config", join(examples, "Caddyfile")], {
    stdio: ["ignore", log, log],
    env: {
      ...process.env,
      XDG_DATA_HOME: join(run, "data"),
      XDG_CONFIG_HOME: join(run, "config"),
      REALTIME_PORT: String(port),
      REALTIME_ADMIN_PORT: String(adminPort),
      REALTIME_KEYSTORE: join(run, "keystore"),
      REALTIME_EXAMPLES: examples,
    },
  });
  closeSync(log);
  track(child);
  child.on("exit", (code) => {
    if (stopping) return;
    console.error(`make run: Caddy ended (${code}). The end of ${short(logFile)}:`);
    console.error(readFileSync(logFile, "utf8").split("\n").slice(-10).join("\n"));
    stop(1);
  });
  return child;
}

// The app of the last run, or a new one if the keystore does not know it.
async function demoApp(admin) {
  const known = existsSync(envFile) ? parseEnv(readFileSync(envFile, "utf8")) : {};
  if (known.REALTIME_APP_ID && (await admin("GET", `/realtime/apps/${known.REALTIME_APP_ID}`)).status === 200) {
    const { REALTIME_APP_ID, REALTIME_PUBLISH_KEY, REALTIME_SUBSCRIBE_KEY } = known;
    return { REALTIME_APP_ID, REALTIME_PUBLISH_KEY, REALTIME_SUBSCRIBE_KEY };
  }
  const { status, body } = await admin("POST", "/realtime/apps", { name: "demo" });
  if (status !== 201) throw new Error(`could not make an app: ${status} ${body}`);
  const app = JSON.parse(body);
  return {
    REALTIME_APP_ID: app.id,
    REALTIME_PUBLISH_KEY: app.publish_key,
    REALTIME_SUBSCRIBE_KEY: app.subscribe_key,
  };
}

function parseEnv(text) {
  return Object.fromEntries(text.split("\n").map((line) => line.split(/=(.*)/, 2)));
}

function writeEnv(env) {
  const lines = Object.entries(env).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(envFile, lines.join(""), { mode: 0o600 });
}

// Caddy's admin endpoint. Node's fetch says that it is a browser
// (Sec-Fetch-Mode), and the endpoint then wants to see an origin that it knows.
function adminOf(port) {
  const origin = `http://localhost:${port}`;
  return async (method, path, body) => {
    const answer = await fetch(origin + path, {
      method,
      headers: { Origin: origin, ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
    });
    return { status: answer.status, body: await answer.text() };
  };
}

// Runs one of the examples, and shows what it prints under its name.
function example(file, env) {
  const child = spawn(process.execPath, [join(examples, file)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  track(child);
  const seen = [];
  let wake = () => {};
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (!line) return;
    console.log(`${file.padEnd(13)} ${line}`);
    seen.push(line);
    wake();
  });
  return {
    async prints(pattern) {
      const deadline = Date.now() + 15_000;
      while (!seen.some((line) => pattern.test(line))) {
        if (Date.now() > deadline) throw new Error(`${file} did not print ${pattern}`);
        await Promise.race([new Promise((resolve) => (wake = resolve)), sleep(500)]);
      }
    },
  };
}

async function freePort(from, taken) {
  for (let port = from; port < from + 100; port++) {
    if (port !== taken && (await isFree(port))) return port;
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

async function until(what, child, done) {
  const deadline = Date.now() + 30_000;
  while (!(await done())) {
    if (child.exitCode !== null) throw new Error(`Caddy ended while waiting for ${what}`);
    if (Date.now() > deadline) throw new Error(`waited 30 s for ${what}`);
    await sleep(50);
  }
}

function track(child) {
  children.add(child);
  child.on("exit", () => children.delete(child));
}

async function stop(code) {
  if (stopping) return;
  stopping = true;
  const ends = [...children].map((child) => new Promise((resolve) => child.on("exit", resolve)));
  for (const child of children) child.kill("SIGTERM");
  await Promise.all(ends);
  process.exit(code);
}

function short(path) {
  const local = relative(root, path);
  return local.startsWith("..") ? path : local;
}
