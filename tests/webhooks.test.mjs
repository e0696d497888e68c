// Webhooks: what happens in an app reaches its backend, signed and in order.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { Caddy } from "./lib/caddy.mjs";
import { Metrics } from "./lib/metrics.mjs";
import { Receiver } from "./lib/receiver.mjs";
import { once, until } from "./lib/wait.mjs";

const short = (e) => [e.type, e.channel ?? e.code ?? e.connection, e.user].filter(Boolean).join(" ");

describe("webhooks", () => {
  let caddy, app, signing, receiver;

  before(async () => {
    caddy = await Caddy.start({ global: "webhook_targets any\npresence_grace 0s" });
    receiver = await new Receiver().listen();
  });
  after(async () => {
    await caddy.close();
    await receiver.close();
  });

  async function fresh(hook) {
    app = await caddy.app();
    signing = await caddy.signingKey(app);
    receiver.requests.length = 0;
    receiver.status = 204;
    const made = await caddy.admin("POST", `/realtime/webhooks/${app.id}`, { url: receiver.url, ...hook });
    assert.equal(made.status, 201, made.text);
    return made.json;
  }

  async function connected(auth) {
    const socket = caddy.socket(app, { auth: { appId: app.id, ...auth } });
    await once(socket, "connect");
    return socket;
  }

  const token = (claims) => jwt.sign({ exp: Math.floor(Date.now() / 1000) + 600, ...claims }, signing, { algorithm: "HS256" });

  test("what happens in an app arrives in order, and verifies", async () => {
    const rules = [{ match: "presence-*", access: "token", presence: true, client_events: true }];
    const hook = await fresh();
    assert.equal((await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels: rules })).status, 200);
    const grant = [{ match: "presence-*", client_events: true }];
    const ann = await connected({ token: token({ sub: "ann", channels: grant, info: { name: "Ann" } }) });
    await ann.emitWithAck("subscribe", "presence-room");
    assert.deepEqual(await ann.emitWithAck("client", "presence-room", "client-typing", { n: 1 }), {});
    await until("three events", () => receiver.events(hook.secret).length === 3);
    ann.disconnect();
    await until("five events", () => receiver.events(hook.secret).length === 5);
    const events = receiver.events(hook.secret);
    assert.deepEqual(events.map(short), [
      "member.joined presence-room ann",
      "channel.occupied presence-room",
      "client_event presence-room ann",
      "member.left presence-room ann",
      "channel.vacated presence-room",
    ]);
    assert.deepEqual(events.map((e) => e.seq), [1, 2, 3, 4, 5]);
    assert.deepEqual(events[0].info, { name: "Ann" });
    assert.deepEqual([events[2].event, events[2].data, events[2].connection?.length], ["client-typing", { n: 1 }, 20]);
    const body = JSON.parse(receiver.requests[0].body);
    assert.equal(body.app, app.id);
    assert.equal(body.id, receiver.requests[0].headers["webhook-id"]);
    assert.throws(() => receiver.events(`whsec_${Buffer.alloc(32).toString("base64")}`));
  });

  test("a page that reloads is not reported; connections only if they are named", async () => {
    const hook = await fresh({ events: ["connection.opened", "connection.closed", "channel.occupied", "channel.vacated"], prefix: "orders." });
    const one = await connected({ subscribeKey: app.subscribe_key });
    await one.emitWithAck("subscribe", "orders.1");
    await one.emitWithAck("subscribe", "other");
    const { id } = one;
    one.disconnect();
    const two = await connected({ subscribeKey: app.subscribe_key });
    await two.emitWithAck("subscribe", "orders.1");
    await until("four events", () => receiver.events(hook.secret).length >= 4);
    const seen = receiver.events(hook.secret).map(short);
    assert.deepEqual(seen, [`connection.opened ${id}`, "channel.occupied orders.1", `connection.closed ${id}`, `connection.opened ${two.id}`]);
    two.disconnect();
    await until("the channel is vacated", () => receiver.events(hook.secret).some((e) => e.type === "channel.vacated"));
    assert.equal(receiver.events(hook.secret).filter((e) => e.type === "channel.occupied").length, 1);
  });

  test("both secrets sign while one replaces the other, and a test event arrives", async () => {
    const hook = await fresh();
    const path = `/realtime/webhooks/${app.id}/${hook.id}`;
    const rotated = await caddy.admin("POST", `${path}/rotate`, { overlap: "1h" });
    assert.equal(rotated.status, 201, rotated.text);
    assert.equal((await caddy.admin("POST", `${path}/test`)).status, 202);
    await until("the test", () => receiver.requests.length === 1);
    for (const secret of [hook.secret, rotated.json.secret]) assert.deepEqual(receiver.events(secret).map((e) => e.type), ["test"]);
    const shown = await caddy.admin("GET", path);
    assert.equal(shown.json.state.last[0].status, 204);
  });

  test("a receiver that is gone has its webhook disabled, and the problem is shown", async () => {
    const hook = await fresh();
    const before = await Metrics.scrape(caddy);
    receiver.status = 410;
    const path = `/realtime/webhooks/${app.id}/${hook.id}`;
    assert.equal((await caddy.admin("POST", `${path}/test`)).status, 202);
    await until("it is disabled", async () => !(await caddy.admin("GET", path)).json.enabled);
    assert.match((await caddy.admin("GET", path)).json.problem, /410/);
    const again = await caddy.admin("POST", `${path}/test`);
    assert.deepEqual([again.status, again.json.error.code], [400, "invalid_request"]);
    assert.match(again.json.error.message, /--enabled/);
    const now = await Metrics.scrape(caddy);
    assert.equal(now.value("webhook_failed_total") - before.value("webhook_failed_total"), 1);
    assert.ok(before.value("webhook_delivered_total") > 0);
  });

  test("nothing is lost while the receiver is down, also over a restart", async () => {
    const hook = await fresh();
    await receiver.close();
    const sockets = [];
    for (let i = 0; i < 20; i++) {
      const socket = await connected({ subscribeKey: app.subscribe_key });
      await socket.emitWithAck("subscribe", `orders.${i}`);
      sockets.push(socket);
    }
    const { port } = receiver;
    for (const socket of sockets) socket.disconnect();
    caddy.signal("SIGTERM");
    await caddy.exited;
    await caddy.boot();
    receiver = await new Receiver().listen(port);
    await until("all events", () => new Set(receiver.events(hook.secret).map((e) => e.seq)).size === 40, 60_000);
    const events = [...new Map(receiver.events(hook.secret).map((e) => [e.seq, e])).values()];
    assert.deepEqual(events.map((e) => e.seq), Array.from({ length: 40 }, (_, i) => i + 1));
    for (let i = 0; i < 20; i++) {
      assert.deepEqual(events.filter((e) => e.channel === `orders.${i}`).map((e) => e.type), ["channel.occupied", "channel.vacated"]);
    }
  });

  test("a webhook cannot point into the network unless the operator allows it", async () => {
    const strict = await Caddy.start();
    try {
      const { id } = await strict.app();
      for (const url of ["http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest", "http://10.0.0.1", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://localhost/"]) {
        const answer = await strict.admin("POST", `/realtime/webhooks/${id}`, { url });
        assert.deepEqual([answer.status, answer.json.error.code], [400, "invalid_request"], url);
      }
    } finally {
      await strict.close();
    }
  });
});
