// The portal, as a person uses it, in a real Chromium.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { foreignSite, launch, lowContrast, nameless, offScreen, picture } from "./lib/browser.mjs";
import { Caddy, bin } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";
import { once, until } from "./lib/wait.mjs";

/** Runs `caddy realtime portal`, and returns it with its link, below which all pages are. */
async function openPortal(caddy, ...args) {
  const program = new Program(bin, ["realtime", "portal", "--address", `localhost:${caddy.adminPort}`, ...args], { env: caddy.env });
  const [link] = await program.prints(/http:\/\/127\.0\.0\.1:\d+\/[A-Z2-7]{26}\//);
  return { program, link };
}

/** A page that remembers what it complained about. */
async function newTab(context) {
  const tab = await context.newPage();
  tab.complaints = [];
  tab.on("console", (message) => ["error", "warning"].includes(message.type()) && tab.complaints.push(message.text()));
  tab.on("pageerror", (err) => tab.complaints.push(String(err)));
  return tab;
}

/** Presses Tab until a control has the focus, as who has no mouse does. */
async function tabTo(tab, control, key = "Tab") {
  let element = await control.elementHandle();
  for (let presses = 0; presses < 200; presses++) {
    const [there, focused] = await element.evaluate((el) => [el.isConnected, el === document.activeElement]);
    if (focused) return;
    if (there) await tab.keyboard.press(key);
    else element = await control.elementHandle(); // a table was read again
  }
  assert.fail(`the keyboard does not reach ${control}`);
}

async function press(tab, control, key = "Enter") {
  await tabTo(tab, control);
  await tab.keyboard.press(key);
}

async function fill(tab, control, text) {
  await tabTo(tab, control);
  await tab.keyboard.press("ControlOrMeta+A");
  await tab.keyboard.type(text);
}

// For all portals but those over TLS, whose CA is an option of the browser's.
const browser = await launch({});
after(() => browser.close());

describe("the portal", () => {
  let caddy, portal, context;
  before(async () => {
    caddy = await Caddy.start({ rateLimit: "600 1m", site: "realtime {\n\tdocs_path /docs\n}" });
    portal = await openPortal(caddy);
    context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
  });
  after(async () => {
    await context?.close();
    assert.equal(await portal?.program.stop("SIGINT"), 0, portal?.program.output);
    await caddy.close();
  });

  test("from nothing to a revoked key, by keyboard alone", async () => {
    const tab = await newTab(context);
    const answer = await tab.goto(portal.link);
    assert.match(answer.headers()["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
    assert.equal(answer.headers()["x-frame-options"], "DENY");
    assert.equal(answer.headers()["cache-control"], "no-store");
    assert.equal(await tab.title(), "Apps · Realtime");
    assert.equal(answer.headers()["referrer-policy"], "same-origin");
    assert.deepEqual(await context.cookies(), [], "there is a cookie, which browsers send to all ports");
    await tab.getByText("No apps yet.").waitFor();
    await picture(tab, "portal-empty");

    // Make an app, copy its keys.
    await fill(tab, tab.getByLabel("Name"), "Shop & <Co>");
    await tab.keyboard.press("Enter");
    await tab.getByText("Copy now: shown only this once").waitFor();
    assert.equal(await tab.evaluate(() => document.activeElement.id), "issued", "the focus is not where the keys are");
    const copied = async (name) => {
      await press(tab, tab.getByRole("button", { name }));
      await tab.getByRole("button", { name: "Copied" }).waitFor();
      const text = await tab.evaluate(() => navigator.clipboard.readText());
      await tab.getByRole("button", { name }).waitFor();
      return text;
    };
    const publishKey = await copied("Copy publish key");
    const subscribeKey = await copied("Copy subscribe key");
    assert.match(publishKey, /^pk_live_/);
    assert.match(subscribeKey, /^sub_live_/);
    const id = await tab.locator("#app-id").textContent();
    await picture(tab, "portal-created");

    // Paste the browser's snippet into a page of the developer's.
    await press(tab, tab.locator("summary", { hasText: "browser" }));
    const snippet = await copied("Copy browser");
    assert.ok(snippet.includes(caddy.origin) && snippet.includes(id) && snippet.includes(subscribeKey), snippet);
    const developer = await foreignSite();
    const page = await context.newPage();
    await page.goto(developer.origin);
    const logged = [];
    page.on("console", (message) => logged.push(message.text()));
    await page.evaluate(`{ ${snippet.replace(/^import.*$/m, "")}\nwindow.socket = socket; socket.on("disconnect", (reason) => console.log("gone:", reason)); }`);

    // Publish from the console; see it arrive here and there.
    await tab.getByText("1 connected", { exact: true }).waitFor();
    await tab.locator("#tail .subscribed", { hasText: "orders.42" }).waitFor();
    await fill(tab, tab.getByLabel("Data, as JSON"), '{"id":42,"html":"<b>"}');
    await press(tab, tab.getByRole("button", { name: "Publish", exact: true }));
    await tab.getByText(/^Published as \S+ to 1 subscriber\.$/).waitFor();
    await tab.locator("#tail .published", { hasText: 'order.updated to orders.42, 1 subscriber: {"id":42,"html":"<b>"}' }).waitFor();
    await until("the event in the page", () => logged.some((line) => line.includes("html: <b>")));
    await tab.getByRole("link", { name: "orders.42" }).waitFor(); // the tables follow
    await picture(tab, "portal-live");

    // Publish to several channels, without keeping the event.
    await fill(tab, tab.getByLabel("Channel", { exact: true }), "orders.42\n\n orders,all \n");
    await press(tab, tab.getByLabel("Keep in history"), " ");
    await press(tab, tab.getByRole("button", { name: "Publish", exact: true }));
    await tab.getByText(/^Published to orders\.42 as \S+ to 1 subscriber, orders,all as \S+ to 0 subscribers\.$/).waitFor();
    await tab.locator("#tail .published", { hasText: "order.updated to orders,all, 0 subscribers" }).waitFor();
    const late = await caddy.socket({ id, subscribe_key: subscribeKey });
    await once(late, "connect");
    assert.equal((await late.emitWithAck("subscribe", "orders,all", { rewind: 10 })).replayed, 0);
    assert.equal((await late.emitWithAck("subscribe", "orders.42", { rewind: 10 })).replayed, 1);
    late.disconnect();
    await fill(tab, tab.getByLabel("Channel", { exact: true }), "orders.42\norders.42");
    await press(tab, tab.getByRole("button", { name: "Publish", exact: true }));
    await tab.getByText(/^invalid_request: channels\[1\]: "orders\.42" is also channels\[0\]/).waitFor();
    await fill(tab, tab.getByLabel("Channel", { exact: true }), "orders.42");

    // What is refused is told with its cure.
    await fill(tab, tab.getByLabel("Data, as JSON"), "hello");
    await press(tab, tab.getByRole("button", { name: "Publish", exact: true }));
    await tab.getByText(/^invalid_json: .*in quotes: "hello"/).waitFor();
    await caddy.publish({ id, publish_key: subscribeKey }, {});
    await tab.locator("#tail .refused", { hasText: "wrong_key_kind" }).waitFor();
    // The browser tells its console of the console's 400; of nothing else.
    assert.deepEqual(tab.complaints.splice(0).filter((text) => !text.includes("400")), []);

    // Rotate the subscribe key: the page stays.
    const row = tab.getByRole("row", { name: `sub_live_…${subscribeKey.slice(-4)}` });
    await press(tab, row.locator("summary", { hasText: "Rotate" }));
    await press(tab, row.getByRole("button", { name: "Rotate key" }));
    await tab.getByText("Copy now: shown only this once").waitFor();
    const successor = await tab.locator("#new-subscribe").textContent();
    assert.notEqual(successor, subscribeKey);
    await row.getByText(/^until /).waitFor();
    assert.ok(await page.evaluate(() => window.socket.connected));
    await picture(tab, "portal-rotated");

    // Revoke the old one: the page is disconnected.
    await press(tab, row.locator("summary", { hasText: "Revoke" }));
    await row.getByText("its connections (1 now) closed").waitFor();
    await press(tab, row.getByRole("button", { name: "Revoke this key" }));
    await tab.getByRole("status").filter({ hasText: "The key is revoked" }).waitFor();
    await until("the page is told", () => logged.some((line) => line === "gone: io server disconnect"));
    await row.getByText(/^revoked /).waitFor();
    await tab.getByText("0 connected", { exact: true }).waitFor();
    await picture(tab, "portal-revoked");
    await once(caddy.socket({ id, subscribe_key: successor }), "connect");
    assert.deepEqual(tab.complaints, []);
    assert.doesNotMatch(caddy.logs.join("\n"), new RegExp(`${publishKey}|${subscribeKey}|${successor}`), "a key is in the log");
    developer.close();
    await page.close();
    await tab.close();
  });

  const appTab = async (app) => {
    const tab = await newTab(context);
    await tab.goto(`${portal.link}app/${app.id}`);
    return tab;
  };

  test("settings are changed, kept, and refused with a reason", async () => {
    const app = await caddy.app("settings");
    const tab = await appTab(app);
    await tab.getByLabel("Name", { exact: true }).fill("renamed");
    await tab.getByLabel("Publishes").fill("2");
    await tab.getByLabel("in any").fill("1h");
    for (const [label, usual] of [["Messages kept per channel", "100"], ["for", "2m"], ["Recovery within", "2m"]]) {
      assert.equal(await tab.getByLabel(label, { exact: true }).getAttribute("placeholder"), usual, `the default of ${label}`);
    }
    await tab.getByLabel("Messages kept per channel").fill("50");
    await tab.getByLabel("for", { exact: true }).fill("10m");
    await tab.getByLabel("Recovery within").fill("5m");
    await tab.getByLabel("Connections", { exact: true }).fill("7");
    await tab.getByLabel(/^Origins/).fill("https://a.example\nhttps://*.b.example");
    await tab.getByRole("button", { name: "Save" }).click();
    await tab.getByText("Saved. The change applies from the next request.").waitFor();
    const saved = (await caddy.admin("GET", `/realtime/apps/${app.id}`)).json;
    assert.equal(saved.name, "renamed");
    assert.deepEqual(saved.rate_limit, { publishes: 2, window: "1h" });
    assert.deepEqual(saved.history, { messages: 50, age: "10m" });
    assert.equal(saved.recovery, "5m");
    assert.equal(saved.max_connections, 7);
    assert.equal(saved.max_channels, null);
    assert.deepEqual(saved.allowed_origins, ["https://a.example", "https://*.b.example"]);
    assert.equal(await tab.getByLabel("Connections", { exact: true }).inputValue(), "7");

    await tab.getByLabel("Recovery within").fill("soon");
    await tab.getByRole("button", { name: "Save" }).click();
    await tab.getByRole("alert").filter({ hasText: "recovery is a duration" }).waitFor();
    await tab.goto(`${portal.link}app/${app.id}`);
    await tab.getByLabel("Connections", { exact: true }).fill("many");
    await tab.getByRole("button", { name: "Save" }).click();
    await tab.getByRole("alert").filter({ hasText: "max_connections is a whole number" }).waitFor();

    // Somebody else was faster.
    await tab.goto(`${portal.link}app/${app.id}`);
    await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { max_channels: 3 });
    await tab.getByLabel("Name", { exact: true }).fill("overwritten");
    await tab.getByRole("button", { name: "Save" }).click();
    await tab.getByRole("alert").filter({ hasText: "changed in the meantime" }).waitFor();
    assert.equal((await caddy.admin("GET", `/realtime/apps/${app.id}`)).json.name, "renamed");

    await tab.goto(`${portal.link}app/${app.id}`);
    await tab.getByLabel("Enabled").uncheck();
    await tab.getByRole("button", { name: "Save" }).click();
    await tab.getByText("This app is disabled.").waitFor();
    await picture(tab, "portal-settings");
    await tab.getByRole("button", { name: "Publish", exact: true }).click();
    await tab.getByText(/^app_disabled: /).waitFor();
    await tab.close();
  });

  test("what happens before the page is told what happens is on it, too", async () => {
    const app = await caddy.app("late");
    const tab = await newTab(context);
    let begin;
    const begun = new Promise((resolve) => (begin = resolve));
    await tab.route(`**/app/${app.id}/live`, async (route) => {
      await begun;
      await route.continue();
    });
    await tab.goto(`${portal.link}app/${app.id}`);
    await caddy.subscriber(app, "early");
    assert.equal(await tab.getByRole("link", { name: "early" }).count(), 0);
    begin();
    await tab.getByRole("link", { name: "early" }).waitFor();
    await tab.close();
  });

  test("of many tabs some are live, and all can be used", async () => {
    const app = await caddy.app("tabs");
    const tabs = []; // more than the six connections that a browser has to a server
    for (let n = 0; n < 7; n++) tabs.push(await appTab(app));
    for (const tab of tabs.slice(4)) await tab.getByText("This page is not live: 4 others are.").waitFor();
    const last = tabs.pop();
    await last.getByRole("button", { name: "Publish", exact: true }).click();
    await last.getByText(/^Published as /).waitFor();
    for (const tab of tabs.slice(0, 4)) await tab.getByText("order.updated to orders.42").waitFor();
    assert.equal(await last.getByText("order.updated to orders.42").count(), 0);

    // A place that is free is taken.
    for (const tab of tabs) await tab.close();
    await until("the last tab is live", async () => (await last.locator("#broken").textContent()) === "");
    await last.getByRole("button", { name: "Publish", exact: true }).click();
    await last.getByText("order.updated to orders.42").waitFor();
    assert.deepEqual(last.complaints, []);
    await last.close();
  });

  test("keys with labels and an end are added, one client is disconnected, and an app is deleted by its name", async () => {
    const app = await caddy.app("short-lived");
    const tab = await appTab(app);
    await tab.locator("summary", { hasText: "Add a key" }).click();
    await tab.getByLabel("Kind", { exact: false }).selectOption("subscribe");
    await tab.getByLabel("Label").fill("kiosk");
    await tab.locator("select[name=days]").selectOption("30");
    await tab.getByRole("button", { name: "Add key" }).click();
    const key = await tab.locator("#new-subscribe").textContent();
    await tab.getByRole("row", { name: /kiosk until / }).waitFor();

    const sockets = [];
    for (const channel of ["a/b", "c"]) sockets.push(await caddy.subscriber({ ...app, subscribe_key: key }, channel));
    await tab.getByRole("link", { name: "a/b" }).click();
    await tab.getByRole("heading", { name: "Connections in a/b" }).waitFor();
    assert.equal(await tab.locator("#connected tbody tr").count(), 1);
    const gone = once(sockets[0], "disconnect");
    await tab.getByRole("button", { name: `Disconnect ${sockets[0].id}` }).click();
    assert.equal((await gone)[0], "io server disconnect");
    await tab.getByText("The connection is closed.").waitFor();
    assert.ok(sockets[1].connected);

    await tab.locator("summary", { hasText: "Delete this app" }).click();
    await tab.getByLabel("Type its name to confirm").fill("another");
    await tab.getByRole("button", { name: "Delete permanently" }).click();
    await tab.getByRole("alert").filter({ hasText: 'Type "short-lived"' }).waitFor();
    const also = once(sockets[1], "disconnect");
    await tab.locator("summary", { hasText: "Delete this app" }).click();
    await tab.getByLabel("Type its name to confirm").fill("short-lived");
    await tab.getByRole("button", { name: "Delete permanently" }).click();
    await tab.getByText("The app is deleted.").waitFor();
    await also;
    assert.equal((await caddy.admin("GET", `/realtime/apps/${app.id}`)).status, 404);
    assert.equal((await tab.goto(`${portal.link}app/${app.id}`)).status(), 404);
    await tab.getByText("No app ").waitFor();
    await tab.close();
  });

  test("a reload of a page that shows keys makes none, and shows them no more", async () => {
    const tab = await newTab(context);
    await tab.goto(portal.link);
    await tab.getByLabel("Name").fill("reloaded");
    await tab.getByRole("button", { name: "Create app" }).click();
    const id = await tab.locator("#app-id").textContent();
    const apps = async () => (await caddy.admin("GET", "/realtime/apps?limit=1000")).json.apps.filter((app) => app.name === "reloaded");
    const keys = async () => (await apps())[0].keys.length;
    const reloads = async (kind) => {
      const key = await tab.locator(`#new-${kind}`).textContent();
      assert.match(key, /_live_/);
      assert.doesNotMatch(tab.url(), /_live_/);
      const before = await keys();
      for (let times = 0; times < 2; times++) {
        await tab.reload();
        await tab.getByText(id, { exact: true }).waitFor();
        assert.ok(!(await tab.content()).includes(key), "the key is shown again");
        assert.equal(await tab.locator(".issued").count(), 0);
        assert.deepEqual((await apps()).map((app) => app.id), [id]);
        assert.equal(await keys(), before);
      }
      await tab.getByText("This form was already sent").waitFor();
    };
    await reloads("publish");
    await tab.locator("summary", { hasText: "Add a key" }).click();
    await tab.getByRole("button", { name: "Add key" }).click();
    await reloads("publish");
    await tab.locator("summary", { hasText: "Rotate" }).first().click();
    await tab.locator("button[value=rotate]").first().click();
    await reloads("publish");
    assert.equal(await keys(), 4);
    assert.deepEqual(tab.complaints, []);
    await tab.close();
  });

  for (const width of [390, 320]) {
    test(`on a screen of ${width} pixels nothing but code scrolls sideways, and every button is on it`, async () => {
      const narrow = await browser.newContext({ viewport: { width, height: 700 } });
      const tab = await newTab(narrow);
      const fits = async (page) => {
        await tab.evaluate(() => document.querySelectorAll("details").forEach((el) => (el.open = true)));
        assert.deepEqual(await tab.evaluate(offScreen), [], page);
        await picture(tab, `portal-${page}-${width}`);
      };
      await tab.goto(portal.link);
      await tab.getByLabel("Name").fill(`narrow ${"w".repeat(80)}`);
      await tab.getByRole("button", { name: "Create app" }).click();
      await fits("keys");
      const id = await tab.locator("#app-id").textContent();
      const subscribe_key = await tab.locator("#new-subscribe").textContent();
      await caddy.subscriber({ id, subscribe_key }, ["orders.42", "c".repeat(200)]);
      await tab.goto(`${portal.link}app/${id}?channel=orders.42`);
      await tab.getByRole("button", { name: "Disconnect" }).waitFor();
      await fits("app");
      await tab.goto(portal.link);
      await fits("apps");
      await tab.goto(`${portal.link}app/nowhere`);
      await fits("missing");
      await tab.goto(`${caddy.origin}/docs`);
      await fits("docs");
      assert.deepEqual(tab.complaints.filter((text) => !text.includes("404")), []);
      await narrow.close();
    });
  }

  test("every form works without JavaScript", async () => {
    const plain = await browser.newContext({ javaScriptEnabled: false });
    const tab = await plain.newPage();
    await tab.goto(portal.link);
    await tab.getByLabel("Name").fill("plain");
    await tab.getByRole("button", { name: "Create app" }).click();
    await tab.getByText("Copy now: shown only this once").waitFor();
    const [id, subscribe_key] = [await tab.locator("#app-id").textContent(), await tab.locator("#new-subscribe").textContent()];
    const socket = await caddy.subscriber({ id, subscribe_key }, "orders.42");
    const heard = once(socket, "order.updated");
    await tab.getByRole("button", { name: "Publish", exact: true }).click();
    await tab.getByText("Published.").waitFor();
    assert.deepEqual(await heard, [{ id: 42 }]);
    await tab.getByLabel("Channel", { exact: true }).fill("no spaces");
    await tab.getByRole("button", { name: "Publish", exact: true }).click();
    await tab.getByRole("alert").waitFor();
    assert.equal(await tab.getByLabel("Channel", { exact: true }).inputValue(), "no spaces", "what was typed is lost");
    await plain.close();
  });

  test("it is readable in light and dark, with names and labels for all controls", async () => {
    const app = await caddy.app("readable");
    await caddy.subscriber(app, "orders.42");
    const tab = await newTab(context);
    for (const colorScheme of ["light", "dark"]) {
      await tab.emulateMedia({ colorScheme });
      await tab.goto(`${portal.link}app/${app.id}`);
      await tab.getByText("1 connected", { exact: true }).waitFor();
      const background = await tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(background, colorScheme === "light" ? "rgb(255, 255, 255)" : "rgb(20, 25, 31)");
      assert.deepEqual(await tab.evaluate(lowContrast), []);
      assert.deepEqual(await tab.evaluate(nameless), []);
      const headings = await tab.locator("h1, h2, h3").evaluateAll((all) => all.map((h) => h.tagName));
      assert.deepEqual(headings, ["H1", ...headings.slice(1).fill("H2")]);
      await picture(tab, `portal-${colorScheme}`);
      assert.deepEqual(tab.complaints, []);
    }
    await tab.close();
  });
});

describe("realtime_portal on a site", () => {
  let caddy, browser;
  const user = { username: "alice", password: "a secret" };
  before(async () => {
    const hash = execFileSync(bin, ["hash-password", "--plaintext", user.password, "--bcrypt-cost", "4"], { encoding: "utf8" }).trim();
    caddy = await Caddy.start({ tls: true, site: `basic_auth /team* {\n\talice ${hash}\n}\nrealtime\nrealtime_portal {\n\tpath /team\n}\n@open path /open /open/*\nroute @open {\n\trealtime_portal {\n\t\tpath /open\n\t}\n}\nhandle_path /apart/* {\n\tbasic_auth {\n\t\talice ${hash}\n\t}\n\trealtime_portal\n}` });
    browser = await launch(caddy);
  });
  after(async () => {
    await browser?.close();
    await caddy.close();
  });

  test("answers who is authenticated, and tells the log who did what", async () => {
    const context = await browser.newContext({ httpCredentials: user });
    const tab = await newTab(context);
    await tab.goto(`${caddy.origin}/team`);
    await tab.getByText("alice").waitFor();
    await tab.getByLabel("Name").fill("team");
    await tab.getByRole("button", { name: "Create app" }).click();
    await tab.getByText("Copy now: shown only this once").waitFor();
    await tab.locator("summary", { hasText: "curl" }).click();
    assert.ok((await tab.locator("#snippet-curl").textContent()).includes(`${caddy.origin}/publish`));
    await tab.getByText("0 connected", { exact: true }).waitFor();
    await tab.getByRole("button", { name: "Publish", exact: true }).click();
    await tab.locator("#tail .published").waitFor();
    await until("the audit line", () => caddy.logged(/"app created".*"user":"alice"/).length === 1);
    assert.deepEqual(tab.complaints, []);
    await context.close();
  });

  test("works below a prefix that handle_path takes away", async () => {
    const context = await browser.newContext({ httpCredentials: user });
    const tab = await newTab(context);
    await tab.goto(`${caddy.origin}/apart/realtime?after=`);
    assert.equal(tab.url(), `${caddy.origin}/apart/realtime/`);
    await tab.getByLabel("Name").fill("apart");
    await tab.getByRole("button", { name: "Create app" }).click();
    await tab.getByText("Copy now: shown only this once").waitFor();
    await tab.getByRole("link", { name: "Realtime" }).click();
    await tab.getByRole("link", { name: "apart" }).click();
    await tab.getByText("0 connected", { exact: true }).waitFor();
    assert.deepEqual(tab.complaints, []);
    await context.close();
  });

  test("refuses a path with an escaped slash, as the admin endpoint and the command do", async () => {
    const app = await caddy.app("escaped");
    const headers = { Authorization: `Basic ${Buffer.from(`${user.username}:${user.password}`).toString("base64")}` };
    assert.equal((await caddy.request("GET", `/team/app/${app.id}`, { headers })).status, 200);
    assert.equal((await caddy.request("GET", `/team/app%2F${app.id}`, { headers })).status, 404);
    assert.equal((await caddy.request("GET", `/realtime/app%2F${app.id}`, { origin: caddy.adminOrigin, documented: false })).status, 404);
    const { program, link } = await openPortal(caddy);
    const { origin, pathname } = new URL(link);
    const path = (separator) => caddy.request("GET", `${pathname}app${separator}${app.id}`, { origin });
    assert.equal((await path("/")).status, 200);
    assert.equal((await path("%2F")).status, 404);
    await program.stop("SIGINT");
  });

  test("refuses a form that came in early data, which could be replayed", async () => {
    const app = await caddy.app("early");
    const headers = { Authorization: `Basic ${Buffer.from(`${user.username}:${user.password}`).toString("base64")}`, "Content-Type": "application/x-www-form-urlencoded" };
    const form = (more) => caddy.request("POST", `/team/app/${app.id}`, { headers: { ...headers, ...more }, body: "do=delete&confirm=early" });
    assert.equal((await form({ "Early-Data": "1" })).status, 425);
    assert.equal((await caddy.request("GET", `/team/app/${app.id}`, { headers: { ...headers, "Early-Data": "1" } })).status, 200);
    assert.equal((await form({})).status, 303);
  });

  test("answers nobody else, and says which lines to add", async () => {
    assert.equal((await caddy.request("GET", "/team/")).status, 401);
    for (const [method, path] of [["GET", "/open/"], ["POST", "/open/app/"], ["GET", "/open/app/x"], ["GET", "/open/app/x/live"], ["GET", "/open/app/x/users"], ["POST", "/open/app/x/users"], ["POST", "/open/app/x/webhooks"], ["GET", "/open/app/x/members"]]) {
      const answer = await caddy.request(method, path);
      assert.equal(answer.status, 403, `${method} ${path}`);
      assert.match(answer.text, /basic_auth \/open\* \{/);
    }
    assert.equal((await caddy.request("GET", "/open")).status, 308);
    assert.equal((await caddy.request("GET", "/opened")).status, 200, "a path that is not the portal's goes to the next handler");
  });
});

test("the admin endpoint itself takes a browser, where its origins have the empty one", async () => {
  const caddy = await Caddy.start({ admin: (address) => `{\n\t\torigins ${address} ""\n\t}` });
  const context = await browser.newContext();
  try {
    const tab = await newTab(context);
    await tab.goto(`http://localhost:${caddy.adminPort}/realtime/`);
    await tab.getByLabel("Name").fill("direct");
    await tab.getByRole("button", { name: "Create app" }).click();
    await tab.getByText("Copy now: shown only this once").waitFor();
    await tab.getByText("0 connected", { exact: true }).waitFor();
    await tab.getByRole("button", { name: "Publish", exact: true }).click();
    await tab.getByText(/^Published as \S+ to 0 subscribers\.$/).waitFor();
    await tab.locator("#tail .published").waitFor();
    assert.deepEqual(tab.complaints, []);
  } finally {
    await context.close();
    await caddy.close();
  }
});

test("who watches in the portal does not hold up an exit, and sees more once the server is back", async () => {
  const caddy = await Caddy.start();
  const portal = await openPortal(caddy);
  const tab = await browser.newPage();
  try {
    const app = await caddy.app();
    await tab.goto(`${portal.link}app/${app.id}`);
    const sees = (event) =>
      until("it watches", async () => {
        await caddy.publish(app, { channel: "a", event });
        return (await tab.locator("#tail .published", { hasText: event }).count()) > 0;
      });
    await sees("before");
    const refused = tab.waitForResponse((answer) => answer.url().endsWith("/live") && answer.status() >= 500);
    const began = Date.now();
    assert.deepEqual(await caddy.signal("SIGTERM"), { code: 0, signal: null });
    assert.ok(Date.now() - began < 5_000, `it took ${Date.now() - began} ms`);
    await tab.getByText("The connection is lost; trying again.").waitFor();
    await refused; // which the browser takes for an end
    await caddy.boot();
    await sees("after");
  } finally {
    await tab.close();
    await portal.program.stop("SIGINT");
    await caddy.close();
  }
});
