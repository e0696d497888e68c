// What strangers, publishers and operators typed, as the portal shows it in a
// real Chromium: it is text, wherever it is.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { launch } from "./lib/browser.mjs";
import { Caddy, bin } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

const evil = `"'></title></script></textarea><img src=x onerror=hacked()><b id=owned>\${1}{{1}}`;

describe("a text with markup in it is a text", () => {
  let caddy, browser, context, app, command, portals;
  before(async () => {
    const hash = execFileSync(bin, ["hash-password", "--plaintext", "secret", "--bcrypt-cost", "4"], { encoding: "utf8" }).trim();
    const site = `basic_auth /realtime* {\n"alice<b id=owned>" ${hash}\n}\nrealtime {\ndocs_path /docs\n}\nrealtime_portal`;
    caddy = await Caddy.start({ site });
    const made = await caddy.admin("POST", "/realtime/apps", { name: evil });
    assert.equal(made.status, 201, made.text);
    app = made.json;
    const key = await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "subscribe", label: evil });
    assert.equal(key.status, 201, key.text);
    browser = await launch(caddy);
    const httpCredentials = { username: "alice<b id=owned>", password: "secret", origin: caddy.origin };
    context = await browser.newContext({ httpCredentials });
    command = new Program(bin, ["realtime", "portal", "--address", `localhost:${caddy.adminPort}`], { env: caddy.env });
    const [link] = await command.prints(/http:\/\/127\.0\.0\.1:\d+\/\S*/);
    portals = { "caddy realtime portal": link, realtime_portal: `${caddy.origin}/realtime/` };
  });
  after(async () => {
    await browser?.close();
    await command?.stop("SIGINT");
    await caddy?.close();
  });

  const newTab = async () => {
    const tab = await context.newPage();
    tab.hacked = [];
    await tab.exposeFunction("hacked", () => tab.hacked.push("script"));
    tab.on("dialog", (dialog) => dialog.dismiss().then(() => tab.hacked.push("dialog")));
    tab.on("request", (r) => /\/x$/.test(r.url()) && tab.hacked.push(r.url()));
    tab.on("console", (m) => /Content.Security.Policy|Refused to/i.test(m.text()) && tab.hacked.push(m.text()));
    return tab;
  };
  const unharmed = async (tab, where) => {
    assert.equal(await tab.evaluate(() => document.querySelectorAll("#owned, img").length), 0, where);
    assert.deepEqual(tab.hacked, [], where);
  };

  for (const name of ["caddy realtime portal", "realtime_portal"]) {
    test(`on each page of ${name}`, async () => {
      const tab = await newTab();
      const markup = encodeURIComponent(evil);
      for (const path of [
        "", `?after=${markup}`, `?done=${markup}`, `app/${app.id}`, `app/${app.id}?channel=${markup}`, `app/${app.id}?done=${markup}`,
        `app/${app.id}?site=${markup}`, `app/${markup}`, `app/<b id=owned>`, `?${markup}=1`, `${markup}`, `app/${app.id}/${markup}`,
        `app/${app.id}/webhooks`, `app/${app.id}/webhooks?done=${markup}`, `app/${app.id}/users?user=${markup}`, `app/${app.id}/users?after=${markup}`, `app/${app.id}/members?channel=${markup}`,
        `app/${app.id}/members?channel=presence-a&after=${markup}`,
      ]) {
        await tab.goto(portals[name] + path);
        await unharmed(tab, path);
      }
      await tab.goto(portals[name]);
      await tab.getByText(evil).first().waitFor();
      await tab.goto(`${portals[name]}app/${app.id}`);
      await tab.getByRole("cell", { name: evil }).waitFor(); // the label
      // What is refused comes back.
      for (const field of ["channel", "event", "data"]) {
        await tab.goto(`${portals[name]}app/${app.id}`);
        const form = { do: "publish", channel: "a", event: "b", data: "1", [field]: evil };
        const page = await context.request.post(`${portals[name]}app/${app.id}`, { form, headers: { Origin: new URL(portals[name]).origin } });
        await tab.setContent(await page.text());
        await unharmed(tab, `refused ${field}`);
      }
      await tab.close();
    });

    test(`in the live view and the tables of ${name}`, async () => {
      const tab = await newTab();
      await tab.goto(`${portals[name]}app/${app.id}`);
      await tab.locator("#state", { hasText: "connected" }).waitFor();
      const headers = { Origin: `app://x`, "User-Agent": evil, "X-Forwarded-For": evil, Referer: evil };
      const socket = await caddy.subscriber(app, `a-${name.length}`, { extraHeaders: headers });
      // Again until the page is there to hear of it.
      await until("the live view has the event", async () => {
        await caddy.published(app, { channel: `a-${name.length}`, event: evil, data: { [evil]: evil } });
        return (await tab.locator("#tail li.published", { hasText: evil }).count()) > 0;
      });
      socket.emit("subscribe", evil);
      socket.emit(evil, evil);
      caddy.socket({ ...app, subscribe_key: evil }, { reconnection: false, extraHeaders: headers });
      await caddy.request("POST", "/publish", {
        headers: { "Content-Type": evil, "X-App-Id": app.id, Authorization: `Bearer ${evil}`, Origin: "https://x.example" },
        body: evil,
      });
      await tab.locator("#tail li.refused", { hasText: "invalid_channel" }).waitFor();
      await tab.locator("#tail li.refused", { hasText: "unsupported_media_type" }).waitFor();
      await tab.locator("#connected", { hasText: "app://x" }).waitFor(); // the tables are read again
      await unharmed(tab, "live");
      socket.disconnect();
      await tab.close();
    });
  }

  test("on the documentation page, whatever Host and path say", async () => {
    for (const headers of [{ Host: "x.example" }, { Host: "<b id=owned>" }, { Host: `"onload=hacked()` }, { "X-Forwarded-Host": evil, "X-Forwarded-Proto": evil }]) {
      const { status, text } = await caddy.request("GET", `/docs?${encodeURIComponent(evil)}`, { headers, documented: false });
      assert.ok(status === 400 || !/id=owned|onload=hacked|onerror=hacked/.test(text), JSON.stringify(headers));
    }
  });
});
