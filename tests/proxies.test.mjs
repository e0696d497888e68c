// Behind a proxy: another Caddy, and nginx as most people configure it.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Caddy, freePorts, transports } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";
import { once, until } from "./lib/wait.mjs";

// The test's clients say that they are elsewhere, as if a proxy had said so.
const trusting = "servers {\n\t\ttrusted_proxies static 127.0.0.1/32 ::1/128\n\t}";

const proxies = {
  /** Caddy needs no more than the line. */
  async caddy(gateway) {
    const proxy = await Caddy.start({ options: trusting, site: `reverse_proxy localhost:${gateway.port}` });
    return { origin: proxy.origin, stop: () => proxy.close() };
  },

  /** What nginx's documentation has for websockets, and nothing for us. */
  async nginx(gateway) {
    const dir = mkdtempSync(join(tmpdir(), "realtime-nginx-"));
    const [port] = await freePorts(1);
    writeFileSync(
      join(dir, "nginx.conf"),
      `daemon off;
${process.getuid() === 0 ? "user root;" : ""}
pid ${dir}/pid;
error_log stderr;
events {}
http {
	access_log off;
	${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`).join("\n\t")}
	map $http_upgrade $connection_upgrade { default upgrade; '' close; }
	server {
		listen 127.0.0.1:${port};
		location / {
			proxy_pass http://127.0.0.1:${gateway.port};
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_upgrade;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		}
	}
}
`,
    );
    const nginx = new Program("nginx", ["-e", "stderr", "-c", join(dir, "nginx.conf")], {
      cwd: dir,
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
    });
    const origin = `http://localhost:${port}`;
    await until("nginx answers", async () => {
      assert.equal(nginx.child.exitCode, null, nginx.output);
      return (await gateway.request("GET", "/publish", { origin }).catch(() => ({}))).status === 405;
    });
    return {
      origin,
      async stop() {
        assert.equal(await nginx.stop(), 0, nginx.output);
        rmSync(dir, { recursive: true });
      },
    };
  },
};

for (const [name, start] of Object.entries(proxies)) {
  describe(`behind ${name}`, () => {
    let gateway, app, proxy;
    before(async () => {
      gateway = await Caddy.start({
        options: trusting,
        global: "ping_interval 1s\n\t\tping_timeout 1s",
        site: "realtime {\n\torigins https://only.example\n}",
      });
      app = await gateway.app();
      proxy = await start(gateway);
    });
    after(async () => {
      await proxy?.stop();
      await gateway.close();
    });

    for (const [transport, list] of Object.entries(transports)) {
      test(`${transport}: events arrive in order, whole and for as long as they come`, async () => {
        const forwarded = `203.0.113.${1 + Object.keys(transports).indexOf(transport)}`;
        const socket = gateway.socket(app, {
          transports: list,
          extraHeaders: { "X-Forwarded-For": forwarded },
          uri: proxy.origin,
        });
        const lost = [];
        socket.on("disconnect", (reason) => lost.push(reason));
        await once(socket, "connect");
        assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", transport), { channel: transport });
        if (transport === "upgrade") await until("the upgrade", () => socket.io.engine.transport.name === "websocket");

        const got = [];
        socket.on("e", (data) => got.push(data));
        const large = "x".repeat(300_000);
        const pings = once(socket.io, "ping").then(() => once(socket.io, "ping"));
        for (let n = 0; n < 50; n++) {
          const answer = await gateway.request("POST", "/publish", {
            origin: proxy.origin,
            headers: { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` },
            body: JSON.stringify({ channel: transport, event: "e", data: n === 25 ? large : n }),
          });
          assert.equal(answer.status, 200, answer.text);
        }
        await pings; // two heartbeats go through
        await until("all events", () => got.length === 50);
        assert.deepEqual(got, Array.from({ length: 50 }, (_, n) => (n === 25 ? large : n)));
        assert.deepEqual(lost, []);

        // The gateway sees the client, not the proxy.
        const { connections } = (await gateway.admin("GET", `/realtime/connections/${app.id}?channel=${transport}`)).json;
        assert.deepEqual(connections.map((c) => c.client_ip), [forwarded]);

        const gone = once(socket, "disconnect");
        await gateway.admin("DELETE", `/realtime/connections/${app.id}/${socket.id}`);
        assert.equal((await gone)[0], "io server disconnect");
      });
    }

    test("errors and refused origins come through", async () => {
      const refused = gateway.socket({ ...app, subscribe_key: app.publish_key }, { uri: proxy.origin });
      assert.equal((await once(refused, "connect_error"))[0].data.code, "wrong_key_kind");
      const headers = { "Content-Type": "application/json", Origin: "https://elsewhere.example" };
      const answer = await gateway.request("POST", "/publish", { origin: proxy.origin, headers, body: "{}" });
      assert.equal(answer.status, 403);
      assert.equal(answer.json.error.code, "origin_not_allowed");
      const own = await gateway.request("POST", "/publish", { origin: proxy.origin, headers: { ...headers, Origin: proxy.origin }, body: "{}" });
      assert.equal(own.status, 401, "a page of the proxy's own origin is the site's");
      for (let n = 0; n < 20; n++) {
        const large = await gateway.request("POST", "/publish", {
          origin: proxy.origin,
          headers: { "Content-Type": "text/plain" },
          body: "x".repeat(200_000),
        });
        assert.equal(large.status, 415, large.text);
        assert.equal(large.json.error.code, "unsupported_media_type");
      }
    });

    test("a proxy that ends leaves no socket behind", async () => {
      const clients = Object.values(transports).map((list) =>
        gateway.socket(app, { transports: list, uri: proxy.origin, reconnection: false }),
      );
      await Promise.all(clients.map((socket) => once(socket, "connect")));
      const gone = Promise.all(clients.map((socket) => once(socket, "disconnect")));
      await proxy.stop();
      proxy = undefined;
      await gone;
      await until("nobody is connected", async () =>
        (await gateway.admin("GET", `/realtime/connections/${app.id}`)).json.connections.length === 0,
      );
    });
  });
}
