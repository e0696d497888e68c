// What SECURITY.md has operators write so that no session id is in their access
// log.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Caddy, root, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const security = readFileSync(join(root, "SECURITY.md"), "utf8");
const [, documented] = security.match(/```caddyfile\n(log \{\n\tformat filter[^]*?\n\})\n```/) ?? [];

describe("the log filter of SECURITY.md", () => {
  let caddy, app;
  before(async () => {
    assert.ok(documented, "SECURITY.md has the filter");
    caddy = await Caddy.start({ site: `${documented}\nrealtime` });
    app = await caddy.app();
  });
  after(() => caddy.close());

  const accesses = () => caddy.logged(/http\.log\.access/).map((line) => JSON.parse(line));

  for (const name of ["polling", "upgrade"]) {
    test(`keeps session ids out of the access log: ${name}`, async () => {
      const socket = caddy.socket(app, { transports: transports[name] });
      const sids = new Set();
      socket.io.engine.on("handshake", ({ sid }) => sids.add(sid));
      await once(socket, "connect");
      const wanted = name === "polling" ? "polling" : "websocket";
      await until("the transport", () => socket.io.engine.transport.name === wanted);
      const channel = `log.${name}`;
      await socket.timeout(5_000).emitWithAck("subscribe", channel);
      const before = accesses().length;
      socket.disconnect();
      // Caddy serves another spelling with a redirect that has the query.
      const [sid] = sids;
      assert.equal(sid?.length, 20);
      const moved = await caddy.request("GET", `/Socket.IO/?EIO=4&transport=polling&sid=${sid}`);
      assert.equal(moved.status, 308);
      assert.ok(moved.headers.location.includes(sid));
      await until("it is logged", () => accesses().length > before && accesses().some(({ status }) => status === 308));
      await until("polls are logged", () => accesses().some(({ request }) => /sid=REDACTED/.test(request.uri)));
      assert.deepEqual(caddy.logged(new RegExp(sid)), []);
    });
  }

  test("leaves the rest of the entry", () => {
    const entry = accesses().find(({ request }) => /sid=REDACTED/.test(request.uri));
    assert.match(entry.request.uri, /^\/socket\.io\/\?.*transport=(polling|websocket)/);
    assert.equal(entry.request.host, caddy.origin.replace("http://", ""));
    assert.equal(typeof entry.status, "number");
  });
});
