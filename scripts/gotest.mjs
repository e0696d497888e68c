// Runs the Go tests under the race detector, shows packages and what failed,
// and counts. A skipped test is a failure: nothing here may pass by not running.
//
//	node scripts/gotest.mjs <name of the totals> <directory of the module> [go test arguments]
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [name, cwd, ...flags] = process.argv.slice(2);
const go = spawn("go", ["test", "-race", "-timeout=15m", "-parallel=3", "-json", ...flags], {
  cwd,
  stdio: ["ignore", "pipe", "inherit"],
});
const ended = new Promise((resolve) => go.on("close", resolve));

const totals = { passed: 0, failed: 0, skipped: 0 };
const outputs = new Map();
const failedIn = new Set(); // packages with a failed test

for await (const line of createInterface({ input: go.stdout })) {
  let event;
  try {
    event = JSON.parse(line);
  } catch {
    console.log(line);
    continue;
  }
  const key = `${event.Package ?? event.ImportPath} ${event.Test ?? ""}`;
  switch (event.Action) {
    case "output":
    case "build-output":
      outputs.set(key, (outputs.get(key) ?? "") + event.Output);
      break;
    case "pass":
    case "fail":
    case "skip":
      finish(event, outputs.get(key) ?? "");
      outputs.delete(key);
      break;
  }
}
const status = await ended;
// What never finished: builds that failed, tests that were cut off.
for (const output of outputs.values()) {
  if (status !== 0) process.stdout.write(output);
}
if (status !== 0 && totals.failed === 0) totals.failed = 1;

writeFileSync(`build/${name}.totals`, `${totals.passed} ${totals.failed + totals.skipped}\n`);
console.log(`${name}: ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = status !== 0 || totals.failed || totals.skipped ? 1 : 0;

function finish({ Action: action, Package: pkg, Test: test, Elapsed: elapsed }, output) {
  if (!test) {
    // It did not build, or was cut off: no test says so.
    if (action === "fail" && !failedIn.has(pkg)) totals.failed++;
    const word = { pass: "ok", fail: "FAIL", skip: "no tests" }[action];
    console.log(`${word.padEnd(8)} ${pkg} ${elapsed.toFixed(1)}s`);
    if (action === "fail") process.stdout.write(output);
    return;
  }
  totals[{ pass: "passed", fail: "failed", skip: "skipped" }[action]]++;
  if (action === "fail") failedIn.add(pkg);
  if (action !== "pass") process.stdout.write(output);
}
