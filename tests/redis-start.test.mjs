// A gateway that starts while Redis is away, with the stock client.
import assert from "node:assert/strict";
import { test } from "node:test";
import jwt from "jsonwebtoken";
import { Caddy, transports } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
import { Redis } from "./lib/redis.mjs";
import { once, until } from "./lib/wait.mjs";

const site = "respond /up 200\n\trealtime";

test("Caddy starts while Redis is away: other sites are served, clients are let in, and all goes on once it is back", async (t) => {
  const redis = await Redis.start();
  t.after(() => redis.close());
  const [node] = await freePorts(1);
  const caddy = await Caddy.start({ keystore: "", global: `redis ${redis.url}\n\t\tnode_address http://127.0.0.1:${node}`, site });
  t.after(() => caddy.close());
  const app = await caddy.app();
  const key = await caddy.signingKey(app);
  await caddy.published(app, { channel: "a", event: "e", data: 1 });
  assert.deepEqual(await caddy.signal("SIGTERM"), { code: 0, signal: null });
  await redis.kill();

  await caddy.boot();
  assert.equal((await caddy.request("GET", "/up", { documented: false })).status, 200);
  const refused = await caddy.publish(app, { channel: "a", event: "e", data: 2 });
  assert.deepEqual([refused.status, refused.json.error.code], [503, "unavailable"]);
  assert.ok(refused.headers["retry-after"]);
  const health = await caddy.admin("GET", "/realtime/health");
  assert.equal(health.status, 503);
  assert.match(health.text, /redis at 127\.0\.0\.1:\d+ cannot be reached/);
  const socket = caddy.socket(app);
  await once(socket, "connect");
  const got = [];
  socket.on("e", (data) => got.push(data));
  let ended;
  socket.on("disconnect", (reason) => (ended = reason));
  assert.equal((await socket.emitWithAck("subscribe", "a")).error?.code, "unavailable");
  assert.equal((await caddy.admin("POST", "/realtime/apps", { name: "other" })).status, 503);
  const token = jwt.sign({ exp: Math.floor(Date.now() / 1000) + 600, sub: "ann" }, key, { algorithm: "HS256" });
  const users = Object.values(transports).map((transports) => {
    const user = caddy.socket(app, { transports, auth: { appId: app.id, token } });
    user.refusals = [];
    user.on("connect_error", (err) => user.refusals.push(err.data));
    return user;
  });
  await until("users have tried to connect", () => caddy.logged(/could not join those of its user/).length > 0);

  await redis.boot();
  await until("publishing goes on", async () => (await caddy.publish(app, { channel: "b", event: "e" })).status === 200);
  const subscribed = await socket.emitWithAck("subscribe", "a", { rewind: 1 });
  assert.equal(subscribed.error, undefined);
  await caddy.published(app, { channel: "a", event: "e", data: 3 });
  await until("it arrives", () => got.length === 2);
  assert.deepEqual(got, [1, 3]);
  await until("the gateway is healthy", async () => (await caddy.admin("GET", "/realtime/health")).status === 200);
  await until("it has joined", async () => (await caddy.admin("GET", "/realtime/machines")).json.machines.every(({ address }) => address));
  const other = await caddy.app();
  await caddy.published(other, { channel: "a", event: "e" });
  assert.equal(ended, undefined, "its socket was closed");
  for (const user of users) {
    await until("a user is let in without doing anything", () => user.connected);
    assert.deepEqual(user.refusals.filter(Boolean), []);
  }
});

test("a reload to a Redis that is away is refused, and its predecessor goes on", async (t) => {
  const caddy = await Caddy.start({ site });
  t.after(() => caddy.close());
  const app = await caddy.app();
  const [port] = await freePorts(1);
  caddy.configure({ keystore: "", global: `redis redis://127.0.0.1:${port}`, site });
  const { code, output } = await caddy.reload();
  assert.notEqual(code, 0);
  assert.match(output, /cannot be reached; check that it runs/);
  await caddy.published(app, { channel: "a", event: "e" });
});

test("a broker that is refused after the start is named with the cure", async (t) => {
  const redis = await Redis.start("--requirepass", "right");
  t.after(() => redis.close());
  await redis.kill();
  const caddy = await Caddy.start({ global: `broker redis redis://:wrong@127.0.0.1:${redis.port}`, site });
  t.after(() => caddy.close());
  const app = await caddy.app();
  assert.equal((await caddy.publish(app, { channel: "a", event: "e" })).status, 503);
  await redis.boot();
  await until("the log says so", () => caddy.logs.some((line) => line.includes("redis cannot be used") && line.includes("correct them in the URL")));
  caddy.configure({ global: `broker redis redis://:right@127.0.0.1:${redis.port}`, site });
  const { code, output } = await caddy.reload();
  assert.equal(code, 0, output);
  await until("publishing goes on", async () => (await caddy.publish(app, { channel: "a", event: "e" })).status === 200);
});
