// Origins that are allowed, withdrawn and refused, with the stock client.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const [kept, withdrawn] = ["https://kept.example", "https://withdrawn.example"];

const withCaddy = (options, run) => async () => {
  const caddy = await Caddy.start(options);
  try {
    await run(caddy, await caddy.app());
  } finally {
    await caddy.close();
  }
};

/** Clients of an origin over each transport, connected; lost says which of them were disconnected, and why. */
async function connect(caddy, app, origin, lost) {
  for (const [name, list] of Object.entries(transports)) {
    const socket = caddy.socket(app, { transports: list, ...(origin && { extraHeaders: { Origin: origin } }) });
    await once(socket, "connect");
    if (name === "upgrade") await until("upgraded", () => socket.io.engine.transport.name === "websocket");
    socket.on("disconnect", (reason) => lost.push(`${origin} ${name} ${reason} ${socket.active}`));
  }
}

const all = (origin) => Object.keys(transports).map((name) => `${origin} ${name} io server disconnect false`).sort();

const within = async (milliseconds, lost, count) => {
  const begun = performance.now();
  await until(`${count} are disconnected`, () => lost.length >= count);
  assert.ok(performance.now() - begun < milliseconds, `after ${performance.now() - begun} ms`);
};

describe("an origin that is withdrawn", () => {
  test(
    "from an app loses its sockets within a second, and no other does",
    withCaddy({}, async (caddy, app) => {
      const path = `/realtime/apps/${app.id}`;
      assert.equal((await caddy.admin("PATCH", path, { allowed_origins: [kept, withdrawn] })).status, 200);
      const lost = [];
      for (const origin of [kept, withdrawn, undefined]) await connect(caddy, app, origin, lost);
      assert.equal((await caddy.admin("PATCH", path, { allowed_origins: [kept] })).status, 200);
      await within(1000, lost, 3);
      assert.deepEqual(lost.sort(), all(withdrawn));
      const refused = caddy.socket(app, { extraHeaders: { Origin: withdrawn } });
      assert.equal((await once(refused, "connect_error"))[0].data.code, "origin_not_allowed");
    }),
  );

  test(
    "from a site loses its sockets within a second of the reload, and no other does",
    withCaddy({ site: `realtime {\n\torigins ${kept} ${withdrawn}\n}` }, async (caddy, app) => {
      const lost = [];
      for (const origin of [kept, withdrawn, undefined, caddy.origin]) await connect(caddy, app, origin, lost);

      // A reload that fails changes nothing.
      caddy.configure({ site: `realtime {\n\torigins ${kept}\n}`, sites: "https://localhost:1 {\n\ttls /missing.crt /missing.key\n}" });
      assert.notEqual((await caddy.reload()).code, 0);

      // Another site may have what this one had.
      const other = `http://other.example:${caddy.port} {\n\trealtime {\n\t\torigins https://*.example\n\t}\n}`;
      caddy.configure({ site: `realtime {\n\torigins ${kept}\n}`, sites: other });
      assert.equal((await caddy.reload()).code, 0);
      const subscribed = await caddy.subscriber(app, "c", { extraHeaders: { Origin: kept } });
      subscribed.on("disconnect", () => lost.push("the new one"));
      assert.deepEqual(lost, []);

      caddy.configure({ site: `realtime {\n\torigins ${kept}\n}` });
      assert.equal((await caddy.reload()).code, 0);
      await within(1000, lost, 3);
      assert.deepEqual(lost.sort(), all(withdrawn));
      const refused = caddy.socket(app, { extraHeaders: { Origin: withdrawn } });
      assert.equal((await once(refused, "connect_error"))[0].data.code, "origin_not_allowed");
    }),
  );
});
