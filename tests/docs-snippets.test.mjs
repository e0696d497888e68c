// The code in docs/ does what the pages say when it is copied.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Caddy, bin, root } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

const here = fileURLToPath(new URL(".", import.meta.url)); // where imports are found
const python = "/usr/bin/python3"; // the one that has the distribution's packages

/** The first block of a language below a heading of a page. */
function snippet(page, heading, language) {
  const text = readFileSync(join(root, "docs", page), "utf8");
  const section = text.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0];
  const block = section?.match(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, "m"));
  assert.ok(block, `${page} has no ${language} below ${heading}`);
  return block[1];
}

describe("the snippets of docs/", () => {
  let caddy, app, env, dir, listener;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), "realtime-"));
    caddy = await Caddy.start();
    app = await caddy.app();
    env = {
      ...process.env,
      REALTIME_URL: caddy.origin,
      REALTIME_APP_ID: app.id,
      REALTIME_PUBLISH_KEY: app.publish_key,
      REALTIME_SUBSCRIBE_KEY: app.subscribe_key,
    };
    listener = new Program(process.execPath, ["--input-type=module", "-"], { input: fill(snippet("subscribe.md", "Connect and subscribe", "js")), cwd: here, env });
    await listener.prints(/^Joined orders\.42$/m);
  });
  after(async () => {
    await listener?.stop();
    await caddy.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const fill = (text) =>
    text
      .replaceAll("https://example.com", caddy.origin)
      .replaceAll("YOUR_APP_ID", app.id)
      .replaceAll("YOUR_PUBLISH_KEY", app.publish_key)
      .replaceAll("YOUR_SUBSCRIBE_KEY", app.subscribe_key);

  /** Runs a publisher to its end; the page's subscriber then has one event more. */
  async function publishes(program, args, options) {
    const heard = () => listener.output.match(/^\{ id: 42 \}$/gm)?.length ?? 0;
    const wanted = heard() + 1;
    const publisher = new Program(program, args, { env, ...options });
    assert.equal(await publisher.exited, 0, publisher.output);
    await listener.prints(new RegExp(`(^\\{ id: 42 \\}$[^]*){${wanted}}`, "m"));
    assert.equal(heard(), wanted);
  }

  test("publish with curl", () => publishes("sh", ["-c", fill(snippet("publish.md", "curl", "sh"))]));

  test("publish with Node", () => publishes(process.execPath, ["--input-type=module", "-"], { input: snippet("publish.md", "Node", "js") }));

  test("publish with PHP", () => publishes("php", [], { input: `<?php\n${snippet("publish.md", "PHP and Laravel", "php")}`, cwd: join(root, "examples/laravel") }));

  test("publish with Python", () => publishes(python, ["-"], { input: snippet("publish.md", "Python", "python") }));

  test("publish with Go", () => {
    const imports = ["bytes", "context", "encoding/json", "fmt", "net/http", "os", "time"].map((name) => `import "${name}"\n`).join("");
    const main = `func main() {\n\tif _, err := Publish(context.Background(), "orders.42", "order.updated", map[string]int{"id": 42}); err != nil {\n\t\tpanic(err)\n\t}\n}\n`;
    writeFileSync(join(dir, "main.go"), `package main\n\n${imports}\n${snippet("publish.md", "Go", "go")}\n${main}`);
    return publishes("go", ["run", join(dir, "main.go")]);
  });

  test("publish from the command line", () => {
    const [, command] = snippet("publish.md", "Command line", "sh").match(/^caddy (realtime publish .*)$/m);
    return publishes("sh", ["-c", `'${bin}' ${command}`]);
  });

  // The snippet keeps the connection that it cuts off until it is told to come back.
  const cutOff = `socket.io.reconnection(false);
    process.on("SIGUSR1", () => socket.io.engine.close());
    process.on("SIGUSR2", () => socket.connect());
    socket.on("disconnect", () => console.log("gone"));
    setInterval(() => {}, 60_000); // a signal's handler keeps no process`;
  const subscribers = async () => (await caddy.admin("GET", `/realtime/channels/${app.id}/orders.42`)).json.subscribers;

  test("recovery: what was missed arrives once and in order, and the state is fetched once", async () => {
    const client = new Program(process.execPath, ["--input-type=module", "-"], { input: fill(snippet("recovery.md", "Ask for recovery", "js")) + cutOff, cwd: here, env });
    try {
      await client.prints(/^fetch the state of orders\.42$/m);
      client.child.kill("SIGUSR1");
      await client.prints(/^gone$/m);
      await until("its session is away", async () => (await subscribers()) === 1);
      const ids = [];
      for (const n of [1, 2]) ids.push((await caddy.published(app, { channel: "orders.42", event: "order.updated", data: n })).id);
      ids.push((await caddy.published(app, { channel: "orders.42", event: "order.updated" })).id);
      client.child.kill("SIGUSR2");
      await client.prints(new RegExp(`^null ${ids[2]}$`, "m"));
      const want = ["fetch the state of orders.42", "gone", `1 ${ids[0]}`, `2 ${ids[1]}`, `null ${ids[2]}`];
      assert.deepEqual(client.output.trim().split("\n"), want);
    } finally {
      await client.stop("SIGKILL");
    }
  });

  test("without recovery: a client that keeps its position gets what it missed", async () => {
    const connect = `import { io } from "socket.io-client";
      const socket = io("${caddy.origin}", { auth: { appId: "${app.id}", subscribeKey: "${app.subscribe_key}" }, transports: ["websocket"] });
      const refetch = (reason) => console.log("fetch the state:", reason);
      socket.on("subscribed", (p) => console.log("at", p.id));
      socket.on("order.updated", (...args) => console.log("heard", JSON.stringify(args)));`;
    const { id } = await caddy.published(app, { channel: "orders.42", event: "order.updated", data: "before" });
    const client = new Program(process.execPath, ["--input-type=module", "-"], { input: connect + snippet("recovery.md", "Clients without recovery", "js") + cutOff, cwd: here, env });
    try {
      await client.prints(/^heard \["before"\]$/m);
      client.child.kill("SIGUSR1");
      await client.prints(/^gone$/m);
      await until("it has left", async () => (await subscribers()) === 1);
      const missed = await caddy.published(app, { channel: "orders.42", event: "order.updated", data: "missed" });
      client.child.kill("SIGUSR2");
      await client.prints(/^heard \["missed"\]$/m);
      assert.deepEqual(client.output.trim().split("\n"), [`at ${id}`, 'heard ["before"]', "gone", `at ${missed.id}`, 'heard ["missed"]']);
    } finally {
      await client.stop("SIGKILL");
    }
  });

  test("subscribe with Python", async () => {
    const program = new Program(python, ["-u", "-"], { input: snippet("clients.md", "Python", "python"), env });
    try {
      const path = `/realtime/channels/${app.id}/orders.42`;
      await until("it has subscribed", async () => (await caddy.admin("GET", path)).json.subscribers === 2);
      await caddy.published(app, { channel: "orders.42", event: "order.updated", data: { id: 7 } });
      await program.prints(/^\{'id': 7\}$/m);
    } finally {
      await program.stop("SIGKILL");
    }
  });
});
