// What happens in apps is emitted into Caddy's own events app, for handlers of other
// modules: see tests/guests/events.go.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Backend } from "./lib/backend.mjs";
import { Caddy, root } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const binary = join(root, "build/caddy-guests");
const global = "presence_grace 0s\nmessage_rate 0";
const rules = [{ match: "presence-*", access: "token", presence: true, client_events: true }, { match: "*", access: "open" }];

const read = (file) => (existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line)) : []);
const short = ({ name, data }) => [name, data.channel ?? data.connection, data.user].filter(Boolean).join(" ");

async function start(t, options) {
  const caddy = await Caddy.prepare({ binary });
  t.after(() => caddy.close());
  caddy.configure({ global, options: options(join(caddy.dir, "events")) });
  await caddy.boot();
  return { caddy, file: join(caddy.dir, "events"), backend: await Backend.start(caddy, rules) };
}

async function connected({ caddy, backend }, auth) {
  const socket = caddy.socket(backend.app, { auth: { appId: backend.app.id, ...auth } });
  await once(socket, "connect");
  return socket;
}

test("an app without a webhook has its events emitted, in order, with what they are of", async (t) => {
  const on = await start(t, (file) => `events {\n on * note ${file}\n }`);
  const { caddy, file, backend } = on;
  const seen = () => read(file).filter(({ module }) => module === "realtime");
  const channels = [{ match: "presence-*", client_events: true }];
  const ann = await connected(on, { token: backend.sign({ sub: "ann", channels, info: { name: "Ann" } }) });
  const { id } = ann;
  await ann.emitWithAck("subscribe", "presence-room");
  assert.deepEqual(await ann.emitWithAck("client", "presence-room", "client-typing", { n: 1 }), {});
  ann.disconnect();
  await until("seven events", () => seen().length === 7);
  const events = seen();
  assert.deepEqual(events.map(short), [
    `realtime.connection.opened ${id} ann`,
    "realtime.member.joined presence-room ann",
    "realtime.channel.occupied presence-room",
    "realtime.client_event presence-room ann",
    `realtime.connection.closed ${id} ann`,
    "realtime.member.left presence-room ann",
    "realtime.channel.vacated presence-room",
  ]);
  assert.ok(events.every(({ data }) => data.app === backend.app.id && Math.abs(Date.parse(data.time) - Date.now()) < 600_000));
  assert.equal(events[1].data.info, '{"name":"Ann"}');
  assert.deepEqual([events[3].data.event, events[3].data.data], ["client-typing", '{"n":1}']);
  assert.ok(events[4].data.reason);
  assert.deepEqual(caddy.logged(/webhooks are not sent/), []);
});

test("a reload changes who gets them, nothing is emitted twice or lost, and one that fails changes nothing", async (t) => {
  const on = await start(t, (file) => `events {\n on realtime.channel.occupied note ${file}\n }`);
  const { caddy, file, backend } = on;
  const socket = await connected(on, { subscribeKey: backend.app.subscribe_key });
  let n = 0;
  const subscribe = async (times) => {
    while (times-- > 0) {
      const channel = `orders.${n++}`;
      assert.deepEqual(await socket.emitWithAck("subscribe", channel), { channel });
      await socket.emitWithAck("unsubscribe", channel); // a socket cannot be in very many
    }
  };
  await subscribe(5);
  await until("the first five", () => read(file).length === 5);

  const wanted = (to) => `events {\n on realtime.channel.occupied note ${to} 1ms\n }`;
  caddy.configure({ global, options: wanted(`${file}.2`), sites: "http://localhost:1 {\n bind 203.0.113.1\n }" });
  assert.notEqual((await caddy.reload()).code, 0);
  await subscribe(5);
  await until("the next five, where they were before", () => read(file).length === 10);

  const files = [file];
  for (let i = 2; i < 6; i++) {
    files.push(`${file}.${i}`);
    caddy.configure({ global, options: wanted(files.at(-1)) });
    let reloading = true;
    const reload = caddy.reload().finally(() => (reloading = false));
    while (reloading) await subscribe(1);
    assert.equal((await reload).code, 0);
    await subscribe(5);
    await until("the last of them", () => read(files.at(-1)).some(({ data }) => data.channel === `orders.${n - 1}`));
  }
  const all = files.flatMap(read).map(short);
  assert.deepEqual(all, Array.from({ length: n }, (_, i) => `realtime.channel.occupied orders.${i}`));

  caddy.configure({ global });
  assert.equal((await caddy.reload()).code, 0);
  await subscribe(3);
  socket.disconnect();
  await caddy.signal("SIGTERM");
  assert.equal(files.flatMap(read).length, all.length);
});

test("a page that reloads is not reported, and what an exit interrupts still is", async (t) => {
  const on = await start(t, (file) => `events {\n on realtime.channel.occupied note ${file}\n on realtime.channel.vacated note ${file}\n }`);
  const one = await connected(on, { subscribeKey: on.backend.app.subscribe_key });
  await one.emitWithAck("subscribe", "orders");
  one.disconnect();
  const two = await connected(on, { subscribeKey: on.backend.app.subscribe_key });
  await two.emitWithAck("subscribe", "orders");
  await on.caddy.signal("SIGTERM");
  assert.deepEqual(read(on.file).map(short), ["realtime.channel.occupied orders", "realtime.channel.vacated orders"]);
});

test("a handler that hangs delays no publish, and a reload and an exit by seconds", async (t) => {
  const on = await start(t, (file) => `events {\n on realtime.channel.occupied note ${file} 24h\n }`);
  const { caddy, file, backend } = on;
  const socket = await connected(on, { subscribeKey: backend.app.subscribe_key });
  for (let i = 0; i < 20; i++) {
    await socket.emitWithAck("subscribe", `orders.${i}`);
    await caddy.published(backend.app, { channel: `orders.${i}`, event: "e", data: i });
  }
  caddy.configure({ global, options: `events {\n on realtime.channel.occupied note ${file}\n }` });
  assert.equal((await caddy.reload()).code, 0);
  assert.ok(caddy.logged(/a handler of Caddy's events app does not return/).length > 0);
  await until("the others, by the new handler", () => read(file).length === 19);
  assert.deepEqual(read(file).map(({ data }) => data.channel), Array.from({ length: 19 }, (_, i) => `orders.${i + 1}`));
});
