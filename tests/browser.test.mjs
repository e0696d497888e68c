// A real Chromium: the examples' page over TLS, and pages of other origins.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { dist, foreignSite, launch } from "./lib/browser.mjs";
import { Caddy, root, transports } from "./lib/caddy.mjs";
import { Relay } from "./lib/relay.mjs";
import { once, until } from "./lib/wait.mjs";

const page = `handle_path /lib/* {
	root ${dist}
	file_server
}
root ${root}examples/browser
file_server`;

describe("in Chromium", () => {
  let caddy, app, browser, foreign;
  before(async () => {
    foreign = await foreignSite();
    caddy = await Caddy.start({ tls: true, rateLimit: "600 1m", site: `realtime {\n\tdocs_path /docs\n}\n${page}` });
    app = await caddy.app();
    browser = await launch(caddy);
  });
  after(async () => {
    await browser?.close();
    foreign.close();
    await caddy.close();
  });

  test("the documentation page is readable in light and dark, and breaks no policy", async () => {
    const tab = await browser.newPage();
    const complaints = [];
    tab.on("console", (message) => complaints.push(message.text()));
    tab.on("pageerror", (err) => complaints.push(err));
    for (const colorScheme of ["light", "dark"]) {
      await tab.emulateMedia({ colorScheme });
      await tab.goto(`${caddy.origin}/docs`);
      assert.equal(await tab.title(), "Developer documentation");
      assert.ok(await tab.getByText(`POST to ${caddy.origin}/publish`).isVisible());
      const background = await tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(background, colorScheme === "light" ? "rgb(255, 255, 255)" : "rgb(20, 25, 31)", "its own style is applied");
      assert.deepEqual(complaints, []);
    }
    await tab.close();
  });

  test("the examples' page shows an event, by its form and by its link", async () => {
    const tab = await browser.newPage();
    const errors = [];
    tab.on("pageerror", (err) => errors.push(err));
    const relay = await Relay.start(new URL(caddy.origin).port);
    for (const colorScheme of ["light", "dark"]) {
      await tab.emulateMedia({ colorScheme });
      await tab.goto("about:blank"); // a link that differs in its fragment loads no page
      if (colorScheme === "light") {
        await tab.goto(relay.origin.replace("http:", new URL(caddy.origin).protocol));
        await tab.getByLabel("App id").fill(app.id);
        await tab.getByLabel("Subscribe key").fill(app.subscribe_key);
        await tab.getByLabel("Channel").fill("orders.7");
        await tab.getByRole("button", { name: "Subscribe" }).click();
      } else {
        await tab.goto(`${caddy.origin}/#app=${app.id}&key=${app.subscribe_key}&channel=orders.7`);
      }
      await tab.getByText("Subscribed to orders.7.").waitFor();
      await caddy.published(app, { channel: "orders.7", event: "order.updated", data: { id: 7, html: "<b>not bold</b>" } });
      await tab.getByText("order.updated").waitFor();
      assert.match(await tab.locator("#events pre").textContent(), /"html": "<b>not bold<\/b>"/);
      if (colorScheme === "light") {
        const [{ id }] = (await caddy.admin("GET", `/realtime/connections/${app.id}`)).json.connections;
        relay.cut();
        await tab.getByText(/^Disconnected .* coming back\.$/).waitFor();
        await caddy.published(app, { channel: "orders.7", event: "order.missed" });
        await tab.getByText("Subscribed to orders.7. Nothing was missed.").waitFor();
        assert.equal(await tab.locator("#events li", { hasText: "order.missed" }).locator("pre").textContent(), "no data");
        assert.deepEqual((await caddy.admin("GET", `/realtime/connections/${app.id}`)).json.connections.map((each) => each.id), [id]);
      }
      assert.deepEqual(errors, []);
    }
    await tab.close();
    relay.close();
  });

  test("the examples' page says why it was refused", async () => {
    const tab = await browser.newPage();
    await tab.goto(`${caddy.origin}/#app=${app.id}&key=${app.publish_key}`);
    await tab.getByText(/^wrong_key_kind: /).waitFor();
    await tab.goto("about:blank");
    await tab.goto(`${caddy.origin}/#app=${app.id}&key=${app.subscribe_key}&channel=no+spaces`);
    await tab.getByText(/^invalid_channel: /).waitFor();
    await tab.close();
  });

  for (const [name, list] of Object.entries(transports)) {
    test(`a page of another origin subscribes over ${name}`, async () => {
      const tab = await browser.newPage();
      await tab.goto(foreign.origin);
      await tab.evaluate(subscribe, { origin: caddy.origin, app, list });
      if (name === "upgrade") await tab.waitForFunction(() => socket.io.engine.transport.name === "websocket");
      for (let n = 0; n < 20; n++) await caddy.published(app, { channel: "shop", event: "e", data: n });
      await tab.waitForFunction(() => got.length >= 20);
      assert.deepEqual(await tab.evaluate(() => got), Array.from({ length: 20 }, (_, n) => n));
      assert.equal(await tab.evaluate(() => socket.io.engine.transport.name), name === "polling" ? "polling" : "websocket");
      await tab.close();
    });
  }

  test("a client that sends cookies has to be named", async () => {
    const tab = await browser.newPage();
    const complaints = [];
    tab.on("console", (message) => complaints.push(message.text()));
    await tab.goto(foreign.origin);
    const err = await tab.evaluate(refusal, { origin: caddy.origin, app, list: ["polling"], withCredentials: true });
    assert.equal(err.message, "xhr poll error");
    assert.match(complaints.join("\n"), /must not be the wildcard '\*'/);
    await tab.close();
  });

  test("a page of another origin publishes with fetch, preflight and all", async () => {
    const socket = await caddy.subscriber(app, "from.page");
    const event = once(socket, "e");
    const tab = await browser.newPage();
    await tab.goto(foreign.origin);
    const answer = await tab.evaluate(publish, { origin: caddy.origin, app, channel: "from.page" });
    assert.equal(answer.status, 200);
    assert.ok(answer.body.id);
    assert.deepEqual(await event, [{ id: 1 }]);
    // Errors are readable for the page, too.
    const refused = await tab.evaluate(publish, { origin: caddy.origin, app: { ...app, publish_key: "pk_live_wrong" }, channel: "x" });
    assert.equal(refused.status, 401);
    assert.equal(refused.body.error.code, "invalid_key");
    assert.equal(typeof answer.limit, "string", "RateLimit-Limit is not exposed to the page");
    await tab.close();
  });
});

describe("in Chromium, where the site names its origins", () => {
  let caddy, app, browser, foreign, friend;
  before(async () => {
    foreign = await foreignSite();
    friend = await foreignSite();
    caddy = await Caddy.start({ tls: true, site: `realtime {\n\torigins ${friend.origin}\n}\n${page}` });
    app = await caddy.app();
    browser = await launch(caddy);
  });
  after(async () => {
    await browser?.close();
    foreign.close();
    friend.close();
    await caddy.close();
  });

  for (const [name, list] of Object.entries(transports)) {
    test(`a refused origin is told so over ${name}, and a named one is let in`, async () => {
      const tab = await browser.newPage();
      await tab.goto(foreign.origin);
      const err = await tab.evaluate(refusal, { origin: caddy.origin, app, list });
      assert.equal(err.code, "origin_not_allowed", JSON.stringify(err));
      assert.ok(err.message.includes(foreign.origin), err.message);
      assert.equal(err.active, false);

      await tab.goto(friend.origin);
      await tab.evaluate(subscribe, { origin: caddy.origin, app, list, withCredentials: true });
      await caddy.published(app, { channel: "shop", event: "e", data: 1 });
      await tab.waitForFunction(() => got.length === 1);
      await tab.close();
    });
  }

  test("the log has the line to add", async () => {
    await until("the log line", () => caddy.logged(new RegExp(`origins [^"]*${foreign.origin}`)).length);
  });

  test("POST /publish from a refused origin fails", async () => {
    const tab = await browser.newPage();
    await tab.goto(foreign.origin);
    const answer = await tab.evaluate(publish, { origin: caddy.origin, app, channel: "x" });
    assert.ok(answer.failed || answer.body.error.code === "origin_not_allowed", JSON.stringify(answer));
    await tab.goto(friend.origin);
    assert.equal((await tab.evaluate(publish, { origin: caddy.origin, app, channel: "x" })).status, 200);
    await tab.close();
  });

  test("the site's own page needs no line", async () => {
    const tab = await browser.newPage();
    await tab.goto(`${caddy.origin}/#app=${app.id}&key=${app.subscribe_key}&channel=orders.7`);
    await tab.getByText("Subscribed to orders.7.").waitFor();
    await tab.close();
  });
});

/* global io, socket, got -- what follows runs in the page */

async function subscribe({ origin, app, list, withCredentials }) {
  window.got = [];
  window.socket = io(origin, { transports: list, withCredentials, auth: { appId: app.id, subscribeKey: app.subscribe_key } });
  socket.on("e", (data) => got.push(data));
  await new Promise((resolve, reject) => {
    socket.on("connect_error", reject);
    socket.emit("subscribe", "shop", resolve);
  });
}

function refusal({ origin, app, list, withCredentials }) {
  const refused = io(origin, { transports: list, withCredentials, auth: { appId: app.id, subscribeKey: app.subscribe_key } });
  return new Promise((resolve) => {
    refused.on("connect", () => resolve({ code: "connected" }));
    refused.on("connect_error", (err) => resolve({ ...err.data, message: err.message, active: refused.active }));
  });
}

async function publish({ origin, app, channel }) {
  try {
    const answer = await fetch(`${origin}/publish`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` },
      body: JSON.stringify({ channel, event: "e", data: { id: 1 } }),
    });
    return { status: answer.status, body: await answer.json(), limit: answer.headers.get("RateLimit-Limit") };
  } catch (err) {
    return { failed: String(err) };
  }
}
