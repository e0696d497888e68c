// A keystore and a broker of another Go module, built in beside ours: see
// tests/guests.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Caddy, root, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const binary = join(root, "build/caddy-guests");

describe("a keystore and a broker of another module", () => {
  let caddy, options;
  before(async () => {
    caddy = await Caddy.prepare({ binary });
    options = { keystore: `files {\n\t\t\tdirectory ${caddy.store}\n\t\t}`, global: "broker slow 20ms" };
    caddy.configure(options);
    await caddy.boot();
  });
  after(() => caddy.close());

  for (const [name, list] of Object.entries(transports)) {
    test(`events arrive in order, of whichever channel: ${name}`, async () => {
      const app = await caddy.app();
      const socket = await caddy.subscriber(app, ["a", "b"], { transports: list });
      const got = [];
      socket.on("e", (n) => got.push(n));
      for (let n = 0; n < 20; n++) {
        const receipt = await caddy.published(app, { channel: n % 2 ? "a" : "b", event: "e", data: n });
        assert.equal(receipt.offset, n + 1);
        assert.equal(receipt.subscribers, 1);
      }
      await until("all events are there", () => got.length === 20);
      assert.deepEqual(got, [...Array(20).keys()]);
    });
  }

  test("what a client sends while a channel is awaited is dealt with after it, in order", async () => {
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, []);
    const answers = [];
    socket.onAny((event, data) => data && answers.push(`${event} ${data.channel}`));
    for (const channel of ["c1", "c2", "c3"]) socket.emit("subscribe", channel);
    socket.emit("unsubscribe", "c2");
    socket.emit("subscribe", "no such name");
    socket.emit("subscribe", "c4");
    await until("all are answered", () => answers.length === 6);
    assert.deepEqual(answers, [
      "subscribed c1",
      "subscribed c2",
      "subscribed c3",
      "unsubscribed c2",
      "subscribe_error no such name",
      "subscribed c4",
    ]);
    await caddy.published(app, { channel: "c2", event: "e" });
    await caddy.published(app, { channel: "c4", event: "e" });
    await once(socket, "e");
  });

  test("the broker hears of the first and of the last subscriber only", async () => {
    const app = await caddy.app();
    const sockets = await Promise.all([1, 2, 3].map(() => caddy.subscriber(app, "only")));
    const interest = () => caddy.logged(/"msg":"interest","channel":"only"/).map((line) => JSON.parse(line).on);
    await until("the broker hears of the first", () => interest().length > 0);
    for (const socket of sockets) socket.disconnect();
    await until("the broker hears of the last", () => interest().length === 2);
    assert.deepEqual(interest(), [true, false]);
  });

  test("a broker that fails is a 503 for publishers, and an answer for subscribers", async () => {
    const app = await caddy.app();
    const publish = await caddy.publish(app, { channel: "refused", event: "e" });
    assert.equal(publish.status, 503);
    assert.equal(publish.json.error.code, "unavailable");
    assert.ok(!publish.text.includes("out of reach"), "the reason is for the log");
    const socket = await caddy.subscriber(app, []);
    const refused = await socket.emitWithAck("subscribe", "refused");
    assert.equal(refused.error.code, "unavailable");
    await until("both are logged", () => caddy.logged(/out of reach/).length === 2);
    assert.deepEqual(await socket.emitWithAck("subscribe", "fine"), { channel: "fine" });
  });

  test("a reload keeps sockets, and a restart apps and keys", async () => {
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, "kept");
    let left = 0;
    socket.on("disconnect", () => left++);
    await caddy.load();
    const event = once(socket, "e");
    await caddy.published(app, { channel: "kept", event: "e" });
    await event;
    assert.equal(left, 0);
    await caddy.signal("SIGTERM");
    await caddy.boot();
    await caddy.published(app, { channel: "kept", event: "e" });
  });

  test("a key that another machine revokes disconnects its clients here within a second", async () => {
    const other = await Caddy.prepare({ binary });
    other.configure(options); // the same directory
    await other.boot();
    try {
      const app = await caddy.app();
      const socket = await caddy.subscriber(app, "a");
      const key = app.keys.find(({ kind }) => kind === "subscribe");
      await until("the other machine knows the app", async () => (await other.admin("GET", `/realtime/apps/${app.id}`)).status === 200);
      const gone = once(socket, "disconnect");
      assert.equal((await other.admin("DELETE", `/realtime/keys/${app.id}/${key.id}`)).status, 204);
      assert.deepEqual((await gone).slice(0, 1), ["io server disconnect"]);
      for (let n = 1; n <= 5; n++) { // faster than they hear of each other
        assert.equal((await other.admin("PATCH", `/realtime/apps/${app.id}`, { max_channels: n })).status, 200);
        const { json } = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { max_connections: n });
        assert.deepEqual([json.max_channels, json.max_connections], [n, n]);
      }
    } finally {
      await other.close();
    }
  });

  test("health asks both", async () => {
    const { json } = await caddy.admin("GET", "/realtime/health");
    assert.deepEqual(json.checks.map(({ name }) => name), ["keystore", "delivery"]);
  });
});

test("a name that no module has is refused with those that there are", async () => {
  const caddy = await Caddy.prepare({ binary, keystore: "redis redis://localhost" });
  const { code, output } = await caddy.command("adapt", "--config", caddy.configFile);
  caddy.remove();
  assert.notEqual(code, 0);
  assert.match(output, /unknown keystore .*redis.*; this Caddy was built with: badger, files/);
});
