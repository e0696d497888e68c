// caddy realtime keystore copy, between a directory and a real Redis.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bin, Caddy } from "./lib/caddy.mjs";
import { Redis } from "./lib/redis.mjs";
import { once } from "./lib/wait.mjs";

/** Runs a program: its exit code and everything that it prints. */
async function run(program, args, env = {}) {
  const child = spawn(program, args, { env: { ...process.env, ...env } });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  const [code] = await once(child, "close", 60_000);
  return { code, stdout, stderr };
}

const copy = (...args) => run(bin, ["realtime", "keystore", "copy", ...args], { TEST_PASSWORD: "hunter2" });

describe("copying a keystore", () => {
  let redis, dir, url;
  const cli = async (...args) => {
    const { code, stdout, stderr } = await run("redis-cli", ["-p", String(redis.port), ...args], { REDISCLI_AUTH: "hunter2" });
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  before(async () => {
    redis = await Redis.start();
    await cli("CONFIG", "SET", "requirepass", "hunter2");
    url = redis.url.replace("//", "//:{env.TEST_PASSWORD}@");
    dir = mkdtempSync(join(tmpdir(), "realtime-copy-"));
  });
  after(async () => {
    await redis.close();
    rmSync(dir, { recursive: true, force: true });
  });

  test("to Redis and back, everything is the same", async () => {
    const [source, back] = [join(dir, "source"), join(dir, "back")];
    const caddy = await Caddy.start({ keystore: `badger ${source}` });
    let want;
    try {
      for (let i = 0; i < 3; i++) {
        const { id } = await caddy.app();
        assert.equal((await caddy.admin("PATCH", `/realtime/apps/${id}`, { history: { messages: 7, age: "5m" } })).status, 200);
      }
      want = (await caddy.admin("GET", "/realtime/apps")).json;
      const held = await copy("badger", source, "redis", url);
      assert.equal(held.code, 1);
      assert.match(held.stderr, /the source: .*in use, most likely by another running Caddy/);
    } finally {
      await caddy.close();
    }

    const keys = want.apps.reduce((n, app) => n + app.keys.length, 0);
    const n = want.apps.length;
    for (const [args, stdout] of [
      [["badger", source, "redis", url, "--dry-run"], `to copy +${n} +${keys} +0 +0 +0\nalready there +0 `],
      [["badger", source, "redis", url], `copied +${n} +${keys} +0 +0 +0\nalready there +0 `],
      [["badger", source, "redis", url], `copied +0 +0 +0 +0 +0\nalready there +${n} +${keys} `],
      [["redis", url, "badger", back, "--dry-run"], `to copy +${n} `],
      [["redis", url, "badger", back], `copied +${n} `],
    ]) {
      if (args[0] === "redis") assert.equal(existsSync(back), false, "--dry-run creates nothing");
      const result = await copy(...args);
      assert.equal(result.code, 0, result.stderr);
      assert.match(result.stdout, new RegExp(stdout));
      assert.doesNotMatch(result.stdout + result.stderr, /hunter2/);
    }
    const again = await Caddy.start({ keystore: `badger ${back}` });
    try {
      assert.deepEqual((await again.admin("GET", "/realtime/apps")).json, want);
    } finally {
      await again.close();
    }
  });

  test("after an interruption, what is missing is copied; apps of another keystore are never touched", async () => {
    const one = (await cli("ZRANGE", "rt:{apps}", "0", "-1")).split("\n")[0];
    await cli("ZREM", "rt:{apps}", one);
    await cli("DEL", `rt:{${one}}:app`);
    const source = join(dir, "source");
    const { code, stdout, stderr } = await copy("badger", source, "redis", url, "--json");
    assert.equal(code, 0, stderr);
    const { dry_run, copied, present } = JSON.parse(stdout);
    assert.deepEqual([dry_run, copied.apps, present.apps], [false, 1, Number(await cli("ZCARD", "rt:{apps}")) - 1]);

    const record = JSON.parse(await cli("GET", `rt:{${one}}:app`));
    await cli("SET", `rt:{${one}}:app`, JSON.stringify({ ...record, name: "other" }));
    const refused = await copy("badger", source, "redis", url);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, new RegExp(`apps of its own.*${one}\\..*empty keystore`));
    assert.equal(JSON.parse(await cli("GET", `rt:{${one}}:app`)).name, "other");

    const elsewhere = await copy("badger", source, "redis", url, "--prefix", "shop");
    assert.equal(elsewhere.code, 0, elsewhere.stderr);

    await cli("SET", `rt:{${one}}:app`, JSON.stringify({ ...record, v: 99 }));
    const newer = await copy("redis", url, "badger", join(dir, "newer"));
    assert.equal(newer.code, 1);
    assert.match(newer.stderr, /has format 99 and this version reads \d+: run the newer version/);
  });

  test("mistakes name the cure, and no password", async () => {
    const secret = "redis://user:hunter2@127.0.0.1:1";
    const none = join(dir, "none");
    for (const [args, says] of [
      [["badger", none], /2 arguments, not 4.*for example: caddy realtime keystore copy/],
      [["badger", none, secret, "redis"], /the destination: a keystore's name was expected/],
      [["badger", secret, "redis", secret], /badger takes a directory, not a URL/],
      [["badger", none, "etcd", secret], /unknown keystore \\?"etcd\\?"; this Caddy was built with: badger, redis/],
      [["badger", none, "redis", secret], /the source: there is no keystore in .*none/],
      [["redis", secret, "badger", none], /the source: redis at 127.0.0.1:1 cannot be reached/],
      [["redis", secret, "redis", secret], /the same keystore/],
      [["badger", "a", "badger", "b", "--prefix", "x"], /--prefix is for a keystore in Redis/],
      [["badger", "a", "redis", secret, "--prefix", "x:y"], /the prefix .* has other characters/],
    ]) {
      const { code, stdout, stderr } = await copy(...args);
      assert.equal(code, 1, args.join(" "));
      assert.equal(stdout, "");
      assert.match(stderr, says);
      assert.doesNotMatch(stderr, /hunter2/, args.join(" "));
    }
    assert.equal(existsSync(none), false);
  });
});
