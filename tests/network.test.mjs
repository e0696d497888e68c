// What a stock client does on a network that falls silent.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Relay } from "./lib/relay.mjs";
import { once, until } from "./lib/wait.mjs";

describe("a network that falls silent", () => {
  let caddy, app;
  before(async () => {
    caddy = await Caddy.start({ global: "ping_interval 1s\n\t\tping_timeout 3s" });
    app = await caddy.app();
  });
  after(() => caddy.close());

  for (const [name, list] of Object.entries(transports)) {
    test(`${name}: the client misses the pings, comes back, and hears again`, async () => {
      const relay = await Relay.start(caddy.port);
      const socket = caddy.socket(app, { transports: list, uri: relay.origin });
      try {
        const got = [];
        socket.on("connect", () => socket.emit("subscribe", name));
        socket.on("e", (data) => got.push(data));
        await once(socket, "subscribed");
        if (name === "upgrade") await until("the upgrade", () => socket.io.engine.transport.name === "websocket");
        const before = socket.id;
        await caddy.published(app, { channel: name, event: "e", data: 1 });
        await until("the first event", () => got.length === 1);

        relay.vanish();
        const began = Date.now();
        socket.once("disconnect", () => relay.appear()); // before it comes back
        const lost = once(socket, "disconnect");
        const back = once(socket, "subscribed");
        await caddy.published(app, { channel: name, event: "e", data: "lost on the way" });
        assert.equal((await lost)[0], "ping timeout");
        // The client waits as long as the gateway said that it may have to.
        assert.ok(Date.now() - began < 12_000, `noticed after ${Date.now() - began} ms`);
        await back;
        assert.notEqual(socket.id, before);
        await caddy.published(app, { channel: name, event: "e", data: 2 });
        await until("the next event", () => got.length === 2);
        assert.deepEqual(got, [1, 2]);
        await until("the gateway has missed the silent one", async () => {
          const { connections } = (await caddy.admin("GET", `/realtime/connections/${app.id}`)).json;
          return connections.length === 1 && connections[0].id === socket.id;
        });
      } finally {
        socket.disconnect();
        relay.close();
      }
      await until("nobody is connected", async () =>
        (await caddy.admin("GET", `/realtime/connections/${app.id}`)).json.connections.length === 0,
      );
    });
  }
});
