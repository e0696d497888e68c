// "make cluster" as a user runs it: its page in Chromium, and its keys.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { launch, picture } from "./lib/browser.mjs";
import { bin, root } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
import { until } from "./lib/wait.mjs";

/** Starts examples/cluster/cluster.mjs with an input that stays open. */
async function cluster(t, env) {
  const dir = mkdtempSync(join(tmpdir(), "realtime-cluster-"));
  const [port] = await freePorts(1);
  const child = spawn(process.execPath, [join(root, "examples/cluster/cluster.mjs")], {
    env: { ...process.env, CADDY_BIN: bin, RUN_DIR: join(dir, "run"), PORT: String(port), ...env },
  });
  const demo = { child, output: "", dir };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (demo.output += chunk));
  demo.exited = new Promise((resolve) => child.on("close", resolve));
  demo.prints = (pattern) => until(`prints ${pattern}`, () => demo.output.match(pattern), 60_000).catch((err) => {
    throw new Error(`${err.message}; it printed:\n${demo.output}`);
  });
  t.after(async () => {
    child.kill("SIGTERM");
    await demo.exited;
    rmSync(dir, { recursive: true, force: true });
  });
  return demo;
}

test("make cluster: a machine is killed and started by its key, and the page has every event once", async (t) => {
  const demo = await cluster(t);
  const [, url] = await demo.prints(/^Open +(http:\S+)$/m);
  await demo.prints(/kill -9 \d+/);
  const browser = await launch({ tls: false });
  t.after(() => browser.close());
  const tab = await browser.newPage();
  tab.setDefaultTimeout(60_000);
  await tab.goto(url);
  const value = async (id) => Number(await tab.textContent(`#${id}`));
  const more = async () => {
    const before = await value("received");
    await tab.waitForFunction((n) => Number(document.querySelector("#received").textContent) > n + 3, before);
  };
  await more();
  // The page shows which machine it is connected to: kill that one.
  await tab.waitForSelector(".here");
  assert.equal(await tab.locator("#machines tr").count(), 3);
  const number = await tab.textContent(".here td:first-child");
  demo.child.stdin.write(number);
  await demo.prints(new RegExp(`^machine ${number} +has ended$`, "m"));
  await tab.waitForFunction((n) => document.querySelector(`#machines tr:nth-child(${n}) td:nth-child(2)`).textContent === "killed", number);
  await tab.waitForFunction((n) => {
    const here = document.querySelector(".here td:first-child");
    return here && here.textContent !== n;
  }, number);
  await more();
  await picture(tab, "cluster");
  assert.equal((await value("recovered")) + (await value("began")), 1);

  demo.child.stdin.write(number);
  await demo.prints(new RegExp(`has ended[^]*^machine ${number} +runs`, "m"));
  await tab.waitForFunction((n) => document.querySelector(`#machines tr:nth-child(${n}) td:nth-child(2)`).textContent === "running", number);
  await more();
  assert.deepEqual([await value("lost"), await value("doubled")], [0, 0]);

  demo.child.stdin.write("q");
  assert.equal(await demo.exited, 0, demo.output);
  const tallies = [...demo.output.matchAll(/^client .*?(\d+) received, (\d+) lost, (\d+) doubled/gm)];
  assert.ok(tallies.length > 0, demo.output);
  for (const [line, , lost, doubled] of tallies) assert.deepEqual([lost, doubled], ["0", "0"], line);
});

test("make cluster says what is missing", async (t) => {
  const demo = await cluster(t, { CADDY_BIN: join(tmpdir(), "no-such-caddy") });
  assert.equal(await demo.exited, 1);
  assert.match(demo.output, /^make cluster: .*no-such-caddy is missing: run "make build" first$/m);
  const other = await cluster(t, { PATH: tmpdir() });
  assert.equal(await other.exited, 1);
  assert.match(other.output, /^make cluster: redis-server is missing: install it, for example with "apt-get install redis-server"$/m);
});
