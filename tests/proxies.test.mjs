// Behind a proxy: another Caddy, and nginx as most people configure it.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Caddy, root, transports } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
import { Program } from "./lib/process.mjs";
import { once, until } from "./lib/wait.mjs";

// The proxies are at 127.0.0.1 and ::1, clients at another loopback address.
const proxied = "trusted_proxies static 127.0.0.1/32 ::1/128";
const servers = (...lines) => `servers {\n\t\t${lines.join("\n\t\t")}\n\t}`;
const trusting = servers(proxied, "trusted_proxies_strict");

const forged = { "X-Forwarded-For": "203.0.113.7" };

/** Connections from one address of this machine. */
const from = (localAddress) => new http.Agent({ localAddress, family: 4, keepAlive: false });

/** An HTTP request from there: its status and text. */
const requestFrom = (address, url, { method = "GET", headers = {}, body } = {}) =>
  new Promise((resolve, reject) => {
    http
      .request(url, { method, headers, agent: from(address) }, (res) => {
        let text = "";
        res.on("data", (chunk) => (text += chunk));
        res.on("end", () => resolve({ status: res.statusCode, text }));
      })
      .on("error", reject)
      .end(body);
  });

const proxies = {
  /** Caddy needs no more than the line. */
  async caddy(gateway) {
    const proxy = await Caddy.start({ site: `reverse_proxy localhost:${gateway.port}` });
    return { origin: proxy.origin, stop: () => proxy.close() };
  },

  /** As docs/deploying.md has it. */
  async nginx(gateway) {
    const [, site] = readFileSync(join(root, "docs/deploying.md"), "utf8").match(/^```nginx\n([^]*?)^```/m);
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
	${site.replace("listen 80;", `listen 127.0.0.1:${port};`).replace("http://127.0.0.1:8080", `http://127.0.0.1:${gateway.port}`)}
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
        global: "ping_interval 1s\n\t\tping_timeout 5s\n\t\tmax_connections_per_ip 2",
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
        const address = `127.0.0.${11 + Object.keys(transports).indexOf(transport)}`;
        const socket = gateway.socket(app, {
          transports: list,
          agent: from(address),
          extraHeaders: forged,
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

        // The gateway sees the client, not the proxy, nor what the client says.
        const { connections } = (await gateway.admin("GET", `/realtime/connections/${app.id}?channel=${transport}`)).json;
        assert.deepEqual(connections.map((c) => c.client_ip), [address]);

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

    test("no client evades a limit by address, or uses up another one's, by claiming an address", async () => {
      const handshake = async (address, claimed) =>
        (await requestFrom(address, `${proxy.origin}/socket.io/?EIO=4&transport=polling`, { headers: { "X-Forwarded-For": claimed } })).status;
      const statuses = [];
      for (let n = 0; n < 8; n++) statuses.push(await handshake("127.0.0.21", n % 2 ? `203.0.113.${n}` : "127.0.0.22"));
      // As many as it may have, as many only to be told so, and no more.
      assert.deepEqual(statuses, [200, 200, 200, 200, 429, 429, 429, 429]);
      assert.equal(await handshake("127.0.0.22", "203.0.113.9"), 200);
    });

    test("a proxy that ends leaves no socket behind", async () => {
      const clients = Object.values(transports).map((list, n) =>
        gateway.socket(app, { transports: list, uri: proxy.origin, agent: from(`127.0.0.${31 + n}`), reconnection: false }),
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

describe("at load, once for each server, the log warns that", () => {
  const forgeable = /clients can forge their address.*add trusted_proxies_strict/;
  const absent = /clients of a unix socket have no address.*add trusted_proxies_unix/;
  const socket = join(mkdtempSync(join(tmpdir(), "realtime-unix-")), "s");
  after(() => rmSync(dirname(socket), { recursive: true }));
  const unix = `http://unix.example {\n\tbind unix/${socket}\n\trealtime\n}`;
  for (const [name, options, sites, warnings] of [
    ["nothing is wrong without a proxy", "", "", [0, 0]],
    ["clients can forge their address", servers(proxied), "", [1, 0]],
    ["nothing is wrong with trusted_proxies_strict", trusting, "", [0, 0]],
    ["clients of a unix socket have no address", "", unix, [0, 1]],
    ["clients of a trusted unix socket can forge theirs", servers("trusted_proxies_unix"), unix, [1, 0]],
    ["nothing is wrong with all three", servers(proxied, "trusted_proxies_strict", "trusted_proxies_unix"), unix, [0, 0]],
  ]) {
    test(name, async () => {
      const site = "handle /a/* {\n\t\trealtime {\n\t\t\tpublish_path /a/publish\n\t\t}\n\t}\n\trealtime";
      const caddy = await Caddy.start({ options, site, sites });
      try {
        assert.deepEqual([caddy.logged(forgeable).length, caddy.logged(absent).length], warnings, caddy.logTail());
      } finally {
        await caddy.close();
      }
    });
  }
});
