// What happens to sockets when the configuration changes, and when Caddy ends.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const numbers = (n) => Array.from({ length: n }, (_, i) => i);

describe("a reload", () => {
  let caddy, app, busy;
  before(async () => {
    caddy = await Caddy.start();
    app = await caddy.app();
    busy = createServer().listen(0);
    await once(busy, "listening");
  });
  after(async () => {
    busy.close();
    await caddy.close();
  });

  test("keeps every socket, and loses, doubles and reorders nothing, though some reloads fail", async () => {
    const clients = [];
    for (const [name, list] of Object.entries(transports)) {
      for (let i = 0; i < 5; i++) {
        const client = { name, socket: await caddy.subscriber(app, "orders", { transports: list }), got: [], lost: [] };
        client.socket.on("e", (n) => client.got.push(n));
        client.socket.on("disconnect", (reason, details) => client.lost.push(`${reason}: ${details?.description}`));
        if (name === "upgrade") await until("upgraded", () => client.socket.io.engine.transport.name === "websocket");
        clients.push(client);
      }
    }

    let n = 0;
    let publishing = true;
    const publisher = (async () => {
      while (publishing) {
        const event = { channel: "orders", event: "e", data: n };
        // When an old listener closes, the kernel resets what it has not
        // accepted, and net/http drops what it has not handed to a handler.
        // Nobody saw such a request: it is safe to repeat.
        const answer = await caddy.publish(app, event).catch((err) => {
          if (err.code !== "ECONNRESET") throw err;
        });
        if (!answer) continue;
        assert.equal(answer.status, 200, answer.text);
        n++;
      }
    })();

    const failing = {
      "a port that is taken": { sites: `http://localhost:${busy.address().port} {\n\trespond ok\n}` },
      "a certificate that is missing": { sites: `https://localhost:1 {\n\ttls /missing.crt /missing.key\n}` },
      "an option that is unknown": { site: "realtime {\n\tno_such_option\n}" },
    };
    const good = [
      { global: "max_channels 50" },
      { site: "header Server 2\nrealtime" },
      { global: "ping_interval 20s", site: "encode\nlog\nrealtime" },
      { rateLimit: "1000000 1m" },
      {},
    ];
    for (const config of good) {
      const before = n;
      caddy.configure(config);
      const { code, output } = await caddy.reload();
      assert.equal(code, 0, output);
      const [name] = Object.keys(failing);
      if (name) {
        caddy.configure(failing[name]);
        assert.notEqual((await caddy.reload()).code, 0, name);
        delete failing[name];
      }
      await until("publishes after the reload", () => n > before + 20);
    }
    publishing = false;
    await publisher;

    for (const { socket, got, lost, name } of clients) {
      await until("the last event", () => got.at(-1) === n - 1).catch((err) => {
        const gap = got.findIndex((value, i) => value !== i);
        err.message += `; over ${name}: ${got.length} of ${n}, ${gap < 0 ? "in order" : `${gap} became ${got[gap]}`}, ${lost}`;
        throw err;
      });
      assert.deepEqual(got, numbers(n));
      assert.deepEqual(lost, []);
      assert.equal(socket.connected, true);
    }
  });

  test("changes limits at once, for sockets that are open too", async () => {
    const socket = await caddy.subscriber(app, ["a", "b"]);
    caddy.configure({ global: "max_channels 2", rateLimit: "3 1m" });
    assert.equal((await caddy.reload()).code, 0);
    const answer = await socket.timeout(5_000).emitWithAck("subscribe", "c");
    assert.equal(answer.error?.code, "too_many_channels");

    const fresh = await caddy.app("fresh");
    for (let i = 0; i < 3; i++) await caddy.published(fresh, { channel: "a", event: "e" });
    const limited = await caddy.publish(fresh, { channel: "a", event: "e" });
    assert.equal(limited.status, 429);
    assert.equal(limited.json.error.code, "rate_limited");
    assert.match(limited.headers["retry-after"], /^[1-9]\d*$/);
    assert.equal(limited.headers["ratelimit-limit"], "3");
    assert.equal(limited.headers["ratelimit-remaining"], "0");
  });

  test("caddy validate passes beside the running server", async () => {
    caddy.configure();
    const { code, output } = await caddy.command("validate", "--config", caddy.configFile);
    assert.equal(code, 0, output);
    assert.match(output, /Valid configuration/);
  });

  test("caddy adapt names file and line of a bad option", async () => {
    const file = join(caddy.dir, "bad.Caddyfile");
    writeFileSync(file, "localhost {\n\trealtime {\n\t\tpublish_path\n\t}\n}\n");
    const { code, output } = await caddy.command("adapt", "--config", file, "--adapter", "caddyfile");
    assert.notEqual(code, 0);
    assert.match(output, /bad\.Caddyfile:3/);
  });

  test("without the directive and the option, the sockets are closed", async () => {
    const clients = await Promise.all(
      Object.values(transports).map((list) =>
        caddy.subscriber(app, "orders", { transports: list, reconnection: false }),
      ),
    );
    const closed = clients.map((socket) => once(socket, "disconnect"));
    writeFileSync(
      caddy.configFile,
      `{\n\tadmin localhost:${caddy.adminPort}\n}\nhttp://localhost:${caddy.port} {\n\trespond gone 410\n}\n`,
    );
    const { code, output } = await caddy.reload();
    assert.equal(code, 0, output);
    await Promise.all(closed);
    assert.equal((await caddy.request("POST", "/publish", { documented: false })).status, 410);

    // And they are back with it, on the same store.
    caddy.configure();
    assert.equal((await caddy.reload()).code, 0);
    const socket = await caddy.subscriber(app, "orders");
    const event = once(socket, "e");
    await caddy.published(app, { channel: "orders", event: "e", data: "back" });
    assert.deepEqual(await event, ["back"]);
  });
});

describe("the end", () => {
  for (const [name, end] of Object.entries({
    SIGTERM: (caddy) => caddy.signal("SIGTERM"),
    "caddy stop": async (caddy) => {
      const { code, output } = await caddy.command("stop", "--address", `localhost:${caddy.adminPort}`);
      assert.equal(code, 0, output);
      return caddy.exited;
    },
  })) {
    test(`${name} ends within the drain, and clients come back to the next process`, async () => {
      const caddy = await Caddy.start({ global: "drain 5s" });
      try {
        const app = await caddy.app();
        const clients = [];
        for (const list of Object.values(transports)) {
          for (let i = 0; i < 10; i++) {
            const socket = await caddy.subscriber(app, "orders", { transports: list });
            const client = { socket, reasons: [] };
            socket.on("disconnect", (reason) => client.reasons.push(reason));
            socket.on("connect", () => socket.emit("subscribe", "orders"));
            clients.push(client);
          }
        }
        const start = Date.now();
        const { code, signal } = await end(caddy);
        const took = Date.now() - start;
        assert.deepEqual({ code, signal }, { code: 0, signal: null }, caddy.logTail());
        assert.ok(took < 12_000, `took ${took} ms`);
        await until("all have noticed", () => clients.every(({ reasons }) => reasons.length === 1));
        for (const { reasons, socket } of clients) {
          assert.match(reasons[0], /^transport (close|error)$/);
          assert.equal(socket.active, true, "it means to come back");
        }

        await caddy.boot();
        await until("all are back", () => clients.every(({ socket }) => socket.connected));
        const got = clients.map(({ socket }) => once(socket, "back"));
        // Connected is not yet subscribed: publishes until everyone has heard.
        let waiting = true;
        Promise.all(got).finally(() => (waiting = false));
        await until("all hear again", async () => {
          await caddy.published(app, { channel: "orders", event: "back" });
          return !waiting;
        });
        await Promise.all(got);
      } finally {
        await caddy.close();
      }
    });
  }
});
