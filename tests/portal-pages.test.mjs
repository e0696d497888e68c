// The pages of an app in the portal: its webhooks, its users and the members of its
// presence channels. In a real Chromium, with stock clients and a real receiver.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { Webhook } from "standardwebhooks";
import { launch, lowContrast, nameless, offScreen, picture } from "./lib/browser.mjs";
import { Caddy, bin } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";
import { once, until } from "./lib/wait.mjs";

const evil = `<img src=x onerror=alert(1)>"'/%2F?&日本`;

describe("pages of an app in the portal", () => {
  let caddy, browser, program, link, receiver;
  before(async () => {
    caddy = await Caddy.start({ global: "webhook_targets any\npresence_grace 0s" });
    browser = await launch({});
    program = new Program(bin, ["realtime", "portal", "--address", `localhost:${caddy.adminPort}`], { env: caddy.env });
    [link] = await program.prints(/http:\/\/127\.0\.0\.1:\d+\/\S*/);
    receiver = http.createServer((req, res) => {
      let body = "";
      req.on("data", (chunk) => (body += chunk));
      req.on("end", () => {
        receiver.requests.push({ headers: req.headers, body });
        res.writeHead(receiver.status).end();
      });
    });
    receiver.listen(0, "127.0.0.1");
    await once(receiver, "listening");
    receiver.url = `http://127.0.0.1:${receiver.address().port}/hooks`;
  });
  after(async () => {
    await browser?.close();
    await program?.stop("SIGINT");
    await caddy?.close();
    receiver?.closeAllConnections();
    receiver?.close();
  });

  /** A page of an app, which remembers what it complained about. */
  const open = async (app, page, options) => {
    const context = await browser.newContext(options);
    const tab = await context.newPage();
    tab.complaints = [];
    tab.on("console", (message) => ["error", "warning"].includes(message.type()) && tab.complaints.push(message.text()));
    tab.on("pageerror", (err) => tab.complaints.push(String(err)));
    tab.on("dialog", (dialog) => dialog.dismiss().then(() => tab.complaints.push("dialog")));
    await tab.goto(`${link}app/${app.id}${page}`);
    return tab;
  };

  /** An app with users: user() connects one. */
  const appWithUsers = async (name) => {
    const app = await caddy.app(name);
    const signing = await caddy.signingKey(app);
    const token = (sub, claims) => jwt.sign({ sub, channels: ["presence-*", "private-*"], exp: Math.floor(Date.now() / 1000) + 600, ...claims }, signing);
    const user = async (sub, channels = [], claims = {}) => {
      const socket = caddy.socket(app, { auth: { appId: app.id, token: token(sub, claims) } });
      await once(socket, "connect");
      for (const channel of channels) assert.equal((await socket.emitWithAck("subscribe", channel)).error, undefined);
      return socket;
    };
    return { app, token, user };
  };

  for (const javaScriptEnabled of [true, false]) {
    test(`webhooks are added, tested, changed, paused, rotated and removed, ${javaScriptEnabled ? "with" : "without"} JavaScript`, async () => {
      receiver.requests = [];
      receiver.status = 204;
      const app = await caddy.app("hooked");
      const hooks = async () => (await caddy.admin("GET", `/realtime/webhooks/${app.id}`)).json.webhooks;
      const tab = await open(app, "", { javaScriptEnabled });
      await tab.getByRole("link", { name: "Webhooks" }).click();
      await tab.getByText("The app has no webhooks.").waitFor();
      const adding = tab.locator("form", { has: tab.getByRole("button", { name: "Add webhook" }) });

      // What is refused is told at its field.
      await adding.getByLabel("URL").fill("ftp://a");
      await adding.getByLabel("Only of channels").fill("orders.");
      await adding.getByRole("button", { name: "Add webhook" }).click();
      await adding.getByRole("alert").filter({ hasText: "It begins with https:// or http:// and a host" }).waitFor();
      assert.equal(await adding.getByLabel("Only of channels").inputValue(), "orders.", "what was typed is lost");
      if (javaScriptEnabled) assert.equal(await tab.evaluate(() => document.activeElement.name), "url");
      await picture(tab, `portal-webhook-refused-${javaScriptEnabled}`);

      await adding.getByLabel("URL").fill(receiver.url);
      await adding.getByRole("button", { name: "Add webhook" }).click();
      await tab.getByText("Copy now: shown only this once").waitFor();
      if (javaScriptEnabled) assert.equal(await tab.evaluate(() => document.activeElement.id), "issued", "the focus is not where the secret is");
      const secret = await tab.locator("#new-secret").textContent();
      assert.match(secret, /^whsec_/);
      await picture(tab, `portal-webhook-added-${javaScriptEnabled}`);
      await tab.reload();
      await tab.getByText("This form was already sent").waitFor();
      assert.ok(!(await tab.content()).includes(secret), "the secret is shown again");
      const [{ id, ...made }] = await hooks();
      assert.deepEqual([made.url, made.prefix, made.default_events, made.enabled], [receiver.url, "orders.", true, true]);

      // A test event arrives, and its result is shown.
      const hook = tab.locator("section", { has: tab.locator(`#${id}`) });
      const fact = (name) => hook.locator(".facts").getByRole("row").filter({ has: tab.getByRole("rowheader", { name, exact: true }) });
      await fact("Last received").getByText("nothing").waitFor();
      await hook.getByRole("button", { name: "Send a test event" }).click();
      await tab.getByRole("status").filter({ hasText: /The test event was received, in \d/ }).waitFor();
      assert.deepEqual(new Webhook(secret).verify(receiver.requests[0].body, receiver.requests[0].headers).events.map((e) => e.type), ["test"]);
      await fact("Last received").getByRole("time").or(fact("Last received").locator("time")).first().waitFor();
      await hook.getByRole("cell", { name: "204" }).waitFor();

      // One that fails says why, and since when.
      receiver.status = 500;
      await hook.getByRole("button", { name: "Send a test event" }).click();
      await tab.getByRole("alert").filter({ hasText: "The test event was not received:" }).waitFor();
      await fact("State").getByText(/failing since 20/).waitFor();
      await fact("Last failure").getByText(/500/).waitFor();
      await fact("Waiting events").getByText(/^1, next attempt at 20/).waitFor();
      await picture(tab, `portal-webhook-failing-${javaScriptEnabled}`);
      receiver.status = 204;
      await until("it is sent again", async () => (await hooks())[0].state.waiting === 0);

      // A changed webhook gets what it names.
      await hook.locator("summary", { hasText: "Edit" }).click();
      await hook.locator("select[name=which]").selectOption("chosen");
      for (const box of await hook.getByRole("checkbox").all()) await box.uncheck();
      await hook.getByRole("button", { name: "Save webhook" }).click();
      await hook.getByRole("alert").filter({ hasText: "events is empty" }).waitFor();
      await hook.getByLabel("channel.occupied").check();
      await hook.getByLabel("Only of channels").fill("");
      await hook.getByRole("button", { name: "Save webhook" }).click();
      await tab.getByText("Saved. The change applies from the next delivery.").waitFor();
      await fact("Events").getByText(/^channel\.occupied\s*$/).waitFor();
      await fact("State").getByText("enabled", { exact: true }).waitFor();
      receiver.requests.length = 0;
      await caddy.subscriber(app, "news");
      await until("the event", () => receiver.requests.length === 1);
      assert.equal(JSON.parse(receiver.requests[0].body).events[0].channel, "news");

      // Rotated, both secrets sign.
      await hook.locator("summary", { hasText: "Rotate secret" }).click();
      await hook.getByLabel("The old secret also signs for").selectOption("1h");
      await hook.getByRole("button", { name: "Rotate secret" }).click();
      await tab.getByText("The old secret also signs until").waitFor();
      const next = await tab.locator("#new-secret").textContent();
      receiver.requests.length = 0;
      await hook.getByRole("button", { name: "Send a test event" }).click();
      await tab.getByRole("status").filter({ hasText: "The test event was received" }).waitFor();
      for (const key of [secret, next]) new Webhook(key).verify(receiver.requests[0].body, receiver.requests[0].headers);

      await hook.getByRole("button", { name: "Pause" }).click();
      await fact("State").getByText("paused", { exact: true }).waitFor();
      assert.equal((await hooks())[0].enabled, false);
      assert.equal(await hook.getByRole("button", { name: "Send a test event" }).count(), 0);
      await hook.getByRole("button", { name: "Resume" }).click();
      await fact("State").getByText("enabled", { exact: true }).waitFor();

      // A receiver that is gone disables it.
      receiver.status = 410;
      await hook.getByRole("button", { name: "Send a test event" }).click();
      await until("it is disabled", async () => !(await hooks())[0].enabled);
      await tab.goto(`${link}app/${app.id}/webhooks`);
      await fact("State").getByText(/^disabled: .*410/).waitFor();

      await hook.locator("summary", { hasText: "Remove" }).click();
      await hook.getByRole("button", { name: "Remove this webhook" }).click();
      await tab.getByText("The webhook is removed.").waitFor();
      await tab.getByText("The app has no webhooks.").waitFor();
      assert.deepEqual(await hooks(), []);
      assert.doesNotMatch(caddy.logs.join("\n"), new RegExp(`${secret}|${next}`.replaceAll("+", "\\+")), "a secret is in the log");
      assert.deepEqual(tab.complaints.filter((text) => !text.includes("400")), []);
      await tab.context().close();
    });

    test(`users are found, disconnected and signed out, ${javaScriptEnabled ? "with" : "without"} JavaScript`, async () => {
      const { app, token, user } = await appWithUsers("users");
      const ann = [await user("ann", ["private-a"]), await user("ann", ["private-b"])];
      const strange = await user(evil, ["private-x"]);
      const old = token(evil);
      const tab = await open(app, "", { javaScriptEnabled });
      await tab.getByRole("link", { name: "Users" }).click();
      await tab.getByRole("row", { name: "ann 2 private-a private-b" }).waitFor();
      await picture(tab, `portal-users-${javaScriptEnabled}`);

      await tab.getByLabel("Find a user").fill("ann");
      await tab.getByRole("button", { name: "Show user" }).click();
      await tab.getByText("2 sockets.", { exact: true }).waitFor();
      for (const socket of ann) await tab.getByRole("row", { name: socket.id }).getByText("private-").waitFor();
      const gone = Promise.all(ann.map((socket) => once(socket, "disconnect")));
      await tab.locator("summary", { hasText: "Disconnect" }).click();
      await tab.getByRole("button", { name: "Disconnect this user" }).click();
      assert.deepEqual((await gone).map(([reason]) => reason), ["io server disconnect", "io server disconnect"]);
      await tab.getByText("The user is disconnected.").waitFor();
      await tab.getByText("0 sockets.", { exact: true }).waitFor();
      assert.ok(strange.connected);

      // A user who went away between the list and the click.
      await tab.locator("summary", { hasText: "Disconnect" }).click();
      await tab.getByRole("button", { name: "Disconnect this user" }).click();
      await tab.getByText("The user had no sockets, so nobody was disconnected.").waitFor();

      // Signed out, an old token is refused and a new one is not.
      await tab.getByRole("link", { name: "All connected users" }).click();
      await tab.getByRole("link", { name: evil, exact: true }).click();
      await tab.getByRole("heading", { name: `User ${evil}` }).waitFor();
      const left = once(strange, "disconnect");
      await tab.locator("summary", { hasText: "Sign out everywhere" }).click();
      await tab.getByText("Tokens of the user that were issued before now are refused").waitFor();
      await tab.getByRole("button", { name: "Sign this user out everywhere" }).click();
      await left;
      await tab.getByText("The user is signed out everywhere").waitFor();
      await tab.getByText("0 sockets. Tokens that were issued until").waitFor();
      await picture(tab, `portal-user-${javaScriptEnabled}`);
      const client = caddy.socket(app, { auth: { appId: app.id, token: old }, reconnection: false });
      assert.equal((await once(client, "connect_error"))[0].data.code, "token_revoked");
      await user(evil);

      await tab.getByLabel("Find a user").fill("u".repeat(200));
      await tab.getByRole("button", { name: "Show user" }).click();
      await tab.getByRole("alert").filter({ hasText: "user has 200 characters; at most 128 are allowed." }).waitFor();
      assert.deepEqual(tab.complaints.filter((text) => !text.includes("400")), []);
      await tab.context().close();
    });
  }

  test("the members of a presence channel are counted live, and shown as text", async () => {
    const { app, user } = await appWithUsers("members");
    const channel = "presence-room/1";
    const ann = await user("ann", [channel], { info: { name: evil } });
    await caddy.subscriber(app, "news");
    const tab = await open(app, "");
    const row = (name) => tab.locator("#occupied").getByRole("row").filter({ has: tab.getByRole("rowheader", { name, exact: true }) });
    await row(channel).getByRole("link", { name: `1 in ${channel}` }).waitFor();
    assert.equal(await row("news").getByRole("cell").nth(1).textContent(), "", "a channel without presence has members");
    await tab.locator("#connected").getByRole("link", { name: "ann" }).waitFor();
    await tab.getByText("2 connected", { exact: true }).waitFor(); // the page is live
    await user("ann", [channel], { info: { name: evil } });
    for (const name of [evil, "u".repeat(128)]) await user(name, [channel]);
    await row(channel).getByRole("link", { name: `3 in ${channel}` }).click();
    await tab.getByText(`3 members, 4 subscribers of ${channel}.`).waitFor();
    await tab.getByRole("row", { name: "ann" }).getByText("2", { exact: true }).waitFor();
    await tab.getByRole("row", { name: "ann" }).getByText(JSON.stringify({ name: evil }), { exact: true }).waitFor();
    await tab.getByRole("link", { name: evil, exact: true }).waitFor();
    await picture(tab, "portal-members");
    assert.equal(await tab.locator("img").count(), 0);
    ann.disconnect();
    await tab.getByRole("link", { name: evil, exact: true }).click();
    await tab.getByRole("heading", { name: `User ${evil}` }).waitFor();
    await tab.goto(`${link}app/${app.id}/members?channel=${encodeURIComponent(channel)}&after=nobody`);
    await tab.getByText("The list has changed, so it is shown from its beginning.").waitFor();
    assert.deepEqual(tab.complaints, []);
    await tab.context().close();
  });

  test("lists of more than a page are continued", async () => {
    const { app, user } = await appWithUsers("crowd");
    const names = Array.from({ length: 52 }, (_, n) => `user ${String(n).padStart(2, "0")}`);
    for (const name of names) await user(name, ["presence-hall"]);
    for (const [page, more] of [["/users", "More users"], ["/members?channel=presence-hall", "More members"]]) {
      const tab = await open(app, page);
      const shown = () => tab.getByRole("rowheader").allTextContents();
      assert.deepEqual(await shown(), names.slice(0, 50), page);
      await tab.getByRole("link", { name: more }).click();
      await tab.getByRole("link", { name: names[51] }).waitFor();
      assert.deepEqual(await shown(), names.slice(50), page);
      assert.equal(await tab.getByRole("link", { name: more }).count(), 0);
      await tab.context().close();
    }
  });

  test("the pages fit on a screen of 360 pixels, in light and dark, with names for all controls", async () => {
    const { app, user } = await appWithUsers(`narrow ${"w".repeat(80)}`);
    const long = "W".repeat(128);
    const channel = `presence-${"c".repeat(191)}`;
    await user(long, [channel], { info: { name: "n".repeat(900) } });
    receiver.status = 500;
    const url = `${receiver.url}/${"x".repeat(400)}`;
    const { id } = (await caddy.admin("POST", `/realtime/webhooks/${app.id}`, { url, prefix: "p".repeat(200) })).json;
    await caddy.admin("POST", `/realtime/webhooks/${app.id}/${id}/rotate`, { overlap: "1h" });
    await caddy.admin("POST", `/realtime/webhooks/${app.id}/${id}/test`);
    await until("a failure", async () => (await caddy.admin("GET", `/realtime/webhooks/${app.id}/${id}`)).json.state?.failing_since);
    const tab = await open(app, "", { viewport: { width: 360, height: 700 } });
    const pages = { app: "", webhooks: "/webhooks", users: "/users", user: `/users?user=${long}`, refused: `/users?user=${"u".repeat(200)}`, members: `/members?channel=${channel}` };
    for (const colorScheme of ["light", "dark"]) {
      await tab.emulateMedia({ colorScheme });
      for (const [name, page] of Object.entries(pages)) {
        await tab.goto(`${link}app/${app.id}${page}`);
        await tab.evaluate(() => document.querySelectorAll("details").forEach((el) => (el.open = true)));
        assert.deepEqual(await tab.evaluate(offScreen), [], name);
        assert.deepEqual(await tab.evaluate(lowContrast), [], name);
        assert.deepEqual(await tab.evaluate(nameless), [], name);
        await picture(tab, `portal-${name}-360-${colorScheme}`);
      }
    }
    assert.deepEqual(tab.complaints.filter((text) => !text.includes("400")), []);
    await tab.context().close();
  });
});
