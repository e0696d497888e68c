// caddy realtime …: what an operator types, against a running Caddy. What a
// command refuses by itself is in command_refusal_test.go.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac, generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { json as readJSON } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { bin, Caddy } from "./lib/caddy.mjs";
import { Cutter } from "./lib/cutter.mjs";
import { Program } from "./lib/process.mjs";
import { once, until } from "./lib/wait.mjs";

/** Runs caddy realtime: its exit code, stdout and stderr. */
async function run(args, { env = {}, input } = {}) {
  const child = spawn(bin, ["realtime", ...args], { env: { ...process.env, ...env } });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  child.stdin.end(input);
  const [code] = await once(child, "close", 30_000);
  return { code, stdout, stderr };
}

describe("caddy realtime", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start();
  });
  after(() => caddy.close());

  const admin = (...args) => run([...args, "--address", `localhost:${caddy.adminPort}`]);
  const succeeds = async (...args) => {
    const result = await admin(...args);
    assert.equal(result.code, 0, `${args.join(" ")}: ${result.stderr}`);
    return result;
  };
  const json = async (...args) => JSON.parse((await succeeds(...args, "--json")).stdout);
  const publish = (app, args, more = {}) =>
    run(["publish", ...args], {
      ...more,
      env: { REALTIME_SOCKET_URL: caddy.origin, REALTIME_APP_ID: app.id, REALTIME_PUBLISH_KEY: app.publish_key, ...more.env },
    });

  test("--help reads like Caddy's own", async () => {
    const { code, stdout } = await run(["--help"]);
    assert.equal(code, 0);
    assert.match(stdout, /Usage:\n  caddy realtime /);
    for (const word of ["app", "key", "rule", "webhook", "token", "user", "channel", "publish", "listen", "portal", "--address", "https://caddyserver.com/docs"]) {
      assert.ok(stdout.includes(word), `--help has no ${word}:\n${stdout}`);
    }
  });

  test("an app's whole life", async () => {
    const created = await succeeds("app", "create", "shop");
    const [, id, publishKey, subscribeKey] = created.stdout.match(/^app +(\S+)\npublish key +(\S+)\nsubscribe key +(\S+)\n$/);
    assert.match(created.stderr, /shown only this once/);
    const app = { id, publish_key: publishKey, subscribe_key: subscribeKey };
    const socket = await caddy.subscriber(app, "orders");

    for (const args of [["app", "list"], ["app", "show", id]]) {
      const { stdout } = await succeeds(...args);
      assert.ok(stdout.includes(id) && stdout.includes("shop") && !stdout.includes(publishKey), stdout);
    }
    assert.equal((await json("app", "show", id)).connections, 1);
    const kept = { history: { messages: 7, age: "5m" }, recovery: "0s" };
    assert.equal((await caddy.admin("PATCH", `/realtime/apps/${id}`, kept)).status, 200);
    assert.match((await succeeds("app", "show", id)).stdout, /^history +7 5m\nrecovery +0s$/m);
    const shown = await json("app", "show", id);
    assert.deepEqual({ history: shown.history, recovery: shown.recovery }, kept);
    assert.ok((await json("app", "list")).apps.some((each) => each.id === id));

    const heard = once(socket, "e");
    const { code, stdout, stderr } = await publish(app, ["orders", "e", '{"id":12345678901234567890,"html":"<b>"}']);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^\S+\t1 subscribers\n$/);
    assert.equal((await heard)[0].html, "<b>");

    const closed = once(socket, "disconnect");
    await succeeds("app", "delete", id);
    assert.deepEqual((await closed)[0], "io server disconnect");
    const gone = await admin("app", "show", id);
    assert.equal(gone.code, 1);
    assert.equal(gone.stdout, "");
    assert.match(gone.stderr, new RegExp(`No app .*${id}`));
  });

  test("a list of more apps than a page holds is whole", async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const create = (name) =>
      new Promise((resolve, reject) => {
        const options = { method: "POST", agent, headers: { "Content-Type": "application/json" } };
        const request = http.request(`${caddy.adminOrigin}/realtime/apps`, options, (res) => readJSON(res).then(resolve, reject));
        request.on("error", reject).end(JSON.stringify({ name }));
      });
    const apps = [];
    while (apps.length < 1_010) {
      apps.push(...(await Promise.all(Array.from({ length: 101 }, (_, i) => create(`many ${i}`)))));
    }
    agent.destroy();
    const listed = (await json("app", "list")).apps.map((app) => app.id);
    for (const app of apps) assert.ok(app.id && listed.includes(app.id), JSON.stringify(app));
  });

  test("a key's whole life", async () => {
    const app = await caddy.app();
    const added = await succeeds("key", "add", app.id, "--kind", "publish", "--label", "worker", "--expires", "30d");
    const [, id, key] = added.stdout.match(/^id +(key_\S+)\npublish key +(pk_live_\S+)\n$/);
    const listed = await succeeds("key", "list", app.id);
    assert.match(listed.stdout, new RegExp(`${id} +publish +${key.slice(-4)} .* until .* worker`));
    await caddy.published({ ...app, publish_key: key }, { channel: "orders", event: "e" });

    const until = await json("key", "add", app.id, "--kind", "publish", "--expires", "2040-01-31T12:00:00+01:00");
    assert.equal(new Date(until.expires).toISOString(), "2040-01-31T11:00:00.000Z");

    const rotated = await json("key", "rotate", app.id, id, "--overlap", "1h");
    assert.equal(rotated.label, "worker");
    for (const each of [key, rotated.key]) {
      await caddy.published({ ...app, publish_key: each }, { channel: "orders", event: "e" });
    }
    await succeeds("key", "revoke", app.id, id);
    const refused = await publish({ ...app, publish_key: key }, ["orders", "e"]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /revoked/);
    assert.match((await succeeds("key", "list", app.id)).stdout, new RegExp(`${id} .* revoked `));
  });

  test("operators who set rules at the same time lose none", async () => {
    const app = await caddy.app();
    const names = Array.from({ length: 6 }, (_, i) => `orders.${i}`);
    await succeeds("rule", "set", app.id, "*", "--access", "closed");
    await Promise.all(names.map((name) => succeeds("rule", "set", app.id, name, "--access", "token", "--history", "5 1m")));
    const { channels, default_rules } = (await caddy.admin("GET", `/realtime/apps/${app.id}`)).json;
    assert.deepEqual(channels.map(({ match }) => match).slice(2, -1).sort(), names);
    assert.deepEqual([channels[0].match, channels[1].match, channels.at(-1).match, default_rules], ["private-*", "presence-*", "*", false]);
    assert.match((await succeeds("rule", "list", app.id)).stdout, /^orders\.3 +token +no +no +5 1m$/m);
    assert.equal((await json("rule", "reset", app.id)).default_rules, true);
  });

  test("a token is all that is on stdout, and is signed with the app's key", async () => {
    const app = await caddy.app();
    const key = await json("key", "add", app.id, "--kind", "sign");
    const args = ["--user", "42", "--channel", "private-user.42", "--client-events", "room.*", "--info", '{"name":"Ann"}', "--expires-in", "10m"];
    const { stdout, stderr } = await succeeds("token", "create", app.id, ...args);
    const [, head, claims, signature] = stdout.match(/^([\w-]+)\.([\w-]+)\.([\w-]+)\n$/);
    assert.match(stderr, new RegExp(`valid until .* signed with ${key.id}`));
    assert.equal(createHmac("sha256", key.key).update(`${head}.${claims}`).digest("base64url"), signature);
    const read = (part) => JSON.parse(Buffer.from(part, "base64url").toString());
    assert.deepEqual(read(head), { alg: "HS256", kid: key.id, typ: "JWT" });
    const { iat, exp, ...rest } = read(claims);
    assert.equal(exp - iat, 600);
    assert.deepEqual(rest, { sub: "42", channels: ["private-user.42", { match: "room.*", client_events: true }], info: { name: "Ann" } });
  });

  test("a token is checked, from stdin, without being printed", async () => {
    const app = await caddy.app();
    await json("key", "add", app.id, "--kind", "sign");
    const { stdout: token } = await succeeds("token", "create", app.id, "--user", "42", "--channel", "private-user.42");
    const check = (input, ...args) => run(["token", "check", app.id, "--address", `localhost:${caddy.adminPort}`, ...args], { input });
    const good = await check(token, "--channel", "private-user.42");
    assert.equal(good.code, 0, good.stderr);
    assert.match(good.stdout, /^valid +yes\nkey +key_\w+\nuser +42\n[^]*^allowed +yes$/m);
    const forbidden = await check(token, "--channel", "private-user.43", "--json");
    assert.equal(forbidden.code, 1);
    assert.equal(JSON.parse(forbidden.stdout).channel.error.code, "channel_forbidden");
    const changed = await check(token.replace(/[\w-]{9}\n$/, "AAAAAAAAA"));
    assert.equal(changed.code, 1);
    assert.match(changed.stdout, /^valid +no\ncode +invalid_token\nheader +\{.*\}\nclaims +\{"sub":"42",.*\}\n$/);
    assert.match(changed.stderr, /the token is refused: The token's signature is not of the signing key/);
    for (const { stdout, stderr } of [good, forbidden, changed]) assert.ok(!(stdout + stderr).includes(token.trim().split(".")[2]));
  });

  test("users and channels are listed and shown, and a user is disconnected and revoked", async () => {
    const app = await caddy.app();
    await json("key", "add", app.id, "--kind", "sign");
    const token = async (user) =>
      (await succeeds("token", "create", app.id, "--user", user, "--channel", "presence-room.1", "--info", `{"name":"${user}"}`)).stdout.trim();
    const connected = async (auth) => {
      const socket = caddy.socket(app, { auth: { appId: app.id, ...auth } });
      await once(socket, "connect");
      return socket;
    };
    const nobody = await connected({ subscribeKey: app.subscribe_key });
    const sockets = [];
    for (const user of ["a/b", "..", "a/b"]) sockets.push(await connected({ token: await token(user) }));
    for (const socket of sockets) assert.equal((await socket.emitWithAck("subscribe", "presence-room.1")).error, undefined);
    await nobody.emitWithAck("subscribe", "orders");

    assert.equal((await succeeds("user", "list", app.id)).stdout, "USER  SOCKETS\n..    1\na/b   2\n");
    assert.deepEqual((await json("user", "list", app.id)).users, [{ user: "..", sockets: 1 }, { user: "a/b", sockets: 2 }]);
    assert.equal((await succeeds("channel", "list", app.id)).stdout, "CHANNEL          SUBSCRIBERS\norders           1\npresence-room.1  3\n");
    assert.deepEqual((await json("channel", "list", app.id, "--prefix", "presence-")).channels, [{ channel: "presence-room.1", subscribers: 3 }]);
    assert.equal((await succeeds("channel", "show", app.id, "presence-room.1")).stdout, "channel      presence-room.1\nsubscribers  3\nmembers      2\n");
    assert.equal((await succeeds("channel", "members", app.id, "presence-room.1")).stdout,
      'USER  SOCKETS  INFO\na/b   2        {"name":"a/b"}\n..    1        {"name":".."}\n');
    const shown = (await succeeds("user", "show", app.id, "a/b")).stdout;
    assert.match(shown, /^user +a\/b\nsockets +2\nSOCKET +ADDRESS +TRANSPORT +CONNECTED +CHANNELS\n/);
    for (const socket of [sockets[0], sockets[2]]) assert.match(shown, new RegExp(`^${socket.id} +\\S+ +websocket +.* +presence-room\\.1$`, "m"));

    const gone = sockets.map((socket) => once(socket, "disconnect"));
    assert.equal((await succeeds("user", "disconnect", app.id, "..")).stderr, "1 socket is disconnected. The user's tokens stay valid.\n");
    assert.equal((await gone[1])[0], "io server disconnect");
    const old = await token("a/b");
    assert.equal((await json("user", "revoke", app.id, "a/b")).disconnected, 2);
    await Promise.all(gone);
    const refused = await run(["token", "check", app.id, old, "--address", `localhost:${caddy.adminPort}`]);
    assert.equal(refused.code, 1);
    assert.match(refused.stdout, /^code +token_revoked$/m);
    for (const auth of [{ token: await token("a/b") }, { token: await token("..") }]) sockets.push(await connected(auth));
    assert.ok(nobody.connected);
    for (const socket of [nobody, ...sockets]) socket.disconnect();
  });

  test("a key pair signs tokens whose private half no command sends", async () => {
    const app = await caddy.app();
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const file = join(caddy.dir, "key");
    for (const content of [publicKey.export({ type: "spki", format: "pem" }), JSON.stringify(publicKey.export({ format: "jwk" }))]) {
      writeFileSync(file, content);
      assert.match((await succeeds("key", "add", app.id, "--kind", "sign", "--public-key", file)).stdout, /^id +key_\w+\nalgorithm +ES256\n$/);
    }
    writeFileSync(file, privateKey.export({ type: "pkcs8", format: "pem" }));
    const refused = await admin("key", "add", app.id, "--kind", "sign", "--public-key", file);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /is a private key, which must not leave the backend/);
    assert.match((await admin("token", "create", app.id, "--user", "42")).stderr, /private halves are not here.*key add .* --kind sign/);
  });

  test("data comes from the command line, a file or stdin", async () => {
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, "orders");
    const file = join(caddy.dir, "data.json");
    writeFileSync(file, '{"from":"a file"}');
    for (const [args, options, want] of [
      [[`@${file}`], {}, [{ from: "a file" }]],
      [["-"], { input: "[1,2]" }, [[1, 2]]],
    ]) {
      const heard = once(socket, "e");
      const { code, stderr } = await publish(app, ["orders", "e", ...args], options);
      assert.equal(code, 0, stderr);
      assert.deepEqual(await heard, want);
    }
  });

  test("an event for several channels is one publish, and is not published twice with a key", async () => {
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, ["a", "b"]);
    const heard = [];
    socket.onAny((...event) => heard.push(event));
    const args = ["--channel", "a", "--channel", "b", "e", "[1]", "--no-history", "--idempotency-key", "once"];
    const first = await publish(app, args);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /^a\t\S+\t1 subscribers\nb\t\S+\t1 subscribers\n$/);
    assert.deepEqual(await publish(app, args), first);
    const { stdout } = await publish(app, ["--channel", "a", "end", "--json"]);
    assert.equal(JSON.parse(stdout).results.length, 1);
    await until("the end", () => heard.length === 3);
    assert.deepEqual(heard, [["e", [1]], ["e", [1]], ["end"]]);
    assert.deepEqual(await socket.emitWithAck("subscribe", "b", { rewind: 10 }).then(({ replayed }) => replayed), 0);
  });

  test("a file of events is published over a network that loses connections, each once and in order", async () => {
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, ["a", "b"]);
    const heard = [];
    socket.onAny((...event) => heard.push(event));
    const lines = Array.from({ length: 1_030 }, (_, i) => JSON.stringify({ channel: "ab"[i % 2], event: "e", data: i, history: false }));
    const file = join(caddy.dir, "events.ndjson");
    writeFileSync(file, lines.join("\n\n"));
    const cutter = await Cutter.start(caddy.port);
    try {
      let cuts = 0;
      const cutting = (async () => {
        for (const how of ["reset", "end", "reset", "end"]) {
          await cutter.cut({ how, after: 5, refuse: 0 }); // within an answer, so its batch is published
          cuts++;
        }
      })();
      const { code, stdout, stderr } = await publish(app, ["--file", file, "--json"], { env: { REALTIME_SOCKET_URL: cutter.origin } });
      assert.equal(code, 0, stderr);
      await cutting;
      assert.equal(cuts, 4);
      assert.equal(stderr.match(/; trying again in /g)?.length, 4, stderr);
      const { lines: read, messages, last_id } = JSON.parse(stdout);
      assert.deepEqual({ read, messages }, { read: 2_059, messages: 1_030 });
      const { id } = await caddy.published(app, { channel: "a", event: "end" });
      await until("the end", () => heard.at(-1)?.[0] === "end");
      assert.deepEqual(heard.slice(0, -1), lines.map((_, i) => ["e", i]));
      assert.equal(Number(id.split("-").pop()), Number(last_id.split("-").pop()) + 1);
    } finally {
      cutter.close();
    }
  });

  test("a file that stops at a bad line goes on from there, and waits for the rate limit", async () => {
    const app = await caddy.app();
    assert.equal((await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { rate_limit: { publishes: 60, window: "1s" } })).status, 200);
    const socket = await caddy.subscriber(app, "a");
    const heard = [];
    socket.on("e", (data) => heard.push(data));
    const lines = Array.from({ length: 150 }, (_, i) => JSON.stringify({ channel: "a", event: "e", data: i }));
    const broken = [...lines.slice(0, 120), "{", ...lines.slice(120)];
    const stopped = await publish(app, ["--file", "-"], { input: broken.join("\n") });
    assert.equal(stopped.code, 1);
    assert.equal(stopped.stdout, "");
    const [, skip, key] = stopped.stderr.match(/stdin:121: The JSON ends early.*To go on: --skip (\d+) --idempotency-key '(\w+)'/);
    assert.equal(heard.length, Number(skip));
    assert.ok(skip >= 100);
    const { code, stdout, stderr } = await publish(app, ["--file", "-", "--skip", skip, "--idempotency-key", key], { input: lines.join("\n") });
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `${150 - skip} messages\t${150 - skip} subscribers\n`);
    await until("all", () => heard.length === 150);
    assert.deepEqual(heard, lines.map((_, i) => i));
  });

  test("what is wrong is said on stderr, with the cure", async () => {
    const app = await caddy.app();
    for (const [attempt, says] of [
      [admin("app", "create", ""), /printable/],
      [admin("app", "show", "../apps"), /no app|nothing at/i],
      [admin("key", "add", app.id), /publish.*subscribe/],
      [admin("key", "revoke", app.id, "key_none"), /no key .*key_none/],
      [run(["app", "list", "--address", "localhost:1"]), /Is it running\?.*--address/],
      [publish(app, ["orders", "e"], { env: { REALTIME_PUBLISH_KEY: app.subscribe_key } }), /subscribe key/],
    ]) {
      const { code, stdout, stderr } = await attempt;
      assert.equal(code, 1, stdout + stderr);
      assert.equal(stdout, "");
      assert.match(stderr, says);
    }
  });
});

test("caddy realtime reaches an admin endpoint on a unix socket", async () => {
  const caddy = await Caddy.start();
  try {
    const socket = join(caddy.dir, "admin.sock");
    const config = JSON.parse((await caddy.command("adapt", "--config", caddy.configFile)).output.split("\n").find((line) => line.startsWith("{\"admin")));
    config.admin.listen = `unix/${socket}`;
    await caddy.load(JSON.stringify(config), "application/json");
    const { code, stdout, stderr } = await run(["app", "create", "by socket", "--json", "--address", `unix/${socket}`]);
    assert.equal(code, 0, stderr);
    const app = JSON.parse(stdout);
    await caddy.published(app, { channel: "orders", event: "e" });

    const portal = new Program(bin, ["realtime", "portal", "--address", `unix/${socket}`], { env: caddy.env });
    try {
      const [link] = await portal.prints(/http:\S+/);
      const page = await caddy.request("GET", link);
      assert.equal(page.status, 200);
      assert.ok(page.text.includes(app.id));
    } finally {
      assert.equal(await portal.stop("SIGTERM"), 0, portal.output);
    }
  } finally {
    await caddy.close();
  }
});
