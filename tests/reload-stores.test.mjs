// Reloads to another keystore or another broker.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { Receiver } from "./lib/receiver.mjs";
import { Redis } from "./lib/redis.mjs";
import { until } from "./lib/wait.mjs";

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
