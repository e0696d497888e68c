// Debian's python-socketio, both of its clients, on each transport.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

// Client takes what comes from the server in a thread each, in no order: one
// event may overtake another, and the close of the transport the DISCONNECT
// before it. Then it tries to come back, also when it is refused.

const script = fileURLToPath(new URL("clients/listen.py", import.meta.url));
const python = "/usr/bin/python3"; // the one that has the distribution's packages
const each = ["Client", "AsyncClient"].flatMap((kind) => Object.keys(transports).map((transport) => ({ kind, transport })));

let caddy;
const listeners = [];
before(async () => {
  caddy = await Caddy.start({ global: "ping_interval 1s\n\t\tping_timeout 10s" });
});
after(async () => {
  await Promise.all(listeners.map((listener) => listener.stop("SIGKILL")));
  await caddy.close();
});

/** A Python client that listens, and what it tells. */
class Listener extends Program {
  constructor(app, { kind, transport }, ...channels) {
    super(python, [script, kind, caddy.origin, app.id, app.subscribe_key, transport, ...channels]);
    listeners.push(this);
  }

  /** What it has told so far: [what, …]. The rest is Python's. */
  get told() {
    const lines = this.output.split("\n").slice(0, -1);
    return lines.filter((line) => line.startsWith("[")).map((line) => JSON.parse(line));
  }

  /** What it has told of one kind, without that. */
  says(what) {
    return this.told.filter(([name]) => name === what).map(([, ...args]) => args);
  }

  /** Waits until it has told so many of one kind. */
  async tells(what, count = 1) {
    await until(`it tells ${what}`, () => this.says(what).length >= count).catch((err) => {
      throw new Error(`${err.message}; it printed:\n${this.output}`);
    });
    return this.says(what);
  }
}

describe("python-socketio", { concurrency: each.length }, () => {
  for (const which of each) {
    const { kind, transport } = which;
    describe(`${kind} over ${transport}`, { concurrency: 1 }, () => {
      let app;
      before(async () => {
        app = await caddy.app();
      });

      test("it subscribes and hears events", async () => {
        const listener = new Listener(app, which, "orders", "no spaces");
        const answers = (await listener.tells("answer", 2)).flat();
        assert.deepEqual(listener.says("connect"), [[transport === "polling" ? "polling" : "websocket"]]);
        assert.deepEqual(answers.find(({ channel }) => channel), { channel: "orders" });
        const { error } = answers.find((answer) => answer.error);
        assert.equal(error.code, "invalid_channel");
        const events = [["subscribed", { channel: "orders" }], ["subscribe_error", { channel: "no spaces", ...error }]];

        for (const [event, ...data] of [["order.updated", { id: 42, lines: [["é😀\u2028", null]] }], ["nothing"], ["null", null], ["n", 1], ["n", 2]]) {
          await caddy.published(app, { channel: "orders", event, ...(data.length && { data: data[0] }) });
          events.push([event, ...data]);
        }
        const heard = await listener.tells("event", events.length);
        if (kind === "Client") for (const list of [heard, events]) list.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
        assert.deepEqual(heard, events);
        await listener.stop("SIGKILL");
      });

      test("refused, it is told why", async () => {
        const listener = new Listener({ ...app, subscribe_key: app.publish_key }, which, "orders");
        await listener.tells("end");
        assert.equal(await listener.exited, 0, listener.output);
        const [[error]] = listener.says("connect_error");
        assert.match(error.message, /publish key/);
        assert.deepEqual(error.data, { code: "wrong_key_kind", message: error.message });
        assert.deepEqual(listener.told, [["connect_error", error], ["end"]]);
      });

      test("a revoked key disconnects it, for good", async () => {
        const key = (await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "subscribe" })).json;
        const listener = new Listener({ ...app, subscribe_key: key.key }, which, "orders");
        await listener.tells("answer");
        assert.equal((await caddy.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`)).status, 204);
        await until("it is disconnected and ends, or is refused", () => {
          const ended = listener.says("end").length || (kind === "Client" && listener.says("connect_error").length);
          return ended && listener.says("disconnect").length;
        });
        for (const [{ data }] of listener.says("connect_error")) assert.equal(data.code, "key_revoked");
        assert.equal(listener.says("connect").length, 1);
      });
    });
  }
});

test("a Caddy that is killed and started anew has them all back", async () => {
  const app = await caddy.app();
  const all = each.map((which) => new Listener(app, which, "orders"));
  for (const listener of all) await listener.tells("answer");
  await caddy.signal("SIGKILL");
  await caddy.boot();
  for (const listener of all) await listener.tells("answer", 2);
  await caddy.published(app, { channel: "orders", event: "again", data: 1 });
  for (const listener of all) {
    const events = await listener.tells("event", 3);
    assert.deepEqual(events.at(-1), ["again", 1]);
  }
});
