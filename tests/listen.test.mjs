// caddy realtime listen: what it prints, how it ends, and that it comes back.
// command_refusal_test.go has all that it is refused for.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { bin, Caddy } from "./lib/caddy.mjs";
import { Relay } from "./lib/relay.mjs";
import { once, until } from "./lib/wait.mjs";

const running = new Set();
after(() => {
  for (const listener of running) listener.child.kill("SIGKILL");
});

/** A caddy realtime listen that runs beside a test. */
class Listener {
  stdout = "";
  stderr = "";

  constructor(caddy, app, args, env = {}) {
    this.child = spawn(bin, ["realtime", "listen", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        REALTIME_SOCKET_URL: caddy.origin,
        REALTIME_APP_ID: app.id,
        REALTIME_SUBSCRIBE_KEY: app.subscribe_key,
        ...env,
      },
    });
    running.add(this);
    for (const name of ["stdout", "stderr"]) {
      this.child[name].setEncoding("utf8");
      this.child[name].on("data", (chunk) => (this[name] += chunk));
    }
    this.closed = once(this.child, "close", 60_000).then(([code, signal]) => {
      running.delete(this);
      return { code, signal };
    });
  }

  /** Waits until notes match, so many times. */
  notes(pattern, times = 1) {
    return this.#until(`${times} times ${pattern}`, () => this.stderr.split(pattern).length > times);
  }

  /** Waits for lines, and returns them. */
  lines(count) {
    return this.#until(`${count} lines`, () => {
      const lines = this.stdout.split("\n").slice(0, -1);
      return lines.length >= count && lines;
    });
  }

  async #until(what, condition) {
    try {
      return await until(what, () => {
        const result = condition();
        if (!result) assert.equal(this.child.exitCode, null, "it has ended");
        return result;
      });
    } catch (err) {
      err.message += `\nstdout: ${this.stdout.slice(0, 1_000)}\nstderr: ${this.stderr}`;
      throw err;
    }
  }

  /** Waits for its end, and fails unless it has this code. */
  async ends(code, says = /^/) {
    assert.deepEqual(await this.closed, { code, signal: null }, this.stderr);
    assert.match(this.stderr, says);
  }

  async stop(signal = "SIGINT") {
    this.child.kill(signal);
    await this.ends(0);
  }
}

/** One that is subscribed. */
async function listening(caddy, app, args, env) {
  const listener = new Listener(caddy, app, args, env);
  await listener.notes(`subscribed to ${args[0]}\n`);
  return listener;
}

describe("caddy realtime listen", () => {
  let caddy, app;
  before(async () => {
    caddy = await Caddy.start({ global: "max_channels 3" });
    app = await caddy.app();
  });
  after(() => caddy.close());

  const publish = (event, data, channel = "orders.42") => caddy.published(app, { channel, event, data });

  test("prints events in order, with their data as it was published", async () => {
    const listener = await listening(caddy, app, ["orders.42"]);
    const values = ["null", "0", '""', "[]", "12345678901234567890.10", '{"b":1,"a":"\\u00e9é😀<&>"}', `"${"x".repeat(500_000)}"`];
    await publish("none");
    for (const value of values) await caddy.published(app, `{"channel":"orders.42","event":"e","data": ${value} }`);
    await caddy.published(app, '{"channel":"orders.42","event":"spaced","data":{ "a" : [ 1,\n2 ] }}');
    for (let i = 0; i < 100; i++) await publish("n", i);
    const lines = await listener.lines(102 + values.length);
    assert.deepEqual(lines, [
      "none\tnull",
      ...values.map((value) => `e\t${value}`),
      'spaced\t{"a":[1,2]}',
      ...Array.from({ length: 100 }, (_, i) => `n\t${i}`),
    ]);
    assert.equal(listener.stderr, "subscribed to orders.42\n");
    await listener.stop();
  });

  test("follows several channels", async () => {
    const listener = new Listener(caddy, app, ["a", "b", "c"]);
    await listener.notes("subscribed to c\n");
    assert.equal(listener.stderr, "subscribed to a\nsubscribed to b\nsubscribed to c\n");
    for (const channel of ["c", "none", "a", "b"]) await publish(`on ${channel}`, channel, channel);
    assert.deepEqual(await listener.lines(3), ['on c\t"c"', 'on a\t"a"', 'on b\t"b"']);
    await listener.stop("SIGTERM");
  });

  test("--json prints an object a line, --count ends it", async () => {
    const listener = await listening(caddy, app, ["orders.42", "--json", "--count", "3"]);
    const begin = Date.now();
    const first = await publish("first", { id: 42 });
    const second = await publish("second", null);
    const third = await publish("third");
    await publish("fourth");
    await listener.ends(0);
    const events = listener.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    for (const event of events) {
      const time = new Date(event.time).getTime();
      assert.ok(begin - 1_000 <= time && time <= Date.now() + 1_000, event.time);
      delete event.time;
    }
    assert.deepEqual(events, [
      { id: first.id, event: "first", data: { id: 42 } },
      { id: second.id, event: "second", data: null },
      { id: third.id, event: "third", data: null },
    ]);
  });

  test("a lost connection costs no event, and what cannot be replayed is told", async () => {
    const relay = await Relay.start(new URL(caddy.origin).port);
    const listener = await listening(caddy, app, ["a", "b", "--origin", relay.origin]);
    await listener.notes("subscribed to b\n");
    await publish("first", 1, "a");
    await listener.lines(1);
    relay.hold();
    await listener.notes("reconnecting in");
    await publish("second", 2, "b");
    await publish("third", 3, "a");
    relay.appear();
    await listener.notes("recovered: nothing was missed\n");
    assert.deepEqual(await listener.lines(3), ["first\t1", "second\t2", "third\t3"]);
    assert.equal(listener.stderr.match(/subscribed to/g).length, 2, "it was in its channels");

    relay.hold();
    await listener.notes("reconnecting in", 2);
    for (let i = 0; i <= 100; i++) await publish("many", i, "a"); // more than history keeps
    relay.appear();
    await listener.notes("not recovered: events may have been missed\nsubscribed to a\nsubscribed to b\n");
    await publish("fourth", 4, "b");
    assert.equal((await listener.lines(4))[3], "fourth\t4");
    await listener.stop();
    relay.close();
  });

  test("--since and --rewind begin with earlier events", async () => {
    const ids = [];
    for (const n of [1, 2, 3]) ids.push((await publish("n", n, "past")).id);
    const since = new Listener(caddy, app, ["past", "--since", ids[0], "--count", "2"]);
    await since.ends(0);
    assert.equal(since.stdout, "n\t2\nn\t3\n");
    for (const [rewind, want] of [["1", "n\t3\n"], ["1h", "n\t1\nn\t2\nn\t3\n"]]) {
      const listener = new Listener(caddy, app, ["past", "--rewind", rewind, "--count", String(want.split("\n").length - 1)]);
      await listener.ends(0);
      assert.equal(listener.stdout, want);
    }
    for (let i = 0; i <= 100; i++) await publish("many", i, "past");
    const late = await listening(caddy, app, ["past", "--since", ids[0]]);
    await late.notes("earlier events of past are missing: expired\n");
    await late.stop();
    await new Listener(caddy, app, ["past", "--since", "nonsense"]).ends(1, /not the id of a message of this app/);
    await new Listener(caddy, app, ["past", "--since", ids[0], "--rewind", "1"]).ends(1, /exclude each other/);
    await new Listener(caddy, app, ["past", "--rewind", "soon"]).ends(1, /--rewind 10 or --rewind 2m/);
  });

  test("what a terminal would act on is escaped", async () => {
    const name = 'é 🎉 "quoted" \\ <b>';
    const data = { "\x9b31m": "\u202eabc\x7f\u2028", escaped: "\x1b[2J\u0000\r\n", kept: "héllo 👩‍👩‍👧 \\u001b" };
    const plain = await listening(caddy, app, ["orders.42", "--count", "1"]);
    const json = await listening(caddy, app, ["orders.42", "--count", "1", "--json"]);
    await publish(name, data);
    await Promise.all([plain.ends(0), json.ends(0)]);
    for (const { stdout } of [plain, json]) {
      assert.doesNotMatch(stdout, /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028]/);
      assert.ok(stdout.includes("héllo 👩‍👩‍👧"), stdout);
    }
    const [, event, text] = plain.stdout.match(/^(.*)\t(.*)\n$/);
    assert.equal(event, name);
    assert.deepEqual(JSON.parse(text), data);
    const parsed = JSON.parse(json.stdout);
    assert.deepEqual([parsed.event, parsed.data], [name, data]);
  });

  test("a reader that closes stdout ends it", async () => {
    const child = spawn("sh", ["-c", '"$0" realtime listen orders.42 | head -n 1', bin], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, REALTIME_SOCKET_URL: caddy.origin, REALTIME_APP_ID: app.id, REALTIME_SUBSCRIBE_KEY: app.subscribe_key },
    });
    let [stdout, stderr, ended] = ["", "", false];
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.stderr.on("data", (chunk) => (stderr += chunk));
    child.on("close", () => (ended = true));
    await until("it is subscribed", () => stderr.includes("subscribed"));
    await until("it ends", async () => {
      await publish("e", 1);
      return ended;
    });
    assert.equal(stdout, "e\t1\n");
  });

  test("what is refused ends it, with the reason", async () => {
    const listenWith = (env, ...args) => new Listener(caddy, app, args, env);
    for (const [listener, says] of [
      [listenWith({ REALTIME_SUBSCRIBE_KEY: app.publish_key }, "orders.42"), /publish key/],
      [listenWith({}, "a", "b", "c", "d"), /3 channels/],
      [listenWith({}), /which channel\?.*REALTIME_TOKEN/],
      [listenWith({}, "orders.42", "--path", "/elsewhere"), /\/elsewhere.*check --origin and --path/],
    ]) {
      await listener.ends(1, says);
      assert.equal(listener.stdout, "");
      assert.doesNotMatch(listener.stderr, /reconnecting/);
    }
  });

  test("with a token it hears a private channel, its members, and what is published to the user", async () => {
    const own = await caddy.app();
    const signing = (await caddy.admin("POST", `/realtime/keys/${own.id}`, { kind: "sign" })).json;
    const token = async (user, channels) => (await caddy.admin("POST", `/realtime/tokens/${own.id}`, { user, channels })).json.token;
    assert.ok(signing.key);
    const both = await listening(caddy, own, ["presence-room.1"], { REALTIME_SUBSCRIBE_KEY: "", REALTIME_TOKEN: await token("42", ["presence-*"]) });
    const alone = new Listener(caddy, own, [], { REALTIME_TOKEN: await token("42", []) });
    await alone.notes("connected: listening to what is published to the token's user\n");
    const other = await listening(caddy, own, ["orders"], { REALTIME_TOKEN: await token("7", []) });
    const ann = caddy.socket(own, { auth: { appId: own.id, token: await token("ann", ["presence-room.1"]) } });
    assert.equal((await ann.emitWithAck("subscribe", "presence-room.1")).error, undefined);
    await both.lines(1);
    await caddy.published(own, { channel: "presence-room.1", event: "room", data: 1 });
    const env = { ...process.env, REALTIME_SOCKET_URL: caddy.origin, REALTIME_APP_ID: own.id, REALTIME_PUBLISH_KEY: own.publish_key };
    const publishing = (args, input) => {
      const child = spawn(bin, ["realtime", "publish", ...args], { env, stdio: ["pipe", "ignore", "inherit"] });
      child.stdin.end(input);
      return once(child, "close", 60_000);
    };
    assert.deepEqual(await publishing(["--user", "42", "note", '{"n":2}']), [0, null]);
    assert.deepEqual(await publishing(["--file", "-"], '{"user":"42","event":"note","data":3}\n{"channel":"orders","event":"order","data":4}\n'), [0, null]);
    assert.deepEqual(await both.lines(4), ['realtime:joined\t{"channel":"presence-room.1","id":"ann"}', "room\t1", 'note\t{"n":2}', "note\t3"]);
    assert.deepEqual(await alone.lines(2), ['note\t{"n":2}', "note\t3"]);
    assert.deepEqual(await other.lines(1), ["order\t4"]);
    assert.equal((await caddy.admin("POST", `/realtime/users/${own.id}/42/revoke`)).status, 200);
    await Promise.all([both.ends(1, /credentials were withdrawn/), alone.ends(1, /credentials were withdrawn/)]);
    for (const { stdout, stderr } of [both, alone]) assert.doesNotMatch(stdout + stderr, /eyJ|reconnecting/);
    await other.stop();
    ann.disconnect();
  });

  test("a channel that it may not be in, or no longer, ends it with the reason", async () => {
    const own = await caddy.app();
    await new Listener(caddy, own, ["private-user.42"]).ends(1, /token/);
    const listener = await listening(caddy, own, ["orders", "more"]);
    await listener.notes("subscribed to more\n");
    const rules = { channels: [{ match: "orders", access: "closed" }] };
    assert.equal((await caddy.admin("PATCH", `/realtime/apps/${own.id}`, rules)).status, 200);
    await listener.ends(1, /closed/);
    assert.doesNotMatch(listener.stderr, /reconnecting/);
  });

  test("a key that is revoked ends it, an app that is deleted too", async () => {
    for (const withdraw of [
      async (own) => {
        const { keys } = (await caddy.admin("GET", `/realtime/keys/${own.id}`)).json;
        return `/realtime/keys/${own.id}/${keys.find((key) => key.kind === "subscribe").id}`;
      },
      async (own) => `/realtime/apps/${own.id}`,
    ]) {
      const own = await caddy.app();
      const listener = await listening(caddy, own, ["orders.42"]);
      assert.equal((await caddy.admin("DELETE", await withdraw(own))).status, 204);
      await listener.ends(1, /credentials were withdrawn/);
      assert.doesNotMatch(listener.stderr, /reconnecting/);
    }
  });
});

describe("caddy realtime listen and a server that changes", () => {
  let caddy, app;
  before(async () => {
    caddy = await Caddy.start({ global: "max_connecting 1\nconnect_timeout 1m" });
    app = await caddy.app();
  });
  after(() => caddy.close());

  const publish = (event) => caddy.published(app, { channel: "orders", event });

  for (const signal of ["SIGTERM", "SIGKILL"]) {
    test(`comes back to all its channels after ${signal} of the server`, async () => {
      const listener = new Listener(caddy, app, ["orders", "more"]);
      await listener.notes("subscribed to more\n");
      await publish("before");
      await listener.lines(1);
      await caddy.signal(signal);
      await listener.notes(/disconnected: .*; reconnecting in [\d.]+m?s\n/);
      await caddy.boot();
      await listener.notes(/(subscribed to more\n[^]*){2}|\nrecovered: nothing was missed\n/);
      await publish("after");
      assert.deepEqual(await listener.lines(2), ["before\tnull", "after\tnull"]);
      await listener.stop();
    });
  }

  test("a reload keeps it", async () => {
    const listener = await listening(caddy, app, ["orders"]);
    caddy.configure({ global: "max_connecting 1\nconnect_timeout 1m\nmax_channels 7" });
    assert.equal((await caddy.reload()).code, 0);
    await publish("after");
    assert.deepEqual(await listener.lines(1), ["after\tnull"]);
    assert.equal(listener.stderr, "subscribed to orders\n");
    await listener.stop();
  });

  test("waits while too many connect", async () => {
    const polling = "/socket.io/?EIO=4&transport=polling";
    const { sid } = JSON.parse((await caddy.request("GET", polling)).text.slice(1));
    const listener = new Listener(caddy, app, ["orders"]);
    await listener.notes(/not connected: .*503 .*; trying again in/, 2);
    const headers = { "Content-Type": "text/plain;charset=UTF-8" };
    assert.equal((await caddy.request("POST", `${polling}&sid=${sid}`, { headers, body: "1" })).status, 200);
    await listener.notes("subscribed to orders\n");
    await listener.stop();
  });

  test("ends at once when it is interrupted while it waits for the server", async () => {
    const listener = await listening(caddy, app, ["orders"]);
    await caddy.signal("SIGKILL");
    await listener.notes("reconnecting in", 2);
    await listener.stop();
    await caddy.boot();
  });
});

test("caddy realtime listen over TLS trusts the CA that it is told", async () => {
  const caddy = await Caddy.start({ tls: true });
  try {
    const app = await caddy.app();
    const listener = await listening(caddy, app, ["orders", "--count", "1"], { SSL_CERT_FILE: caddy.rootCertificate });
    await caddy.published(app, { channel: "orders", event: "e", data: [1] });
    await listener.ends(0);
    assert.equal(listener.stdout, "e\t[1]\n");
    await new Listener(caddy, app, ["orders"]).ends(1, /not trusted.*SSL_CERT_FILE/);
    await new Listener(caddy, app, ["orders", "--origin", caddy.origin.replace("https", "http")]).ends(1, /http or https\?/);
  } finally {
    await caddy.close();
  }
});

test("caddy realtime listen notices that nothing comes any more, and comes back", async () => {
  const caddy = await Caddy.start({ global: "ping_interval 500ms\nping_timeout 1s" });
  try {
    const app = await caddy.app();
    const listener = await listening(caddy, app, ["orders"]);
    process.kill(caddy.pid, "SIGSTOP"); // its connections stay open, as in a network that is lost
    await listener.notes(/disconnected: .*no longer sends heartbeats; reconnecting in/);
    process.kill(caddy.pid, "SIGCONT");
    await listener.notes("recovered: nothing was missed\n");
    await caddy.published(app, { channel: "orders", event: "after" });
    assert.deepEqual(await listener.lines(1), ["after\tnull"]);
    await listener.stop();
  } finally {
    process.kill(caddy.pid, "SIGCONT");
    await caddy.close();
  }
});
