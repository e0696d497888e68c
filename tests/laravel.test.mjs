// examples/laravel: PHP and Laravel's own components against the gateway, with
// stock clients that listen.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { json as readJSON } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { Caddy, root } from "./lib/caddy.mjs";
import { Cutter } from "./lib/cutter.mjs";
import { freePorts } from "./lib/ports.mjs";
import { Program } from "./lib/process.mjs";
import { once, until } from "./lib/wait.mjs";

const examples = join(root, "examples/laravel");
const scripts = join(root, "tests/laravel");

const environment = (origin, app, more = {}) => ({
  ...process.env,
  REALTIME_SOCKET_URL: origin,
  REALTIME_APP_ID: app.id,
  REALTIME_PUBLISH_KEY: app.publish_key,
  ...more,
});

/** Runs a case of plain.php: its result or its exception, and what it wrote beside it. */
async function plain(env, ...args) {
  const php = new Program("php", [join(scripts, "plain.php"), ...args], { env });
  assert.equal(await php.exited, 0, php.output);
  const lines = php.output.trimEnd().split("\n");
  const answer = JSON.parse(lines.pop());
  return { ...answer, notes: lines.filter(Boolean) };
}

/** All that a socket hears, as [event, ...arguments]. */
function ear(socket) {
  const heard = [];
  socket.onAny((...args) => heard.push(args));
  return heard;
}

test("each PHP file is one", async () => {
  for (const dir of [examples, scripts]) {
    for (const file of readdirSync(dir).filter((name) => name.endsWith(".php"))) {
      const php = new Program("php", ["-l", join(dir, file)]);
      assert.equal(await php.exited, 0, php.output);
    }
  }
});

test("the connection takes either name of the origin, and a publish path", async () => {
  const script = `function env($name) { return getenv($name) ?: null; } echo json_encode(require "${join(examples, "connection.php")}");`;
  const { REALTIME_SOCKET_URL, ...rest } = environment("https://a.example", { id: "app_x", publish_key: "pk_live_x" });
  for (const [more, url, path] of [
    [{ REALTIME_SOCKET_URL }, "https://a.example", "/publish"],
    [{ REALTIME_URL: "https://b.example", REALTIME_PUBLISH_PATH: "/in" }, "https://b.example", "/in"],
    [{ REALTIME_URL: "https://b.example", REALTIME_SOCKET_URL }, "https://a.example", "/publish"],
  ]) {
    const php = new Program("php", ["-r", script], { env: { ...rest, ...more } });
    assert.equal(await php.exited, 0, php.output);
    const connection = JSON.parse(php.output);
    assert.deepEqual([connection.url, connection.publish_path], [url, path]);
  }
});

test(".env.example has the names of the product page", () => {
  const lines = readFileSync(join(examples, ".env.example"), "utf8").split("\n");
  for (const line of ["BROADCAST_CONNECTION=realtime", "REALTIME_APP_ID=app_xxx", "REALTIME_PUBLISH_KEY=pk_live_xxx"]) assert.ok(lines.includes(line));
  assert.ok(lines.some((line) => line.startsWith("REALTIME_SOCKET_URL=https://")));
});

for (const tls of [false, true]) {
  describe(`SocketPublisher over ${tls ? "https" : "http"}`, () => {
    let caddy, app, env;
    before(async () => {
      caddy = await Caddy.start({ tls });
      app = await caddy.app();
      env = environment(caddy.origin, app, tls ? { REALTIME_CA_FILE: caddy.rootCertificate } : {});
    });
    after(() => caddy.close());

    test("publishes as the product page says", async () => {
      const socket = await caddy.subscriber(app, "orders.42");
      const [{ result }, data] = await Promise.all([plain(env, "page"), once(socket, "order.updated")]);
      assert.match(result, /^\S+$/);
      assert.deepEqual(data, [{ id: 42 }]);
    });

    test("publishes with the origin as REALTIME_URL too", async () => {
      const { REALTIME_SOCKET_URL, ...rest } = env;
      const socket = await caddy.subscriber(app, "orders.42");
      const [{ result }, data] = await Promise.all([plain({ ...rest, REALTIME_URL: REALTIME_SOCKET_URL }, "page"), once(socket, "order.updated")]);
      assert.match(result, /^\S+$/);
      assert.deepEqual(data, [{ id: 42 }]);
    });

    test("too much is told as such", async () => {
      const { code, status, message } = await plain(env, "large");
      assert.deepEqual([code, status], ["payload_too_large", 413]);
      assert.match(message, /the limit is 1048576/);
    });
  });
}

describe("SocketPublisher", () => {
  let caddy, app, env;
  before(async () => {
    caddy = await Caddy.start();
    app = await caddy.app();
    env = environment(caddy.origin, app);
  });
  after(() => caddy.close());

  test("data of each type arrives as PHP has it", async () => {
    const socket = await caddy.subscriber(app, "types");
    const wire = [];
    socket.io.engine.on("packet", (packet) => packet.data?.startsWith?.(`2["type"`) && wire.push(packet.data.slice(`2["type",`.length, -1)));
    const { result } = await plain(env, "types");
    const want = [
      "null",
      "true",
      "0",
      "-1",
      "9223372036854775807",
      "-9223372036854775808",
      "0.1",
      "1.0",
      "1.0e+300",
      `""`,
      `"Žluťoučký 🐎 日本\\n\\"\\\\/\\u2028"`,
      "[]",
      "[1,[2,[3]]]",
      "{}",
      `{"b":1,"a":{"nested":[true,null]}}`,
      `{"made":"by itself"}`,
      JSON.stringify("x".repeat(300_000)),
    ];
    assert.equal(new Set(result).size, want.length);
    await until("all of them", () => wire.length === want.length);
    assert.deepEqual(wire, want);
  });

  test("without data the handler gets no argument", async () => {
    const socket = await caddy.subscriber(app, "orders.42");
    const [, args] = await Promise.all([plain(env, "none"), once(socket, "none")]);
    assert.deepEqual(args, []);
  });

  test("one socket can be left out", async () => {
    const [one, other] = [await caddy.subscriber(app, "orders.42"), await caddy.subscriber(app, "orders.42")];
    const heard = [ear(one), ear(other)];
    assert.ok((await plain(env, "except", one.id)).result);
    await caddy.published(app, { channel: "orders.42", event: "last" });
    await until("both have the last", () => heard.every((events) => events.at(-1)?.[0] === "last"));
    assert.deepEqual(heard, [[["last"]], [["e", "not for all"], ["last"]]]);
  });

  test("another app has a publisher of its own", async () => {
    const other = await caddy.app();
    const socket = await caddy.subscriber(other, "orders.42");
    const [, args] = await Promise.all([plain(env, "other app", other.id, other.publish_key), once(socket, "order.updated")]);
    assert.deepEqual(args, ["of another"]);
  });

  test("the gateway's reasons are the exception's", async () => {
    for (const [name, more, code, status, message] of [
      ["page", { REALTIME_PUBLISH_KEY: app.subscribe_key }, "wrong_key_kind", 401, /takes the app's publish key/],
      ["page", { REALTIME_APP_ID: "app_none" }, "unknown_app", 401, /No app "app_none"/],
      ["page", { REALTIME_PUBLISH_KEY: `${app.publish_key.slice(0, -1)}-` }, "invalid_key", 401, /copied whole/],
      ["channel", {}, "invalid_channel", 422, /has ' ' at character 3/],
      ["event", {}, "reserved_event", 422, /"connect" is reserved/],
      ["page", { REALTIME_APP_ID: "" }, "not_configured", 0, /^REALTIME_APP_ID is not in the environment/],
      ["page", { REALTIME_SOCKET_URL: "wss://localhost" }, "not_configured", 0, /^REALTIME_SOCKET_URL must be .* https:/],
      ["page", { REALTIME_PUBLISH_KEY: `${app.publish_key}\r\nX-App-Id: app_x` }, "not_configured", 0, /^REALTIME_PUBLISH_KEY .* Copy it again/],
      ["page", { REALTIME_SOCKET_URL: `${caddy.origin}/elsewhere` }, "unexpected_answer", 200, /Check REALTIME_SOCKET_URL/],
      ["page", { REALTIME_SOCKET_URL: "http://name.invalid" }, "unreachable", 0, /cannot be reached: Could not resolve/],
      ["not utf-8", {}, "invalid_data", 0, /Malformed UTF-8/],
    ]) {
      const answer = await plain({ ...env, ...more }, name);
      assert.deepEqual([answer.code, answer.status, answer.notes], [code, status, []], JSON.stringify(answer));
      assert.match(answer.message, message);
      assert.equal(answer.retryAfter, null);
      assert.ok(!answer.trace.includes(app.publish_key), "the key in the trace");
    }
  });

  test("many events arrive once and in order, a hundred in a request", async () => {
    const socket = await caddy.subscriber(app, "orders.42");
    const heard = ear(socket);
    const { result } = await plain(env, "batch");
    assert.equal(new Set(result).size, 250);
    await until("the last", () => heard.length >= 250);
    assert.deepEqual(heard, Array.from({ length: 250 }, (_, i) => ["i", i]));

    const { code, status, message } = await plain(env, "bad batch");
    assert.deepEqual([code, status], ["invalid_channel", 422]);
    assert.match(message, /^messages\[1\]: /);
    heard.length = 0;
    const [{ result: ids }, data] = await Promise.all([plain(env, "channels"), once(socket, "e")]);
    assert.equal(new Set(ids).size, 101);
    assert.deepEqual([data, heard], [[null], [["e", null]]], "something of the bad batch is out");
    assert.deepEqual((await plain(env, "no channels")).result, [[], []]);
  });

  test("a rate limit says when to try again", async () => {
    const limited = await caddy.app();
    const patched = await caddy.admin("PATCH", `/realtime/apps/${limited.id}`, { rate_limit: { publishes: 1, window: "1h" } });
    assert.equal(patched.status, 200, patched.text);
    const { code, status, retryAfter, notes } = await plain(environment(caddy.origin, limited), "twice");
    assert.deepEqual([code, status, notes], ["rate_limited", 429, []]);
    assert.ok(retryAfter > 3500 && retryAfter <= 3600, `${retryAfter}`);
  });

  test("while the gateway reloads, every event arrives once and in order", async () => {
    const socket = await caddy.subscriber(app, "orders.42");
    const heard = ear(socket);
    const stop = join(caddy.dir, "stop");
    const publishing = plain(env, "many", stop);
    for (let i = 1; i <= 5; i++) {
      const soFar = heard.length;
      await until("events go on", () => heard.length > soFar);
      caddy.configure({ global: `max_channels ${100 + i}` });
      const { code, output } = await caddy.reload();
      assert.equal(code, 0, output);
    }
    writeFileSync(stop, "");
    const { result: count } = await publishing;
    await until("the last", () => heard.length >= count);
    assert.deepEqual(heard, Array.from({ length: count }, (_, i) => ["i", i]));
  });
});

describe("an event is sent again", () => {
  const app = { id: "app_x", publish_key: "pk_live_x" };

  /** Runs a case against a server that does this to its first, second… request; says what it got. */
  async function against(steps, name = "page") {
    const requests = [];
    const server = http.createServer(async (req, res) => {
      let body = "";
      for await (const chunk of req) body += chunk;
      requests.push(`${req.headers["idempotency-key"]} ${body}`);
      assert.match(requests.at(-1), /^[0-9a-f]{32} \{/);
      const step = steps[requests.length - 1] ?? steps.at(-1);
      if (step === "reset") return req.socket.resetAndDestroy();
      if (step === "close") return req.socket.end();
      if (step === "half") return res.write("{", () => req.socket.resetAndDestroy());
      if (step === "silence") return;
      res.writeHead(step.status, { "Content-Type": "application/json", ...step.headers }).end(JSON.stringify(step.body));
    });
    await new Promise((resolve) => server.listen(0, resolve));
    try {
      const answer = await plain(environment(`http://localhost:${server.address().port}`, app), name);
      assert.equal(new Set(requests).size, 1, "the same key and body");
      return { ...answer, requests: requests.length };
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }
  const accepted = { status: 200, body: { id: "m1" } };
  const unavailable = (seconds) => ({ status: 503, headers: { "Retry-After": seconds }, body: { error: { code: "unavailable", message: "Ending." } } });

  for (const [name, first, note] of [
    ["the connection is reset", "reset", /sent again: The connection to .* was lost/],
    ["the connection is closed", "close", /sent again: The connection to .* was lost/],
    ["the answer breaks off", "half", /sent again: The connection to .* was lost/],
    ["the gateway is starting or ending", unavailable(1), /sent again: Ending\./],
    ["the first is in progress", { status: 409, headers: { "Retry-After": 1 }, body: { error: { code: "idempotency_in_progress", message: "Soon." } } }, /sent again: Soon\./],
  ]) {
    test(`once when ${name}`, async () => {
      const { result, requests, notes } = await against([first, accepted]);
      assert.deepEqual([result, requests, notes.length], ["m1", 2, 1]);
      assert.match(notes[0], note);
    });
  }

  test("no more than once", async () => {
    const lost = await against(["reset"]);
    assert.deepEqual([lost.code, lost.requests, lost.notes.length], ["connection_lost", 2, 1]);
    assert.match(lost.message, /may have been published or not/);
    const refused = await against([unavailable(1)]);
    assert.deepEqual([refused.code, refused.status, refused.retryAfter, refused.requests], ["unavailable", 503, 1, 2]);
  });

  test("not later than the timeout", async () => {
    const { code, retryAfter, requests } = await against([unavailable(60), accepted]);
    assert.deepEqual([code, retryAfter, requests], ["unavailable", 60, 1]);
  });

  test("never after a timeout", async () => {
    const silent = await against(["silence"], "impatient");
    assert.deepEqual([silent.code, silent.requests, silent.notes], ["timeout", 1, []]);
  });

  test("and published once if the first was, as is a batch", async () => {
    const caddy = await Caddy.start();
    const cutter = await Cutter.start(caddy.port);
    try {
      const shop = await caddy.app();
      const socket = await caddy.subscriber(shop, "orders.42");
      const heard = ear(socket);
      for (const [name, count] of [["page", 1], ["batch", 250]]) {
        heard.length = 0;
        const cut = cutter.cut({ after: 5, refuse: 0 }); // within the answer
        const { result, notes } = await plain(environment(cutter.origin, shop), name);
        await cut;
        assert.deepEqual([[result].flat().length, notes.length], [count, 1]);
        await caddy.published(shop, { channel: "orders.42", event: "end" });
        await until("the end", () => heard.at(-1)?.[0] === "end");
        assert.equal(heard.length, count + 1);
      }
    } finally {
      cutter.close();
      await caddy.close();
    }
  });

  test("not if the answer has fewer ids than the batch has messages", async () => {
    const { code, requests } = await against([{ status: 200, body: { results: [{ id: "m1" }] } }], "bad batch");
    assert.deepEqual([code, requests], ["unexpected_answer", 1]);
  });

  test("never when it was refused", async () => {
    for (const step of [
      { status: 429, headers: { "Retry-After": 1 }, body: { error: { code: "rate_limited", message: "Slowly." } } },
      { status: 503, headers: { "Retry-After": 1 }, body: "of some other server" },
      { status: 301, headers: { Location: "https://elsewhere.example/" }, body: "" },
    ]) {
      const { code, status, requests } = await against([step, accepted]);
      assert.deepEqual([code, status, requests], [step.body.error?.code ?? "unexpected_answer", step.status, 1]);
    }
  });

  test("when nobody listened, and when a TLS handshake was cut off", async () => {
    const [port] = await freePorts(1);
    const nobody = await plain(environment(`http://localhost:${port}`, app), "page");
    assert.deepEqual([nobody.code, nobody.status, nobody.notes.length], ["unreachable", 0, 1]);

    let connections = 0;
    const server = createServer((socket) => {
      connections++;
      socket.once("data", () => socket.resetAndDestroy());
    });
    await new Promise((resolve) => server.listen(0, resolve));
    const cut = await plain(environment(`https://localhost:${server.address().port}`, app), "page").finally(() => server.close());
    assert.deepEqual([cut.code, cut.status, connections], ["unreachable", 0, 2]);
  });
});

describe("the broadcast driver", () => {
  let caddy, app, laravel, web, sockets, heard;
  before(async () => {
    caddy = await Caddy.start();
    app = await caddy.app();
    const [port] = await freePorts(1);
    web = `http://localhost:${port}`;
    laravel = new Program("php", ["-S", `localhost:${port}`, join(scripts, "server.php")], {
      env: environment(caddy.origin, app, { BROADCAST_CONNECTION: "realtime" }),
    });
    await laravel.prints(/Development Server .* started/);
    const open = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels: [] }); // to see what the driver sends
    assert.equal(open.status, 200, open.text);
    const channels = ["orders.42", "said", "private-said", "presence-said"];
    sockets = [await caddy.subscriber(app, channels), await caddy.subscriber(app, channels)];
    heard = sockets.map(ear);
  });
  after(async () => {
    await laravel?.stop();
    await caddy.close();
  });

  /** A page's request to the application. */
  async function post(name, headers) {
    const answer = await caddy.request("POST", `/?case=${encodeURIComponent(name)}`, { origin: web, headers });
    assert.ok(answer.json, `${answer.text}\n${laravel.output}`);
    return answer.json;
  }

  /** The same, and what both sockets heard of it. */
  async function hear(name, headers) {
    for (const events of heard) events.length = 0;
    const answer = await post(name, headers);
    await caddy.published(app, { channel: "orders.42", event: "end" });
    await until("both have the end", () => heard.every((events) => events.at(-1)?.[0] === "end"));
    return { answer, heard: heard.map((events) => events.slice(0, -1)) };
  }
  const done = { result: "done", log: [] };

  test("an event goes through the queue to everyone", async () => {
    const order = ["order.updated", { id: 42 }];
    assert.deepEqual(await hear("order"), { answer: done, heard: [[order], [order]] });
  });

  test("toOthers leaves out the socket of X-Socket-ID", async () => {
    const order = ["order.updated", { id: 42 }];
    assert.deepEqual(await hear("order, to others", { "X-Socket-ID": sockets[0].id }), { answer: done, heard: [[], [order]] });
    assert.deepEqual(await hear("order, to others", { "X-Socket-ID": sockets[1].id }), { answer: done, heard: [[order], []] });
    assert.deepEqual((await hear("now, to others", { "X-Socket-ID": sockets[0].id })).heard.map((events) => events.length), [0, 1]);
  });

  test("without toOthers, or an id, nobody is left out", async () => {
    for (const [name, headers] of [
      ["order", { "X-Socket-ID": sockets[0].id }],
      ["to everyone again", { "X-Socket-ID": sockets[0].id }],
      ["order, to others", {}],
      ["order, to others", { "X-Socket-ID": "" }],
      ["order, to others", { "X-Socket-ID": "of a socket that has gone" }],
      ["order, to others", { "X-Socket-ID": "x".repeat(500) }],
      ["now, to others", { "X-Socket-ID": "\xff" }],
    ]) {
      const { answer, heard } = await hear(name, headers);
      assert.deepEqual(answer, done);
      assert.deepEqual(heard.map((events) => events.length), [1, 1], name);
    }
  });

  test("an event that says nothing has its class for a name and its properties for data", async () => {
    const said = ["Tests\\SaidNow", { text: "hello", more: { é: [1, null] } }];
    assert.deepEqual(await hear("now"), { answer: done, heard: [[said], [said]] });
  });

  test("each channel gets it once", async () => {
    const said = ["Tests\\Said", { text: "hello", more: [] }];
    assert.deepEqual((await hear("channels")).heard[0], [said, said]);
  });

  test("an event for 150 channels is two requests", async () => {
    const bodies = [];
    const counting = http.createServer(async (req, res) => {
      const body = await readJSON(req);
      bodies.push(body);
      res.end(JSON.stringify({ results: body.channels.map((id) => ({ id })) }));
    });
    await new Promise((resolve) => counting.listen(0, resolve));
    const answer = await post("channels, counted", { "X-Gateway": `http://localhost:${counting.address().port}` }).finally(() => counting.close());
    assert.deepEqual(answer, done);
    const names = Array.from({ length: 150 }, (_, i) => `c${i + 1}`);
    const rest = { event: "e", data: { id: 42 }, except: "abc" };
    assert.deepEqual(bodies, [{ channels: names.slice(0, 100), ...rest }, { channels: names.slice(100), ...rest }]);
  });

  test("private and presence channels have Laravel's prefixes", async () => {
    const said = ["Tests\\SaidNow", { text: "secret", more: [] }];
    for (const [name, times] of [["private", 2], ["private, by name", 1], ["presence", 1]]) {
      const { answer, heard } = await hear(name);
      assert.deepEqual([answer, heard[0]], [done, Array(times).fill(said)], name);
    }
  });

  test("what is to be encrypted is refused, before any of it is out", async () => {
    const { answer, heard } = await hear("encrypted");
    assert.equal(answer.exception, "InvalidArgumentException");
    assert.match(answer.message, /private-encrypted-said is not broadcast: .* does not encrypt/);
    assert.deepEqual(heard, [[], []]);
  });

  test("what the gateway refuses is an exception", async () => {
    for (const [name, code] of [
      ["wrong key", "invalid_key"],
      ["not set", "not_configured"],
      ["reserved name", "reserved_event"],
    ]) {
      const answer = await post(name);
      assert.deepEqual([answer.exception, answer.code], ["App\\Realtime\\PublishException", code], answer.message);
    }
  });

  test("an event that is sent again is in Laravel's log", async () => {
    let requests = 0;
    const flaky = http.createServer((req, res) => (requests++ ? res.end(`{"id":"m1"}`) : req.socket.resetAndDestroy()));
    await new Promise((resolve) => flaky.listen(0, resolve));
    const answer = await post("sent again", { "X-Gateway": `http://localhost:${flaky.address().port}` }).finally(() => flaky.close());
    assert.equal(answer.log?.length, 1, JSON.stringify(answer));
    assert.match(answer.log[0], /^notice: realtime: an event is sent again: The connection to .* was lost/);
  });

  test("SocketPublisher::publish takes the connection's settings", async () => {
    const { answer, heard } = await hear("publisher");
    assert.deepEqual(answer.result, { publish: true, "short name": true, settings: true, singleton: true });
    assert.deepEqual(heard[0], [["static", 1], ["static", 2]]);
  });
});
