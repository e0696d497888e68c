// What the documents say of the binary and its answers is what they are.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Caddy, bin, root } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";

const read = (file) => readFileSync(join(root, file), "utf8");

test("xcaddy.md lists the modules that caddy list-modules does", async () => {
  const [, block] = read("xcaddy.md").match(/list-modules \| grep realtime\n```\n\nprints\n\n```\n([^]*?)```/);
  const modules = new Program(bin, ["list-modules"]);
  assert.equal(await modules.exited, 0, modules.output);
  assert.deepEqual(block.trim().split("\n"), modules.output.split("\n").filter((line) => line.includes("realtime")).map((line) => line.trim()));
});

test("docs/configuration.md's Caddyfile and JSON are one configuration", async () => {
  const [, caddyfile, json] = read("docs/configuration.md").match(/^As a Caddyfile:\n\n```caddyfile\n([^]*?)^```\n\nThe same in JSON:\n\n```json\n([^]*?)^```/m);
  const dir = mkdtempSync(join(tmpdir(), "realtime-"));
  try {
    const [adapted, validated] = [join(dir, "Caddyfile"), join(dir, "caddy.json")];
    writeFileSync(adapted, caddyfile);
    writeFileSync(validated, json);
    const env = { ...process.env, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir };
    const adapt = new Program(bin, ["adapt", "--config", adapted], { env });
    assert.equal(await adapt.exited, 0, adapt.output);
    const validate = new Program(bin, ["validate", "--config", validated], { env });
    assert.equal(await validate.exited, 0, validate.output);
    const units = { s: 1e9, m: 60e9 };
    const nanoseconds = (key, value) => {
      const [, n, unit] = (typeof value === "string" && value.match(/^(\d+)(s|m)$/)) || [];
      return unit ? n * units[unit] : value;
    };
    const [line] = adapt.output.split("\n").filter((line) => line.startsWith('{"apps"'));
    assert.deepEqual(JSON.parse(json, nanoseconds), JSON.parse(line));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("a backup that is made and restored as docs/deploying.md says has the apps and keys of its time", async () => {
  const [, backup, restore] = read("docs/deploying.md").match(/^caddy stop\n(tar .*\n)```[^]*?^```sh\n(mv .*\ntar .*\n)```/m);
  const caddy = await Caddy.start();
  const whileStopped = async (commands) => {
    await caddy.signal("SIGTERM");
    const script = commands.replaceAll(/(?<=[ /])realtime(?!\.tar)/g, "keystore").replaceAll("/var/lib/caddy", caddy.dir);
    const shell = new Program("sh", ["-euc", script], { cwd: caddy.dir });
    assert.equal(await shell.exited, 0, shell.output);
    await caddy.boot();
  };
  const event = { channel: "a", event: "b" };
  try {
    const app = await caddy.app("before");
    await whileStopped(backup);
    const later = await caddy.app("after");
    const [key] = (await caddy.admin("GET", `/realtime/keys/${app.id}`)).json.keys.filter((key) => key.kind === "publish");
    assert.equal((await caddy.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`)).status, 204);
    await whileStopped(restore);
    await caddy.published(app, event);
    assert.equal((await caddy.publish(later, event)).json.error.code, "unknown_app");
  } finally {
    await caddy.close();
  }
});

test("README and the docs page have the fields of a publish's answer", async () => {
  const caddy = await Caddy.start({ site: "realtime {\n\tdocs_path /docs\n}" });
  try {
    const answer = Object.keys(await caddy.published(await caddy.app(), { channel: "a", event: "b" }));
    const page = (await caddy.request("GET", "/docs")).text.replaceAll("&#34;", '"');
    for (const [name, text] of [["README.md", read("README.md")], ["docs/publish.md", read("docs/publish.md")], ["the docs page", page]]) {
      const told = [...text.matchAll(/\{"id":"…"[^}]*\}/g)].map(([json]) => json).filter((json) => !json.includes(",…"));
      assert.ok(told.length > 0, `${name} says nothing of the answer`);
      for (const json of told) assert.deepEqual(Object.keys(JSON.parse(json)), answer, name);
    }
  } finally {
    await caddy.close();
  }
});
