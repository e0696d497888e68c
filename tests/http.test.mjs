// Which HTTP a browser speaks with the gateway: a real Chromium, with Caddy's
// TLS, over HTTP/2 and HTTP/3.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { dist, launch } from "./lib/browser.mjs";
import { Caddy, root, transports } from "./lib/caddy.mjs";
import { until } from "./lib/wait.mjs";

const site = `log
templates
realtime
handle_path /lib/* {
	root ${dist}
	file_server
}
root ${root}examples/browser
file_server`;

for (const [protocol, name, flags] of [
  ["h2", "HTTP/2", () => []],
  ["h3", "HTTP/3", (caddy) => [`--origin-to-force-quic-on=localhost:${caddy.port}`]],
]) {
  describe(`a browser on ${name}`, () => {
    let caddy, app, browser;
    before(async () => {
      caddy = await Caddy.start({ tls: true, global: "ping_interval 1s", site });
      app = await caddy.app();
      browser = await launch(caddy, ...flags(caddy));
    });
    after(async () => {
      await browser?.close();
      await caddy.close();
    });

    for (const transport of ["polling", "upgrade"]) {
      test(`${transport}: events arrive in order, also through a reload`, async () => {
        const tab = await browser.newPage();
        await tab.goto(caddy.origin);
        await tab.addScriptTag({ url: "/lib/socket.io.min.js" });
        await tab.evaluate(subscribe, { app, list: transports[transport] });
        if (transport === "upgrade") await tab.waitForFunction(() => socket.io.engine.transport.name === "websocket");
        for (let n = 0; n < 60; n++) {
          const status = await tab.evaluate(publish, { app, n });
          assert.equal(status, 200);
          if (n === 30) assert.equal((await caddy.reload("--force")).code, 0);
        }
        await tab.waitForFunction(() => got.length >= 60 && pings >= 2);
        assert.deepEqual(await tab.evaluate(() => got), Array.from({ length: 60 }, (_, n) => n));
        assert.deepEqual(await tab.evaluate(() => lost), []);

        const hops = await tab.evaluate(() =>
          performance.getEntriesByType("resource").filter((e) => /polling|publish/.test(e.name)).map((e) => e.nextHopProtocol),
        );
        assert.ok(hops.length >= 50, "the browser has noted them");
        assert.deepEqual([...new Set(hops)], [protocol], "polls and publishes");
        await tab.close();
      });
    }

    test("websockets are opened over HTTP/1.1 by the browser itself", async () => {
      const opened = () => caddy.logged(/http\.log\.access/).map((line) => JSON.parse(line)).filter((l) => l.request.uri.includes("websocket"));
      await until("it is in the access log", () => opened().length > 0);
      for (const { request, status } of opened()) {
        assert.deepEqual([request.proto, request.method, status], ["HTTP/1.1", "GET", 101]);
      }
    });
  });
}

/* global io, socket, got, pings, lost -- what follows runs in the page */

async function subscribe({ app, list }) {
  Object.assign(window, { got: [], pings: 0, lost: [] });
  window.socket = io({ transports: list, auth: { appId: app.id, subscribeKey: app.subscribe_key } });
  socket.on("e", (data) => got.push(data));
  socket.on("disconnect", (reason) => lost.push(reason));
  socket.io.on("ping", () => window.pings++);
  await new Promise((resolve, reject) => {
    socket.on("connect_error", reject);
    socket.emit("subscribe", "shop", resolve);
  });
}

async function publish({ app, n }) {
  const answer = await fetch("/publish", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` },
    body: JSON.stringify({ channel: "shop", event: "e", data: n }),
  });
  return answer.status;
}
