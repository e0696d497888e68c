// The documentation page: what is on it works when it is copied.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
import { once } from "./lib/wait.mjs";
import { createRequire } from "node:module";

const entities = { "&#34;": '"', "&#39;": "'", "&lt;": "<", "&gt;": ">", "&amp;": "&", "&#43;": "+" };
const text = (html) => html.replace(/<[^>]*>/g, "").replace(/&#?\w+;/g, (entity) => entities[entity] ?? entity);

test("the docs page has the site's own origin, paths and limits, and its snippets work", async () => {
  const caddy = await Caddy.start({ rateLimit: "5 1h", global: "max_channels 7", site: "route {\nrealtime {\n\tsocket_path /rt\n\tdocs_path /docs\n}\nrespond next 410\n}" });
  try {
    const page = await caddy.request("GET", "/docs");
    assert.equal(page.status, 200);
    assert.match(page.headers["content-type"], /^text\/html/);
    assert.match(page.headers["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
    assert.equal(page.headers["cache-control"], "no-store");
    assert.equal((await caddy.request("GET", "/docs/")).status, 200);
    assert.equal((await caddy.request("HEAD", "/docs")).status, 200);
    const post = await caddy.request("POST", "/docs");
    assert.equal(post.status, 405);
    assert.equal(post.json.error.code, "method_not_allowed");
    assert.equal((await caddy.request("GET", "/docs/more")).status, 410);

    const snippets = [...page.text.matchAll(/<pre[^>]*><code>([^]*?)<\/code><\/pre>/g)].map(([, code]) => text(code));
    assert.ok(text(page.text).includes("5 in any 1h"), "the limit");
    assert.match(text(page.text), /Channels per socket\s*7/);
    for (const code of ["key_revoked", "rate_limited", "too_many_channels"]) assert.ok(page.text.includes(`id="${code}"`));

    const app = await caddy.app();
    const fill = (snippet) =>
      snippet.replace(/YOUR_APP_ID/g, app.id).replace(/YOUR_PUBLISH_KEY/g, app.publish_key).replace(/YOUR_SUBSCRIBE_KEY/g, app.subscribe_key);
    const client = fill(snippets.find((code) => code.includes("socket.io-client"))).replace(/^import.*$/m, "");
    const { io } = createRequire(import.meta.url)("socket.io-client");
    const logged = [];
    const socket = new Function("io", "console", `${client}\nreturn socket;`)(io, { log: (...args) => logged.push(args), error: console.error });
    await once(socket, "subscribed");
    const heard = once(socket, "order.updated");
    process.env.REALTIME_URL = caddy.origin;
    process.env.REALTIME_APP_ID = app.id;
    process.env.REALTIME_PUBLISH_KEY = app.publish_key;
    await new Function(`return (async () => { ${snippets.find((code) => code.startsWith("await fetch"))} })()`)();
    assert.deepEqual(await heard, [{ id: 42 }]);
    const again = once(socket, "order.updated");
    await new Function(`return (async () => { ${snippets.find((code) => code.startsWith("const answer"))} })()`)();
    assert.deepEqual(await again, [{ id: 42 }]);
    assert.match(snippets.find((code) => code.startsWith("curl")), /^curl -X POST "http:\/\/localhost:\d+\/publish" \\\n/);
    assert.deepEqual(logged.at(0), ["Joined", "orders.42"]);
    socket.disconnect();
  } finally {
    await caddy.close();
  }
});

test("every error links to where the page explains it", async () => {
  const caddy = await Caddy.start({ global: "max_channels 1", site: "realtime {\n\tdocs_path /help\n}" });
  try {
    const page = await caddy.request("GET", "/help");
    const explained = (error) => {
      const [url, code] = error.docs.split("#");
      assert.equal(url, `${caddy.origin}/help`);
      assert.equal(code, error.code);
      assert.ok(page.text.includes(`<tr id="${code}">`), `the page says nothing of ${code}`);
    };
    const app = await caddy.app();
    explained((await caddy.publish({ ...app, publish_key: "pk_live_wrong" }, {})).json.error);
    explained((await caddy.request("GET", "/publish")).json.error);
    explained((await caddy.request("POST", "/help")).json.error);
    const [refused] = await once(caddy.socket({ ...app, subscribe_key: app.publish_key }), "connect_error");
    explained(refused.data);
    const socket = await caddy.subscriber(app, "a");
    const event = once(socket, "subscribe_error");
    explained((await socket.emitWithAck("subscribe", "b")).error);
    explained((await event)[0]);
    explained((await socket.emitWithAck("chat", "hello")).error);
  } finally {
    await caddy.close();
  }
});

test("without docs_path a site's own /docs is not shadowed", async () => {
  const caddy = await Caddy.start({ site: "route {\nrealtime\nrespond next 410\n}" });
  try {
    assert.equal((await caddy.request("GET", "/docs")).status, 410);
    assert.deepEqual(Object.keys((await caddy.request("GET", "/publish")).json.error), ["code", "message"]);
  } finally {
    await caddy.close();
  }
});

test("a Host that is none is in no snippet and no link", async () => {
  const [port] = await freePorts(1);
  const origin = `http://localhost:${port}`;
  const caddy = await Caddy.start({ sites: `http://:${port} {\nrealtime {\n\tdocs_path /\n}\n}` });
  try {
    const page = await caddy.request("GET", "/", { origin, headers: { Host: "$(id)" } });
    assert.equal(page.status, 200);
    assert.ok(!page.text.includes("$(id)"), page.text);
    assert.ok(page.text.includes("https://YOUR_SITE/publish"));
    assert.equal((await caddy.request("GET", "/publish", { origin, headers: { Host: "$(id)" } })).json.error.docs, undefined);
    assert.equal((await caddy.request("GET", "/publish", { origin })).json.error.docs, `${origin}/#method_not_allowed`);
    const socket = caddy.socket({ id: "app_x", subscribe_key: "x" }, { uri: origin });
    assert.equal((await once(socket, "connect_error"))[0].data.docs, `${origin}/#unknown_app`);
  } finally {
    await caddy.close();
  }
});

test("the scheme is that of a trusted proxy's client", async () => {
  for (const [options, scheme] of [["servers {\n\t\ttrusted_proxies static 127.0.0.1/32 ::1/128\n\t}", "https"], ["", "http"]]) {
    const caddy = await Caddy.start({ options, site: "realtime {\n\tdocs_path /docs\n}" });
    try {
      const headers = { "X-Forwarded-Proto": "https" };
      const origin = caddy.origin.replace("http:", `${scheme}:`);
      assert.ok((await caddy.request("GET", "/docs", { headers })).text.includes(`curl -X POST "${origin}/publish"`));
      assert.equal((await caddy.request("GET", "/publish", { headers })).json.error.docs, `${origin}/docs#method_not_allowed`);
      const socket = caddy.socket({ id: "app_x", subscribe_key: "x" }, { extraHeaders: headers });
      assert.equal((await once(socket, "connect_error"))[0].data.docs, `${origin}/docs#unknown_app`);
    } finally {
      await caddy.close();
    }
  }
});
