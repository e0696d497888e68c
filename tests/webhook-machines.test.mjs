// Three gateways with one Redis send an app's webhooks: one at a time, whichever is there.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Caddy } from "./lib/caddy.mjs";
import { Receiver } from "./lib/receiver.mjs";
import { Redis } from "./lib/redis.mjs";
import { until } from "./lib/wait.mjs";

const patience = 180_000; // two leases, and a busy machine

test("what happens on three machines arrives once and in order, also after kill -9 of the sender", async (t) => {
  const redis = await Redis.start();
  t.after(() => redis.close());
  const machines = [];
  for (let i = 0; i < 3; i++) machines.push(await Caddy.start({ keystore: "", global: `redis ${redis.url}\nwebhook_targets any\nmessage_rate 0` }));
  t.after(() => Promise.all(machines.map((caddy) => caddy.close())));
  const receiver = await new Receiver().listen();
  t.after(() => receiver.close());
  const app = await machines[0].app();
  const { status, json: hook, text } = await machines[0].admin("POST", `/realtime/webhooks/${app.id}`, {
    url: receiver.url, events: ["connection.opened", "connection.closed"],
  });
  assert.equal(status, 201, text);
  const path = `/realtime/webhooks/${app.id}/${hook.id}`;
  const show = async (caddy) => (await caddy.admin("GET", path)).json;
  for (const caddy of machines) await until("the webhook is known", async () => (await show(caddy)).state !== undefined, patience);

  /** The events that were accepted, those of a repeated request once. */
  const got = () => {
    const events = [];
    for (const e of receiver.events(hook.secret)) {
      if (e.seq > events.length) events.push(e);
    }
    for (const [i, e] of events.entries()) assert.equal(e.seq, i + 1, "numbers have no gap");
    return events;
  };
  const of = (type) => got().filter((e) => e.type === type);

  const sockets = new Map();
  const come = async (caddy) => {
    const socket = await caddy.subscriber(app, ["a"]);
    sockets.set(socket.id, caddy);
    return socket;
  };
  for (const caddy of machines) await Promise.all(Array.from({ length: 20 }, () => come(caddy)));
  await until("all were opened", () => of("connection.opened").length === 60, patience);

  // Every machine shows the same state, and can have a test sent.
  const deliveries = (await show(machines[0])).state.last.map(({ id }) => id);
  assert.ok(deliveries.length > 0);
  for (const caddy of machines) {
    assert.deepEqual((await show(caddy)).state.last.map(({ id }) => id), deliveries);
    assert.equal((await caddy.admin("POST", `${path}/test`)).status, 202);
  }
  await until("three tests", () => of("test").length === 3, patience);

  // The sender is killed under load.
  let over = false;
  const left = machines.slice();
  const load = (async () => {
    while (!over) {
      const caddy = left[Math.floor(Math.random() * left.length)];
      await come(caddy).then((socket) => sleep(20).then(() => socket.disconnect())).catch(() => {}); // it was killed
    }
  })();
  const lines = (caddy, pattern) => caddy.logged(pattern).length;
  const sender = machines.find((caddy) => lines(caddy, /this machine sends the webhooks of an app/) > lines(caddy, /this machine no longer sends/));
  await sleep(500);
  left.splice(left.indexOf(sender), 1);
  await sender.signal("SIGKILL");
  const before = receiver.requests.length;
  await until("another one sends", () => receiver.requests.length > before + 1, patience);
  over = true;
  await load;

  const certain = [...sockets].filter(([, caddy]) => caddy !== sender).map(([id]) => id);
  await until("every connection to the others was opened", () => {
    const opened = new Set(of("connection.opened").map(({ connection }) => connection));
    return certain.every((id) => opened.has(id));
  }, patience);
  await until("a reset for what the killed machine may not have said", () => of("state.reset").length === 1, patience);
  const opened = of("connection.opened").map(({ connection }) => connection);
  assert.equal(new Set(opened).size, opened.length, "no connection was opened twice");
});
