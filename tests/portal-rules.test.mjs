// What the portal shows and changes of who may subscribe: channel rules, signing
// keys, tokens and users. In a real Chromium.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { launch, offScreen, picture } from "./lib/browser.mjs";
import { Caddy, bin } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";
import { once } from "./lib/wait.mjs";

describe("who may subscribe, in the portal", () => {
  let caddy, browser, program, link;
  before(async () => {
    caddy = await Caddy.start();
    browser = await launch({});
    program = new Program(bin, ["realtime", "portal", "--address", `localhost:${caddy.adminPort}`], { env: caddy.env });
    [link] = await program.prints(/http:\/\/127\.0\.0\.1:\d+\/\S*/);
  });
  after(async () => {
    await browser?.close();
    await program?.stop("SIGINT");
    await caddy?.close();
  });

  /** The page of an app, which remembers what it complained about. */
  const open = async (app, options) => {
    const context = await browser.newContext(options);
    const tab = await context.newPage();
    tab.complaints = [];
    tab.on("console", (message) => ["error", "warning"].includes(message.type()) && tab.complaints.push(message.text()));
    tab.on("pageerror", (err) => tab.complaints.push(String(err)));
    await tab.goto(`${link}app/${app.id}`);
    return tab;
  };
  const rulesOf = async (app) => (await caddy.admin("GET", `/realtime/apps/${app.id}`)).json.channels;
  const order = async (app) => (await rulesOf(app)).map(({ match }) => match);

  for (const javaScriptEnabled of [true, false]) {
    test(`rules are added, edited, moved, tried, removed and reset, ${javaScriptEnabled ? "with" : "without"} JavaScript`, async () => {
      const app = await caddy.app("rules");
      const tab = await open(app, { javaScriptEnabled });
      const rules = tab.locator("table", { hasText: "Who may subscribe" });
      const row = (match) => rules.getByRole("row").filter({ has: tab.getByRole("rowheader", { name: match, exact: true }) });
      await row("private-*").getByText("clients with a token that lists the channel", { exact: true }).waitFor();
      await row("all other channels").getByText("anyone who may connect", { exact: true }).waitFor();

      const socket = await caddy.subscriber(app, "orders.42");
      await tab.locator("summary", { hasText: "Add a rule" }).click();
      const form = tab.locator("form", { has: tab.getByRole("button", { name: "Add rule" }) });
      await form.getByLabel("Channels").fill("orders.*");
      await form.getByLabel("Who may subscribe").selectOption("token");
      await form.getByLabel("Presence").check();
      await form.getByLabel("Keeps this many messages").fill("5");
      await form.getByLabel("during").fill("10m");
      const left = once(socket, "unsubscribed");
      await form.getByRole("button", { name: "Add rule" }).click();
      await row("orders.*").getByText("5 messages for 10m").waitFor();
      assert.equal((await left)[0].code, "token_required", "a client that is connected stays in the channel");
      assert.deepEqual((await rulesOf(app)).at(-1), { match: "orders.*", access: "token", presence: true, client_events: false, history: { messages: 5, age: "10m" } });

      await row("orders.*").getByRole("button", { name: "Up" }).click();
      await tab.waitForURL(/#rules$/);
      assert.deepEqual(await order(app), ["private-*", "orders.*", "presence-*"]);

      // The first rule hides all others.
      await row("private-*").locator("summary", { hasText: "Edit" }).click();
      await row("private-*").getByLabel("Channels").fill("*");
      await row("private-*").getByRole("button", { name: "Save rule" }).click();
      await row("orders.*").getByText("No effect: * is above it.").waitFor();
      assert.equal(await row("all other channels").count(), 0);
      await tab.getByLabel("Which rule does this channel get?").fill("orders.42");
      await tab.getByRole("button", { name: "Show its rule" }).click();
      await tab.getByText("orders.42 gets rule 1, *. Clients with a token that lists the channel may subscribe.").waitFor();
      await picture(tab, `portal-rules-${javaScriptEnabled}`);

      // What is refused is shown again as it was typed.
      await row("orders.*").locator("summary", { hasText: "Edit" }).click();
      await row("orders.*").getByLabel("Channels").fill("two words");
      await row("orders.*").getByRole("button", { name: "Save rule" }).click();
      await tab.getByRole("alert").filter({ hasText: "which no channel can be" }).waitFor();
      assert.equal(await row("orders.*").getByLabel("Channels").inputValue(), "two words");

      await tab.goto(`${link}app/${app.id}`);
      await row("orders.*").locator("summary", { hasText: "Remove" }).click();
      await row("orders.*").getByRole("button", { name: "Remove this rule" }).click();
      await tab.getByRole("status").filter({ hasText: "The channel rules are changed." }).waitFor();
      assert.deepEqual(await order(app), ["*", "presence-*"]);

      await tab.locator("summary", { hasText: "Reset to the default rules" }).click();
      await tab.getByRole("button", { name: "Reset rules" }).click();
      await tab.getByText("These are the rules of every app that has none of its own.").waitFor();
      assert.equal((await caddy.admin("GET", `/realtime/apps/${app.id}`)).json.default_rules, true);
      assert.deepEqual(tab.complaints.filter((text) => !text.includes("400")), []);
      await tab.context().close();
    });
  }

  test("signing keys are made, rotated and registered, and publish keys get scopes", async () => {
    const app = await caddy.app("signing");
    const tab = await open(app);
    const add = async (kind, fill = async () => {}) => {
      await tab.locator("summary", { hasText: "Add a key" }).click();
      await tab.locator("select[name=kind]").selectOption(kind);
      await fill();
      await tab.getByRole("button", { name: "Add key" }).click();
    };
    await tab.locator("summary", { hasText: "Add a key" }).click();
    for (const kind of ["publish", "subscribe", "sign"]) {
      await tab.locator("select[name=kind]").selectOption(kind);
      assert.deepEqual([await tab.getByLabel("Scopes").isVisible(), await tab.getByLabel("Public key").isVisible()], [kind === "publish", kind === "sign"], kind);
    }
    await tab.reload();

    await add("sign", () => tab.getByLabel("Label").fill("of the shop"));
    const secret = await tab.locator("#new-sign").textContent();
    assert.match(secret, /^sign_live_/);
    const claims = { sub: "42", channels: ["private-*"] };
    const socket = caddy.socket(app, { auth: { appId: app.id, token: jwt.sign(claims, secret, { expiresIn: "1h" }) } });
    await once(socket, "connect");
    await picture(tab, "portal-sign");

    // Rotated, both sign; revoked, the old one's clients are disconnected.
    const old = tab.getByRole("row", { name: `sign_live_…${secret.slice(-4)}` });
    await old.locator("summary", { hasText: "Rotate" }).click();
    await old.getByRole("button", { name: "Rotate key" }).click();
    const successor = await tab.locator("#new-sign").textContent();
    assert.ok(socket.connected);
    await old.locator("summary", { hasText: "Revoke" }).click();
    await old.getByText("clients that only have such a token (1 now) disconnected").waitFor();
    const gone = once(socket, "disconnect");
    await old.getByRole("button", { name: "Revoke this key" }).click();
    await gone;
    await once(caddy.socket(app, { auth: { appId: app.id, token: jwt.sign(claims, successor, { expiresIn: "1h" }) } }), "connect");

    // A public key: the private half never comes here.
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const pem = pair.publicKey.export({ type: "spki", format: "pem" });
    await add("sign", () => tab.getByLabel("Public key").fill(pem));
    await tab.getByText("The public key is added.").waitFor();
    const registered = tab.getByRole("row", { name: /^public key …/ });
    const kid = (await registered.getByText(/^key_/).textContent()).trim();
    await registered.getByText("sign ES256").waitFor();
    const token = jwt.sign(claims, pair.privateKey, { algorithm: "ES256", expiresIn: "1h", keyid: kid });
    await once(caddy.socket(app, { auth: { appId: app.id, token } }), "connect");
    await add("sign", () => tab.getByLabel("Public key").fill(pair.privateKey.export({ type: "pkcs8", format: "pem" })));
    await tab.getByRole("alert").filter({ hasText: "must not leave the backend" }).waitFor();

    await add("publish", () => tab.getByLabel("Scopes").selectOption("publish manage"));
    await tab.locator("#new-publish").waitFor();
    await tab.getByRole("row", { name: /publish, manage/ }).waitFor();
    await tab.getByLabel("Connections of a user").fill("3");
    await tab.getByRole("button", { name: "Save", exact: true }).click();
    await tab.getByText("Saved. The change applies").waitFor();
    assert.equal((await caddy.admin("GET", `/realtime/apps/${app.id}`)).json.max_connections_per_user, 3);
    await picture(tab, "portal-keys-kinds");
    assert.doesNotMatch(caddy.logs.join("\n"), new RegExp(`${secret}|${successor}`), "a key is in the log");
    assert.deepEqual(tab.complaints.filter((text) => !text.includes("400")), []);
    await tab.context().close();
  });

  for (const javaScriptEnabled of [true, false]) {
    test(`a token is made, connects, and is checked, ${javaScriptEnabled ? "with" : "without"} JavaScript`, async () => {
      const app = await caddy.app("tokens");
      const { key } = (await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "sign" })).json;
      const tab = await open(app, { javaScriptEnabled });
      await tab.locator("summary", { hasText: "Make a token to try" }).click();
      await tab.getByLabel("Channels that the user may").fill("presence-room.*");
      await tab.getByLabel("What presence shows").fill('{"name":"<b>Ann</b>"}');
      await tab.getByRole("button", { name: "Make token" }).click();
      const token = await tab.locator("#new-token").textContent();
      assert.equal(jwt.verify(token, key).sub, "42");
      if (javaScriptEnabled) assert.equal(await tab.evaluate(() => document.activeElement.id), "made", "the focus is not where the token is");
      assert.ok((await tab.locator("#token-snippet").textContent()).includes('socket.emit("subscribe", "presence-room.1")'));
      const socket = caddy.socket(app, { auth: { appId: app.id, token } });
      await once(socket, "connect");
      assert.equal((await socket.emitWithAck("subscribe", "presence-room.1")).presence.count, 1);
      await picture(tab, `portal-token-made-${javaScriptEnabled}`);

      const check = async (pasted, channel) => {
        await tab.goto(`${link}app/${app.id}`);
        await tab.locator("summary", { hasText: "Check a token" }).click();
        await tab.getByLabel("Token", { exact: true }).fill(pasted);
        await tab.getByLabel("And may it subscribe to").fill(channel);
        await tab.getByRole("button", { name: "Check token" }).click();
        assert.equal(tab.url(), `${link}app/${app.id}`, "the URL says more than the page");
      };
      // Each answer is the one that the client gets.
      await check(token, "presence-room.1");
      await tab.getByText("It may subscribe to presence-room.1.").waitFor();
      await tab.getByText('"name": "<b>Ann</b>"').waitFor();
      await picture(tab, "portal-token-valid");
      await check(token, "private-a");
      const { error } = await socket.emitWithAck("subscribe", "private-a");
      await tab.getByText(`It may not subscribe to private-a: ${error.code}`).waitFor();
      await tab.locator("p", { hasText: error.message }).waitFor(); // the live view has it, too

      const expired = jwt.sign({ sub: "42", exp: Math.floor(Date.now() / 1000) - 100 }, key);
      for (const refused of [expired, `${token}x`, jwt.sign({ sub: "42" }, key), jwt.sign({ sub: "42" }, "another", { expiresIn: 60 })]) {
        const client = caddy.socket(app, { auth: { appId: app.id, token: refused }, reconnection: false });
        const [{ data }] = await once(client, "connect_error");
        await check(refused, "");
        await tab.getByRole("heading", { name: `The token is refused: ${data.code}` }).waitFor();
        await tab.getByText(data.message).waitFor();
        client.close();
      }
      await picture(tab, "portal-token-refused");
      assert.doesNotMatch(caddy.logs.join("\n"), new RegExp(`${token}|${expired}`), "a token is in the log");
      assert.deepEqual(tab.complaints, []);
      await tab.context().close();
    });
  }

  test("rules and forms fit on a screen of 400 pixels, with the longest names", async () => {
    const app = await caddy.app("narrow");
    const channels = [{ match: `${"m".repeat(200)}*`, access: "token", presence: true, history: { messages: 10, age: "2m" } }, { match: "a", access: "closed" }];
    assert.equal((await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { channels })).status, 200);
    const tab = await open(app, { viewport: { width: 400, height: 700 } });
    await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "sign", label: "l".repeat(100) });
    await tab.reload();
    await tab.locator("summary", { hasText: "Make a token to try" }).click();
    await tab.getByLabel("User", { exact: true }).fill("u".repeat(128));
    await tab.getByLabel("Channels that the user may").fill("m".repeat(200));
    await tab.getByRole("button", { name: "Make token" }).click();
    const token = await tab.locator("#new-token").textContent();
    assert.deepEqual(await tab.evaluate(offScreen), []);
    await tab.locator("summary", { hasText: "Check a token" }).click();
    await tab.getByLabel("Token", { exact: true }).fill(token);
    await tab.getByLabel("And may it subscribe to").fill("m".repeat(200));
    await tab.getByRole("button", { name: "Check token" }).click();
    await tab.getByText("The token is valid").waitFor();
    await tab.evaluate(() => document.querySelectorAll("details").forEach((el) => (el.open = true)));
    assert.deepEqual(await tab.evaluate(offScreen), []);
    await picture(tab, "portal-token-400");
    await tab.goto(`${link}app/${app.id}?rule=${"m".repeat(200)}`);
    await tab.evaluate(() => document.querySelectorAll("details").forEach((el) => (el.open = true)));
    assert.deepEqual(await tab.evaluate(offScreen), []);
    await picture(tab, "portal-rules-400");
    assert.deepEqual(tab.complaints, []);
    await tab.context().close();
  });
});
