// Every example as a reader would run it, and what "make run" runs.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Caddy, bin, root } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
import { Program } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

const example = (file) => join(root, "examples", file);

describe("examples", () => {
  let caddy, env, subscriber;
  before(async () => {
    caddy = await Caddy.start({ tls: true });
    const app = await caddy.app();
    env = {
      ...process.env,
      REALTIME_URL: caddy.origin,
      REALTIME_APP_ID: app.id,
      REALTIME_PUBLISH_KEY: app.publish_key,
      REALTIME_SUBSCRIBE_KEY: app.subscribe_key,
      NODE_EXTRA_CA_CERTS: caddy.rootCertificate,
      CURL_CA_BUNDLE: caddy.rootCertificate,
    };
    subscriber = new Program(process.execPath, [example("subscribe.mjs")], { env });
    await subscriber.prints(/^Joined orders\.42$/m);
  });
  after(async () => {
    await subscriber.stop();
    await caddy.close();
  });

  const heard = () => subscriber.output.match(/^\{ id: 42 \}$/gm)?.length ?? 0;

  test("publish.mjs reaches subscribe.mjs", async () => {
    const before = heard();
    const publisher = new Program(process.execPath, [example("publish.mjs")], { env });
    assert.equal(await publisher.exited, 0, publisher.output);
    assert.match(publisher.output, /^200 \{"id":"/);
    await until("the event", () => heard() === before + 1);
  });

  test("publish.sh reaches subscribe.mjs", async () => {
    const before = heard();
    const publisher = new Program(example("publish.sh"), [], { env });
    assert.equal(await publisher.exited, 0, publisher.output);
    assert.match(publisher.output, /\{"id":"/);
    await until("the event", () => heard() === before + 1);
  });

  test("publish-many.sh publishes two events, or fails", async () => {
    const before = heard();
    const publisher = new Program(example("publish-many.sh"), [], { env });
    assert.equal(await publisher.exited, 0, publisher.output);
    assert.equal(publisher.output.match(/"id":"/g).length, 2);
    await until("the event", () => heard() === before + 1);
    const refused = new Program(example("publish-many.sh"), [], { env: { ...env, REALTIME_PUBLISH_KEY: env.REALTIME_SUBSCRIBE_KEY } });
    assert.equal(await refused.exited, 1);
    assert.match(refused.output, /^Not published: .*"wrong_key_kind"/);
  });

  test("a wrong key is told by both", async () => {
    const wrong = { ...env, REALTIME_PUBLISH_KEY: env.REALTIME_SUBSCRIBE_KEY, REALTIME_SUBSCRIBE_KEY: env.REALTIME_PUBLISH_KEY };
    const publisher = new Program(process.execPath, [example("publish.mjs")], { env: wrong });
    assert.equal(await publisher.exited, 1);
    assert.match(publisher.output, /^401 .*"wrong_key_kind"/);
    const refused = new Program(process.execPath, [example("subscribe.mjs")], { env: wrong });
    await refused.prints(/wrong_key_kind/);
    await refused.stop();
  });

  test("either name of the origin will do, with or without a slash at its end", async () => {
    const { REALTIME_URL, ...rest } = env;
    const other = { ...rest, REALTIME_SOCKET_URL: `${REALTIME_URL}/` };
    const subscribes = new Program(process.execPath, [example("subscribe.mjs")], { env: other });
    await subscribes.prints(/^Joined orders\.42$/m);
    for (const [program, ...args] of [[example("publish.sh")], [process.execPath, example("publish.mjs")]]) {
      const publisher = new Program(program, args, { env: other });
      assert.equal(await publisher.exited, 0, publisher.output);
      const none = new Program(program, args, { env: rest });
      assert.notEqual(await none.exited, 0);
      assert.match(none.output, /Set REALTIME_URL/);
    }
    await subscribes.prints(/\{ id: 42 \}[^]*\{ id: 42 \}/);
    await subscribes.stop();
  });

  test("they hold the product page's snippets", () => {
    const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
    const holds = (file, snippet, fill = (text) => text) => {
      const has = lines(readFileSync(example(file), "utf8"));
      const wanted = lines(fill(readFileSync(new URL(`snippets/${snippet}`, import.meta.url), "utf8")));
      for (const line of wanted) assert.ok(has.some((other) => other.endsWith(line)), `${file} lacks: ${line}`);
    };
    holds("publish.mjs", "publish.mjs", (text) => text.replace("process.env.REALTIME_URL", "url"));
    holds("publish.sh", "publish.sh", (text) =>
      text.replace("curl -X POST", "-X POST").replace(/(?<='{.*}')$/m, ")").replace("__BASE__", "$url").replace("YOUR_APP_ID", "$REALTIME_APP_ID").replace("YOUR_PUBLISH_KEY", "$REALTIME_PUBLISH_KEY"),
    );
    holds("subscribe.mjs", "subscribe.mjs", (text) =>
      text
        .replace(`"YOUR_REALTIME_ORIGIN"`, "url")
        .replace(`"YOUR_APP_ID"`, "process.env.REALTIME_APP_ID")
        .replace(`"YOUR_SUBSCRIBE_KEY"`, "process.env.REALTIME_SUBSCRIBE_KEY"),
    );
  });
});

/** Runs a program until it ends. */
async function exits(program, args, env) {
  const run = new Program(program, args, { env });
  return { code: await run.exited, output: run.output };
}

/**
 * Runs a program of Node's in this process: what it prints, and the exit code
 * that it sets. To start Node and its fetch takes half a second.
 */
async function load(file, env) {
  const before = { env: process.env, log: console.log, error: console.error };
  let output = "";
  process.env = env;
  console.log = console.error = (...words) => (output += `${words.join(" ")}\n`);
  try {
    await import(`${pathToFileURL(file)}?${loads++}`); // each is evaluated anew
    return { code: process.exitCode ?? 0, output };
  } finally {
    Object.assign(console, { log: before.log, error: before.error });
    process.env = before.env;
    process.exitCode = undefined;
  }
}
let loads = 0;

// As a process there is a success, and a failure.
const inThisProcess = (file, answer) => file === "publish.mjs" && !["an id", "an empty 200"].includes(answer);

describe("only an answer with an id is a success", () => {
  const env = { ...process.env, REALTIME_APP_ID: "app_x", REALTIME_PUBLISH_KEY: "pk_live_x", REALTIME_SUBSCRIBE_KEY: "sub_live_x" };
  const programs = {
    "publish.sh": [example("publish.sh")],
    "publish.mjs": [process.execPath, example("publish.mjs")],
    "SocketPublisher.php": ["php", "-r", `require '${example("laravel/SocketPublisher.php")}'; echo SocketPublisher::publish('orders.42', 'order.updated', ['id' => 42]);`],
  };
  for (const [name, status, body, says, headers = {}] of [
    ["an id", 200, '{"id":"0a-1","offset":1,"subscribers":0}\n', ""],
    ["an empty 200", 200, "", /answered:? +200/],
    ["HTML", 200, "<!doctype html>", /<!doctype html>/],
    ["JSON without an id", 200, '{"ok":true}', /ok/],
    ["an empty id", 200, '{"id":""}', /id/],
    ["another status", 202, '{"id":"0a-1"}', /202/],
    ["an error", 401, '{"error":{"code":"invalid_key","message":"Not invalid_key."}}', /invalid_key/],
    ["a redirect", 307, "", /307.*elsewhere/, { Location: "/elsewhere" }],
  ]) {
    for (const [file, [program, ...args]] of Object.entries(programs)) {
      test(`${file}: ${name}`, async () => {
        const paths = [];
        const server = createServer((req, res) => {
          paths.push(req.url);
          res.writeHead(status, headers).end(body);
        });
        await new Promise((resolve) => server.listen(0, resolve));
        const REALTIME_URL = `http://localhost:${server.address().port}`;
        const settings = { ...env, REALTIME_URL };
        const { code, output } = inThisProcess(file, name) ? await load(args[0], settings) : await exits(program, args, settings);
        server.closeAllConnections();
        server.close();
        assert.deepEqual(paths, ["/publish"]);
        if (!says) return assert.equal(code, 0, output);
        assert.notEqual(code, 0, output);
        assert.match(output, says);
      });
    }
  }
});

describe("a publish that was not answered is repeated with the same key and body", () => {
  for (const [file, program, ...args] of [["publish.sh", example("publish.sh")], ["publish-many.sh", example("publish-many.sh")], ["publish.mjs", process.execPath, example("publish.mjs")]]) {
    test(file, async () => {
      const requests = [];
      const server = createServer(async (req, res) => {
        let body = "";
        for await (const chunk of req) body += chunk;
        requests.push(`${req.headers["idempotency-key"]} ${body}`);
        if (requests.length === 1) return req.socket.resetAndDestroy();
        if (requests.length === 2) return res.writeHead(503, { "Retry-After": "1" }).end('{"error":{"code":"unavailable","message":"Ending."}}');
        return res.end(file === "publish-many.sh" ? '{"results":[{"id":"0a-1"},{"id":"0a-2"}]}\n' : '{"id":"0a-1","offset":1,"subscribers":0}\n');
      });
      await new Promise((resolve) => server.listen(0, resolve));
      const env = { ...process.env, REALTIME_URL: `http://localhost:${server.address().port}`, REALTIME_APP_ID: "app_x", REALTIME_PUBLISH_KEY: "pk_live_x" };
      const { code, output } = await exits(program, args, env);
      server.closeAllConnections();
      server.close();
      assert.equal(code, 0, output);
      assert.match(requests[0], /^[0-9a-f-]{32,36} \{/);
      assert.deepEqual(requests, Array(3).fill(requests[0]));
    });
  }
});

test("subscribe.mjs hears events after a restart of the gateway", async () => {
  const caddy = await Caddy.start();
  try {
    const app = await caddy.app();
    const subscriber = new Program(process.execPath, [example("subscribe.mjs")], {
      env: { ...process.env, REALTIME_URL: caddy.origin, REALTIME_APP_ID: app.id, REALTIME_SUBSCRIBE_KEY: app.subscribe_key },
    });
    await subscriber.prints(/^Joined orders\.42$/m);
    await caddy.signal("SIGTERM");
    await caddy.boot();
    await subscriber.prints(/^Joined orders\.42$[^]*^Joined orders\.42$/m);
    await caddy.published(app, { channel: "orders.42", event: "order.updated", data: { id: 43 } });
    await subscriber.prints(/^\{ id: 43 \}$/m);
    await subscriber.stop();
  } finally {
    await caddy.close();
  }
});

describe("Caddyfiles that are printed are valid", () => {
  const files = Object.fromEntries(["Caddyfile", "orders/Caddyfile"].map((name) => [`examples/${name}`, readFileSync(example(name), "utf8")]));
  const pages = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`);
  for (const page of ["README.md", ...pages]) {
    const blocks = [...readFileSync(join(root, page), "utf8").matchAll(/^```caddyfile\n([^]*?)^```/gm)];
    for (const [i, [, text]] of blocks.entries()) files[`${page}, block ${i + 1}`] = text;
  }
  assert.ok(Object.keys(files).length >= 7);
  // What the placeholders in them stand for.
  const variables = { RATE: "600 1m", MAX_BODY: "1MiB", ORIGINS: "https://app.example.com", STATE_DIRECTORY: "/var/lib/caddy" };
  for (const [name, text] of Object.entries(files)) {
    test(name, async () => {
      const dir = mkdtempSync(join(tmpdir(), "realtime-"));
      try {
        const file = join(dir, "Caddyfile");
        writeFileSync(file, text);
        const validate = new Program(bin, ["validate", "--config", file], {
          env: { ...process.env, ...variables, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir },
        });
        assert.equal(await validate.exited, 0, validate.output);
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    });
  }
});

test("make run shows an event arriving, remembers its app, and ends when told", async () => {
  const dir = mkdtempSync(join(tmpdir(), "realtime-run-"));
  const [port, adminPort] = await freePorts(2);
  const env = { ...process.env, CADDY_BIN: bin, RUN_DIR: dir, PORT: String(port), ADMIN_PORT: String(adminPort) };
  const settings = () => Object.fromEntries(readFileSync(join(dir, "demo.env"), "utf8").trim().split("\n").map((line) => line.split(/=(.*)/, 2)));
  try {
    const once = new Program(process.execPath, [example("demo.mjs")], { env: { ...env, ONCE: "1" } });
    assert.equal(await once.exited, 0, once.output);
    assert.match(once.output, /^subscribe\.mjs +Joined orders\.42$/m);
    assert.match(once.output, /^publish\.mjs +200 \{"id":"/m);
    assert.match(once.output, /^subscribe\.mjs +\{ id: 42 \}$/m);
    assert.match(once.output, /^Open +https:\/\/localhost:\d+\/#app=app_/m);
    assert.equal(statSync(join(dir, "demo.env")).mode & 0o777, 0o600);
    const first = settings();
    assert.ok(!once.output.includes(first.REALTIME_PUBLISH_KEY), "the publish key on the screen");

    const again = new Program(process.execPath, [example("demo.mjs")], { env });
    try {
      await again.prints(/Ctrl-C/);
      assert.equal(settings().REALTIME_APP_ID, first.REALTIME_APP_ID);

      // A second one beside it takes the next free ports.
      const other = mkdtempSync(join(tmpdir(), "realtime-run-"));
      try {
        const beside = new Program(process.execPath, [example("demo.mjs")], { env: { ...env, RUN_DIR: other, ONCE: "1" } });
        assert.equal(await beside.exited, 0, beside.output);
        assert.ok(!beside.output.includes(`localhost:${port}/`));
      } finally {
        rmSync(other, { recursive: true, force: true });
      }

      // What it says to copy, and the link that it prints.
      const publisher = new Program("sh", ["-c", `set -a; . "${dir}/demo.env"; "${example("publish.sh")}"`], {});
      assert.equal(await publisher.exited, 0, publisher.output);
      await again.prints(/\{ id: 42 \}[^]*\{ id: 42 \}/);
    } finally {
      await again.stop("SIGINT");
    }
    assert.equal(again.child.exitCode, 0, again.output);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("make run and README's first step work side by side, in either order", async () => {
  const caddyfile = readFileSync(example("Caddyfile"), "utf8");
  const defaults = ["REALTIME_PORT", "REALTIME_ADMIN_PORT"].map((name) => caddyfile.match(new RegExp(`\\{\\$${name}:(\\d+)\\}`))[1]);
  for (const first of ["make run", "README"]) {
    const dir = mkdtempSync(join(tmpdir(), "realtime-both-"));
    const [port, adminPort] = await freePorts(2);
    const { PORT, ADMIN_PORT, ...base } = process.env;
    const programs = {
      async "make run"() {
        const program = new Program(process.execPath, [example("demo.mjs")], { env: { ...base, CADDY_BIN: bin, RUN_DIR: join(dir, "run") } });
        await program.prints(/Ctrl-C/);
        for (const port of defaults) assert.doesNotMatch(program.output, new RegExp(`localhost:${port}/`), "it takes a port of README's");
        return program;
      },
      async README() {
        const program = new Program(bin, ["run", "--config", example("Caddyfile")], {
          cwd: dir, // the repository's root, for what the Caddyfile names
          env: { ...base, REALTIME_PORT: String(port), REALTIME_ADMIN_PORT: String(adminPort), REALTIME_EXAMPLES: join(root, "examples"), XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir },
        });
        await program.prints(/serving initial configuration/);
        return program;
      },
    };
    const running = [];
    try {
      for (const name of [first, ...Object.keys(programs).filter((other) => other !== first)]) running.push(await programs[name]());
    } finally {
      for (const program of running) await program.stop("SIGINT");
      rmSync(dir, { recursive: true, force: true });
    }
  }
});
