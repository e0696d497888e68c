// Reloads to another keystore or another broker.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { Receiver } from "./lib/receiver.mjs";
import { Redis } from "./lib/redis.mjs";
import { once, until } from "./lib/wait.mjs";

const global = "webhook_targets any";

/** Starts a Redis, and a Caddy with the keystore that keystore(redis) returns. */
async function start(t, keystore = () => undefined) {
  const redis = await Redis.start();
  t.after(() => redis.close());
  const caddy = await Caddy.start({ keystore: keystore(redis), global });
  t.after(() => caddy.close());
  return { redis, caddy };
}

test("webhooks of another keystore are sent after the reload", async (t) => {
  const { redis, caddy } = await start(t, ({ url }) => `redis ${url}/1`);
  const receiver = await new Receiver().listen();
  t.after(() => receiver.close());
  caddy.configure({ keystore: `redis ${redis.url}/2`, global });
  assert.equal((await caddy.reload()).code, 0);
  const app = await caddy.app();
  const { json: hook } = await caddy.admin("POST", `/realtime/webhooks/${app.id}`, { url: receiver.url, events: ["channel.occupied"] });
  await caddy.subscriber(app, "orders");
  await until("the webhook is sent", () => receiver.requests.length > 0, 30_000);
  assert.deepEqual(receiver.events(hook.secret).map(({ type, channel }) => [type, channel]), [["channel.occupied", "orders"]]);
  assert.deepEqual(caddy.logged(/"level":"error"/), []);
});

test("a reload to another broker with the same directory is refused with the cure, and changes nothing", async (t) => {
  const { redis, caddy } = await start(t);
  const app = await caddy.app();
  const socket = await caddy.subscriber(app, "orders");
  const got = [];
  socket.on("m", (data) => got.push(data));
  caddy.configure({ global: `broker redis ${redis.url}` });
  const { code, output } = await caddy.reload();
  assert.notEqual(code, 0);
  assert.match(output, /a reload cannot change the broker while the keystore stays in .*: stop Caddy and start it/);
  await caddy.published(app, { channel: "orders", event: "m", data: 1 });
  await until("the event arrives", () => got.length > 0);
  assert.equal(socket.connected, true);
});

test("a reload with another password while Redis hangs waits for Redis once, and only for a short time", async (t) => {
  const redis = await Redis.start();
  t.after(() => redis.close());
  const caddy = await Caddy.start({ keystore: `redis ${redis.url}`, global: `broker redis ${redis.url}` });
  t.after(() => caddy.close());
  const app = await caddy.app();
  const socket = await caddy.subscriber(app, "orders");
  const next = redis.url.replace("//", "//default:another@");
  caddy.configure({ keystore: `redis ${next}`, global: `broker redis ${next}` });
  redis.child.kill("SIGSTOP");
  const began = performance.now();
  assert.equal((await caddy.reload()).code, 0);
  const took = performance.now() - began;
  redis.child.kill("SIGCONT");
  assert.ok(took < 10_000, `it took ${took} ms`);
  const arrived = once(socket, "m");
  await until("publishing goes on", async () => (await caddy.publish(app, { channel: "orders", event: "m" })).status === 200, 30_000);
  await arrived;
});

test("a client that was away while another broker was in use is not recovered", async (t) => {
  const memory = ({ url }) => `redis ${url}`;
  const { redis, caddy } = await start(t, memory);
  const app = await caddy.app();
  const socket = await caddy.subscriber(app, [], { auth: { appId: app.id, subscribeKey: app.subscribe_key, recover: true }, reconnection: false });
  await socket.timeout(10_000).emitWithAck("subscribe", "orders");
  const first = once(socket, "m");
  await caddy.published(app, { channel: "orders", event: "m" });
  await first;
  const ended = once(socket, "disconnect");
  socket.io.engine.close();
  await ended;

  caddy.configure({ keystore: "", global: `redis ${redis.url}` });
  assert.equal((await caddy.reload()).code, 0);
  await caddy.published(app, { channel: "orders", event: "m" });
  caddy.configure({ keystore: memory(redis) });
  assert.equal((await caddy.reload()).code, 0);
  const back = once(socket, "connect");
  socket.connect();
  await back;
  assert.equal(socket.recovered, false);
});

test("the log says which events of webhooks a reload to another broker leaves behind", async (t) => {
  const memory = ({ url }) => `redis ${url}`;
  const { redis, caddy } = await start(t, memory);
  const app = await caddy.app();
  const receiver = await new Receiver().listen();
  await receiver.close(); // it refuses connections
  const { json: hook } = await caddy.admin("POST", `/realtime/webhooks/${app.id}`, { url: receiver.url, events: ["channel.occupied"] });
  await caddy.subscriber(app, ["a", "b"]);
  const path = `/realtime/webhooks/${app.id}/${hook.id}`;
  await until("the events wait", async () => (await caddy.admin("GET", path)).json.state.waiting === 2);
  caddy.configure({ keystore: "", global: `redis ${redis.url}` });
  assert.equal((await caddy.reload()).code, 0);
  await until("the log says so", () => caddy.logged(/events for webhooks are left in the queues.*"events":2/).length === 1, 30_000);
});
