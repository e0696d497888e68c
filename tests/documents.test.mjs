// What the documents say of the binary and its answers is what they are.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
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

test("README and the docs page have the fields of a publish's answer", async () => {
  const caddy = await Caddy.start({ site: "realtime {\n\tdocs_path /docs\n}" });
  try {
    const answer = Object.keys(await caddy.published(await caddy.app(), { channel: "a", event: "b" }));
    const page = (await caddy.request("GET", "/docs")).text.replaceAll("&#34;", '"');
    for (const [name, text] of [["README.md", read("README.md")], ["the docs page", page]]) {
      const told = [...text.matchAll(/\{"id":"…"[^}]*\}/g)].map(([json]) => json).filter((json) => !json.includes(",…"));
      assert.ok(told.length > 0, `${name} says nothing of the answer`);
      for (const json of told) assert.deepEqual(Object.keys(JSON.parse(json)), answer, name);
    }
  } finally {
    await caddy.close();
  }
});
