// Origins that are allowed, withdrawn and refused, with the stock client.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
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
async function connect(caddy, app, origin, lost, options = {}) {
  for (const [name, list] of Object.entries(transports)) {
    const socket = caddy.socket(app, { transports: list, ...(origin && { extraHeaders: { Origin: origin } }), ...options });
    await once(socket, "connect");
    if (name === "upgrade") await until("upgraded", () => socket.io.engine.transport.name === "websocket");
    socket.on("disconnect", (reason) => lost.push(`${origin} ${name} ${reason} ${socket.active}`));
  }
}

const all = (origin) => Object.keys(transports).map((name) => `${origin} ${name} io server disconnect false`).sort();

/** Waits until so many are lost. A second is promised; a busy machine has its share. */
const losesSoon = async (lost, count) => {
  const begun = performance.now();
  await until(`${count} are disconnected`, () => lost.length >= count);
  assert.ok(performance.now() - begun < 5_000, `after ${performance.now() - begun} ms`);
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
      await losesSoon(lost, 3);
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

      const subscribed = await caddy.subscriber(app, "c", { extraHeaders: { Origin: kept } });
      subscribed.on("disconnect", () => lost.push("the new one"));
      assert.deepEqual(lost, []);

      caddy.configure({ site: `realtime {\n\torigins ${kept}\n}` });
      assert.equal((await caddy.reload()).code, 0);
      await losesSoon(lost, 3);
      assert.deepEqual(lost.sort(), all(withdrawn));
      const refused = caddy.socket(app, { extraHeaders: { Origin: withdrawn } });
      assert.equal((await once(refused, "connect_error"))[0].data.code, "origin_not_allowed");
    }),
  );
});

/** Caddyfiles with two sites, of the lines given, and how a client finds the first. */
const pairs = {
  "another host": (caddy) => ({
    where: { uri: `http://127.0.0.1:${caddy.port}` },
    config: (first, second) => ({ site: second, sites: `http://127.0.0.1:${caddy.port} {\n${first}\n}` }),
  }),
  "any other host": (caddy) => ({
    where: { uri: `http://127.0.0.1:${caddy.port}` },
    config: (first, second) => ({ site: "respond 404", sites: `http://127.0.0.1:${caddy.port} {\n${first}\n}\nhttp://:${caddy.port} {\n${second}\n}` }),
  }),
  "another port": (caddy, port) => ({
    where: { uri: `http://localhost:${port}` },
    config: (first, second) => ({ site: second, sites: `http://localhost:${port} {\n${first}\n}` }),
  }),
  "another path": () => ({
    where: { path: "/a/socket.io" },
    config: (first, second) => ({ site: `handle_path /a/* {\n${first}\n}\nhandle {\n${second}\n}` }),
  }),
  "another socket path": () => ({
    where: { path: "/a" },
    config: (first, second) => ({ site: `route {\n${first.replace("{", "{\nsocket_path /a\npublish_path /a/publish")}\n${second}\n}` }),
  }),
};

describe("an origin that is withdrawn from a site loses its sockets, although it is allowed at", () => {
  for (const [name, pair] of Object.entries(pairs)) {
    test(
      name,
      withCaddy({}, async (caddy, app) => {
        const [port] = await freePorts(1);
        const { where, config } = pair(caddy, port);
        const site = (...origins) => `realtime {\n\torigins ${origins.join(" ")}\n}`;
        const use = async (first, second) => {
          caddy.configure(config(first, second));
          await caddy.load();
        };
        for (const other of ["realtime {\n}", site(withdrawn, kept)]) {
          await use(site(kept, withdrawn), other);
          const lost = [];
          for (const origin of [kept, withdrawn]) await connect(caddy, app, origin, lost, where);
          if (name !== "any other host") await connect(caddy, app, withdrawn, lost);
          await use(site(kept, withdrawn), other);
          assert.deepEqual(lost, [], "nothing was withdrawn");
          await use(site(kept), other);
          await losesSoon(lost, 3);
          assert.deepEqual(lost.sort(), all(withdrawn));
        }
      }),
    );
  }
});

test(
  "an origin that is withdrawn from a site keeps the sockets that another site may serve, and those of a site that moved",
  withCaddy({}, async (caddy, app) => {
    const site = (...origins) => `realtime {\n\torigins ${origins.join(" ")}\n}`;
    const use = async (options) => {
      caddy.configure(options);
      await caddy.load();
    };
    // Only a request has what the matcher looks at.
    const split = (here) => ({ site: `@friend header X-Friend *\nhandle @friend {\n${site(withdrawn)}\n}\nhandle {\n${here}\n}` });
    await use(split(site(kept, withdrawn)));
    const lost = [];
    await connect(caddy, app, withdrawn, lost);
    await use(split(site(kept)));
    assert.deepEqual(lost, []);
    // A poll finds nothing where the site was.
    const open = () => lost.filter((line) => !line.includes(" polling "));
    await use({ site: `handle_path /moved/* {\n${site(withdrawn)}\n}\nhandle /publish* {\n${site(kept)}\n}` });
    assert.deepEqual(open(), []);
    await use({ site: `handle_path /moved/* {\n${site(kept)}\n}\nhandle /publish* {\n${site(kept)}\n}` });
    await until("both are disconnected", () => open().length === 2);
    assert.deepEqual(open().sort(), all(withdrawn).filter((line) => !line.includes(" polling ")));
  }),
);

test(
  "a publish with two Origin headers is refused, as an app's list would see the first only",
  withCaddy({}, async (caddy, app) => {
    const publish = (Origin) =>
      caddy.request("POST", "/publish", {
        headers: { Origin, "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` },
        body: '{"channel":"a","event":"e"}',
      });
    const { status, json } = await publish([kept, withdrawn]);
    assert.equal(status, 400);
    assert.match(json.error.message, /The Origin header has more than one value\. Send it once\./);
    assert.equal((await publish([kept])).status, 200);
  }),
);

// Those of TestTheAdviceForARefusedOriginIsAcceptedWhenItIsFollowed.
const sent = `file:// null capacitor://localhost ionic://localhost app://. app://localhost tauri://localhost http://tauri.localhost
  https://tauri.localhost chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc
  safari-web-extension://1C127FA4-62C7-7E4F-90E5-472B45EECFDC vscode-webview://0abc ms-appx-web://app http://localhost
  http://localhost:5173 https://a.example:8443 https://a.example. http://a_b.example http://[::1] http://[2001:db8::1]:3000
  http://192.0.2.1:8080 https://xn--grn-joa.example`.split(/\s+/);

test(
  "an app takes every origin that browsers, web views and devices send, through the admin API and the portal's form, and lets it in",
  withCaddy({ site: "realtime {\n\torigins *\n}" }, async (caddy, app) => {
    const path = `/realtime/apps/${app.id}`;
    const publish = (Origin) =>
      caddy.request("POST", "/publish", {
        headers: { Origin, "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` },
        body: '{"channel":"a","event":"e"}',
      });
    const form = async (origins) => {
      const { headers } = await caddy.admin("GET", path);
      return caddy.request("POST", `/realtime/app/${app.id}`, {
        origin: caddy.adminOrigin,
        documented: false,
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams({ do: "save", etag: headers.etag, name: app.name, enabled: "on", origins }).toString(),
      });
    };
    const other = "https://other.example";
    for (const origin of sent) {
      for (const save of [
        async () => assert.equal((await caddy.admin("PATCH", path, { allowed_origins: [origin] })).status, 200, origin),
        async () => assert.equal((await form(`${origin}\r\n`)).status, 303, origin),
      ]) {
        assert.equal((await caddy.admin("PATCH", path, { allowed_origins: [other] })).status, 200);
        assert.equal((await publish(origin)).json.error.code, "origin_not_allowed", origin);
        await save();
        assert.equal((await publish(origin)).status, 200, origin);
      }
    }
  }),
);
