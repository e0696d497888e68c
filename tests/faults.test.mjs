// What an operator wakes up to: see SECURITY.md for what is promised.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

test("out of file descriptors: who is connected stays, the log says why, and it passes", async () => {
  const caddy = await Caddy.start({ descriptors: 120 });
  const strangers = [];
  try {
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, "orders");
    const lost = [];
    socket.on("disconnect", (reason) => lost.push(reason));
    while (strangers.length < 200) {
      const stranger = connect(caddy.port, "localhost");
      stranger.on("error", () => {}); // refused, or reset when it is given up
      strangers.push(stranger);
    }
    await until("the log", () => caddy.logged(/too many open files/).length > 0);
    assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", "more"), { channel: "more" });

    for (const stranger of strangers) stranger.destroy();
    const heard = once(socket, "e");
    await caddy.published(app, { channel: "orders", event: "e", data: 1 });
    assert.deepEqual(await heard, [1]);
    const other = await caddy.app("made after it");
    await caddy.published(other, { channel: "orders", event: "e" });
    assert.deepEqual(lost, []);
  } finally {
    for (const stranger of strangers) stranger.destroy();
    await caddy.close();
  }
});

test("stopped for longer than the heartbeat: clients come back and hear what is published then", async () => {
  const caddy = await Caddy.start({ global: "ping_interval 1s\n\t\tping_timeout 2s" });
  try {
    const app = await caddy.app();
    const clients = await Promise.all(
      Object.values(transports).map(async (list) => {
        const socket = caddy.socket(app, { transports: list });
        socket.on("connect", () => socket.emit("subscribe", "orders"));
        const got = [];
        socket.on("e", (data) => got.push(data));
        await once(socket, "subscribed");
        return { socket, got };
      }),
    );
    const gone = Promise.all(clients.map(({ socket }) => once(socket, "disconnect")));
    process.kill(caddy.pid, "SIGSTOP");
    await gone; // they miss its heartbeat
    process.kill(caddy.pid, "SIGCONT");
    await Promise.all(clients.map(({ socket }) => once(socket, "subscribed")));
    await until("those of before are forgotten", async () =>
      (await caddy.admin("GET", `/realtime/connections/${app.id}`)).json.connections.length === clients.length,
    );
    const receipt = await caddy.published(app, { channel: "orders", event: "e", data: "after" });
    assert.equal(receipt.subscribers, clients.length);
    await until("all hear it", () => clients.every(({ got }) => got.length > 0));
    for (const { got } of clients) assert.deepEqual(got, ["after"]);
  } finally {
    await caddy.close();
  }
});
