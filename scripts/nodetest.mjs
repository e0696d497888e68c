// Runs Node test files against the binary in CADDY_BIN, and counts. As with the
// Go tests, a skipped or unfinished test is a failure. Several files run at a
// time, as they wait more than they work: JOBS is how many.
//
//	node scripts/nodetest.mjs FILE…
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

// The largest first, as they take longest: none is left to run alone.
const files = process.argv.slice(2).map((file) => resolve(file));
files.sort((a, b) => statSync(b).size - statSync(a).size);

const totals = { passed: 0, failed: 0, other: 0 };
const suites = { passed: 0, failed: 0 };
const count = (outcome) => (test) => {
  if (test.details.type === "suite") suites[outcome]++;
  else totals[test.skip !== undefined || test.todo !== undefined ? "other" : outcome]++;
};

const tests = run({ files, concurrency: Number(process.env.JOBS ?? 4) });
tests.on("test:pass", count("passed")).on("test:fail", count("failed"));
tests.compose(new spec()).pipe(process.stdout);
await new Promise((done) => tests.once("end", done));

// A suite may fail before it has a test that does.
if (!totals.failed) totals.failed = suites.failed;
mkdirSync("build", { recursive: true });
writeFileSync("build/node.totals", `${totals.passed} ${totals.failed + totals.other}\n`);
console.log(`node: ${totals.passed} passed, ${totals.failed} failed, ${totals.other} skipped or to do`);
process.exitCode = totals.failed || totals.other || !totals.passed ? 1 : 0;
