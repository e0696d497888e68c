// A page of an attacker, in the browser of somebody who may use the portal.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { foreignSite, launch } from "./lib/browser.mjs";
import { Caddy, bin } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
import { Program } from "./lib/process.mjs";
import { once, until } from "./lib/wait.mjs";

describe("a page of another origin", () => {
  let caddy, browser, context, app, attacker, program, portals;
  before(async () => {
    const hash = execFileSync(bin, ["hash-password", "--plaintext", "secret", "--bcrypt-cost", "4"], { encoding: "utf8" }).trim();
    caddy = await Caddy.start({ site: `basic_auth /realtime* {\n\talice ${hash}\n}\nrealtime\nrealtime_portal` });
    // The attacker's names: another site, and one that was made to point here.
    attacker = await foreignSite("attacker.example");
    browser = await launch(caddy, "--host-resolver-rules=MAP *.example 127.0.0.1");
    context = await browser.newContext({ httpCredentials: { username: "alice", password: "secret", origin: caddy.origin } });
    app = await caddy.app("the victim's");
    await caddy.subscriber(app, "secret.channel");

    program = new Program(bin, ["realtime", "portal", "--address", `localhost:${caddy.adminPort}`], { env: caddy.env });
    const [link] = await program.prints(/http:\/\/127\.0\.0\.1:\d+\/\S*/);
    portals = {
      "the admin endpoint": `http://localhost:${caddy.adminPort}/realtime/`,
      "caddy realtime portal": link, // even if the attacker knows it
      realtime_portal: `${caddy.origin}/realtime/`,
    };
    // The victim is in, everywhere.
    const tab = await context.newPage();
    for (const home of [link, portals.realtime_portal]) {
      await tab.goto(home);
      await tab.getByText("the victim's").waitFor();
    }
    await tab.close();
  });
  after(async () => {
    await browser?.close();
    attacker.close();
    await program.stop("SIGINT");
    await caddy.close();
  });

  /** Fails if anything has changed of what the attacker is after. */
  const unharmed = async () => {
    const { apps } = (await caddy.admin("GET", "/realtime/apps")).json;
    assert.deepEqual(apps.map(({ id, name, enabled, keys }) => ({ id, name, enabled, keys: keys.filter((k) => !k.revoked).length })), [
      { id: app.id, name: "the victim's", enabled: true, keys: 2 },
    ]);
    assert.equal((await caddy.admin("GET", `/realtime/connections/${app.id}`)).json.connections.length, 1);
    assert.deepEqual((await caddy.admin("GET", `/realtime/webhooks/${app.id}`)).json.webhooks, []);
    assert.equal((await caddy.admin("GET", `/realtime/users/${app.id}/42`)).json.revoked, null);
  };
  const secrets = () => new RegExp(`${app.id}|victim|secret\\.channel|${app.keys[0].id}`);
  const at = (name, path) => new URL(path.replace("ID", app.id), portals[name]).href;
  const pages = ["", "app/ID", "app/ID/live", "app/ID/webhooks", "app/ID/users", "/realtime/", "/realtime/apps", "/realtime/app/ID", "/realtime/openapi.yaml", "/config/"];

  for (const name of ["the admin endpoint", "caddy realtime portal", "realtime_portal"]) {
    test(`reads nothing of ${name}`, async () => {
      const tab = await context.newPage();
      await tab.goto(attacker.origin);
      for (const path of pages) {
        const url = at(name, path);
        for (const mode of ["cors", "no-cors"]) {
          const got = await tab.evaluate(read, { url, mode });
          assert.equal(got, "", `${mode} ${url}`);
        }
        assert.equal(await tab.evaluate(framed, url), "", `framed ${url}`);
        const frames = await Promise.all(tab.frames().slice(1).map((frame) => frame.content().catch(() => "")));
        for (const content of frames) assert.doesNotMatch(content, secrets(), `shown in a frame: ${url}`);
      }
      assert.equal(await tab.evaluate(stream, at(name, "app/ID/live")), "");
      assert.equal(await tab.evaluate(script, portals[name]), "error");
      await tab.close();
      await unharmed();
    });

    test(`changes nothing of ${name}`, async () => {
      const tab = await context.newPage();
      await tab.goto(attacker.origin);
      const forms = [
        ["app/", { do: "create", name: "hacked" }],
        ["app/ID", { do: "delete", confirm: "the victim's" }],
        ["app/ID", { do: "revoke", key: app.keys[0].id }],
        ["app/ID", { do: "rotate", key: app.keys[0].id, overlap: "0s" }],
        ["app/ID", { do: "add-key", kind: "publish" }],
        ["app/ID/webhooks", { do: "add", url: "https://attacker.example/", enabled: "on" }],
        ["app/ID/users", { do: "revoke", user: "42" }],
      ];
      for (const [path, fields] of forms) {
        for (const mode of ["cors", "no-cors"]) {
          await tab.evaluate(send, { url: at(name, path), method: "POST", mode, fields });
        }
        for (const enctype of ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]) {
          const answer = context.waitForEvent("response", { predicate: (r) => r.request().method() === "POST" });
          const opened = context.waitForEvent("page");
          await tab.evaluate(submit, { url: at(name, path), fields, enctype });
          const response = await answer;
          await (await opened).close(); // open tabs make each further one slower
          assert.ok(response.status() >= 400, `${enctype} ${path}: ${response.status()}`);
        }
      }
      for (const [method, path, body] of [
        ["POST", "/realtime/apps", { name: "hacked" }],
        ["DELETE", `/realtime/apps/${app.id}`],
        ["PATCH", `/realtime/apps/${app.id}`, { enabled: false }],
        ["DELETE", `/realtime/keys/${app.id}/${app.keys[0].id}`],
        ["POST", `/realtime/keys/${app.id}`, { kind: "publish" }],
        ["POST", "/stop"],
      ]) {
        for (const mode of ["cors", "no-cors"]) await tab.evaluate(send, { url: at(name, path), method, mode, body });
      }
      await tab.close();
      await unharmed();
    });
  }

  for (const name of ["the admin endpoint", "caddy realtime portal"]) {
    test(`gets nothing from ${name} by a name that points to it`, async () => {
      const rebound = (path) => Object.assign(new URL(at(name, path)), { hostname: "rebound.example" }).href;
      const tab = await context.newPage();
      for (const path of ["", "app/ID", "/realtime/", "/realtime/apps"]) {
        const answer = await tab.goto(rebound(path));
        assert.equal(answer.status(), 403);
        assert.doesNotMatch(await answer.text(), secrets());
        // Now the attacker's script is of the same origin.
        const got = await tab.evaluate(read, { url: rebound(path), mode: "same-origin" });
        assert.doesNotMatch(got, secrets());
        await tab.evaluate(send, { url: rebound("app/"), method: "POST", mode: "same-origin", fields: { do: "create", name: "hacked" } });
        await tab.evaluate(send, { url: rebound("/realtime/apps"), method: "POST", mode: "same-origin", body: { name: "hacked" } });
      }
      await tab.close();
      await unharmed();
    });
  }

  test("a page of another port of the same host changes nothing, and the link's secret is not guessed", async () => {
    const neighbour = await foreignSite("127.0.0.1");
    const tab = await context.newPage();
    await tab.goto(neighbour.origin);
    const home = portals["caddy realtime portal"];
    assert.equal(await tab.evaluate(read, { url: home, mode: "cors" }), "");
    await tab.evaluate(send, { url: `${home}app/`, method: "POST", mode: "no-cors", fields: { do: "create", name: "hacked" } });
    const answer = context.waitForEvent("response", { predicate: (r) => r.request().method() === "POST" });
    await tab.evaluate(submit, { url: `${home}app/`, fields: { do: "create", name: "hacked" }, enctype: "application/x-www-form-urlencoded" });
    assert.equal((await answer).status(), 403);
    await tab.close();
    neighbour.close();
    const guess = "A".repeat(26);
    for (const path of ["/", `/${guess}`, `/${guess}/`, `/${guess}/app/${app.id}`, home.slice(0, -2), "/realtime/", `/realtime/app/${app.id}`, "/realtime/apps", "/load"]) {
      const stranger = await caddy.request("GET", path, { origin: new URL(home).origin });
      assert.equal(stranger.status, 403, path);
      assert.match(stranger.text, /Open the link/);
    }
    await unharmed();
  });

  test("another listener on the portal's host is sent nothing that opens the portal", async (t) => {
    const home = portals["caddy realtime portal"];
    const heard = [];
    const listener = http.createServer((req, res) => {
      heard.push(req);
      res.setHeader("Content-Type", "text/html");
      res.end('<!doctype html><link rel="icon" href="data:,">');
    });
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    t.after(() => {
      listener.close();
      listener.closeAllConnections();
    });
    const there = `http://127.0.0.1:${listener.address().port}`;
    const visits = []; // each is a path that the listener is to hear of
    const visit = async (tab, path, how) => {
      await tab.evaluate(how, there + path);
      await until(path, () => heard.some((req) => req.url === path));
      visits.push(path);
    };
    // The portal is open, with all that a browser keeps of it.
    const portal = await context.newPage();
    await portal.goto(at("caddy realtime portal", "app/ID"));
    // A page of another site sends the browser to the listener.
    const foreign = await context.newPage();
    await foreign.goto(attacker.origin);
    await visit(foreign, "/fetched", (url) => void fetch(url, { mode: "no-cors", credentials: "include" }).catch(() => {}));
    await visit(foreign, "/opened", (url) => void open(url));
    await visit(foreign, "/realtime/", (url) => void (location.href = url));
    // So does what the operator does himself: he follows a link, or types it.
    await visit(portal, "/followed", (url) => void (location.href = url));
    await portal.waitForURL(`${there}/followed`);
    await portal.goto(`${there}/typed`);
    await portal.goBack();
    await portal.goto(home);
    await portal.goto(`${there}/typed-again`);
    await portal.evaluate((url) => fetch(url, { credentials: "include" }), `${there}/own`);

    const secret = new URL(home).pathname.split("/")[1];
    for (const req of heard) {
      const got = `${req.url} ${JSON.stringify(req.headers)}`;
      if (secret) assert.ok(!got.includes(secret), got);
      for (const origin of [new URL(home).origin, home]) {
        for (const path of ["/", "/realtime/", `/realtime/app/${app.id}`, req.url]) {
          const headers = { Cookie: req.headers.cookie ?? "", Referer: req.headers.referer ?? "" };
          const answer = await caddy.request("GET", path, { origin, headers });
          assert.equal(answer.status, 403, `${path} of the portal opens with ${got}`);
        }
      }
      assert.equal(req.headers.cookie, undefined, got);
    }
    for (const path of [...visits, "/typed", "/typed-again", "/own"]) assert.ok(heard.some((req) => req.url === path), path);
    for (const tab of context.pages()) await tab.close();
    await unharmed();
  });

  test("what a browser sends to who listens on the port after the command has ended is worth nothing", async () => {
    const [port] = await freePorts(1);
    const start = () => new Program(bin, ["realtime", "portal", "--address", `localhost:${caddy.adminPort}`, "--port", port], { env: caddy.env });
    const links = [];
    for (let n = 0; n < 2; n++) {
      const command = start();
      const [link] = await command.prints(/http:\/\/127\.0\.0\.1:\d+\/\S*/);
      for (const ended of links) assert.equal((await caddy.request("GET", ended)).status, 403);
      assert.equal((await caddy.request("GET", link)).status, 200);
      links.push(link);
      assert.equal(await command.stop("SIGINT"), 0);
    }
    assert.notEqual(links[0], links[1]);
  });

  test("who has the portal's link gets no more of the admin endpoint", async () => {
    const home = portals["caddy realtime portal"];
    assert.equal((await caddy.request("GET", home)).status, 200);
    for (const path of ["config/", "apps", "realtime/", "app/..%2f..%2fconfig/", "app//config/", "stop"]) {
      assert.equal((await caddy.request("GET", home + path)).status, 404, path);
    }
  });
});

/* What follows runs in the attacker's page. Each returns what it got. */

async function read({ url, mode }) {
  try {
    return await (await fetch(url, { mode, credentials: "include" })).text();
  } catch {
    return "";
  }
}

async function send({ url, method, mode, fields, body }) {
  try {
    const content = fields ? new URLSearchParams(fields) : body && JSON.stringify(body);
    const headers = body && mode !== "no-cors" ? { "Content-Type": "application/json" } : {};
    return await (await fetch(url, { method, mode, credentials: "include", body: content, headers })).text();
  } catch {
    return "";
  }
}

function framed(url) {
  const frame = document.createElement("iframe");
  frame.src = url;
  return new Promise((resolve) => {
    frame.onload = () => {
      try {
        resolve(frame.contentDocument?.body.textContent ?? "");
      } catch {
        resolve("");
      }
    };
    document.body.replaceChildren(frame);
  });
}

function stream(url) {
  return new Promise((resolve) => {
    const source = new EventSource(url, { withCredentials: true });
    source.onerror = () => resolve("");
    source.addEventListener("second", (e) => resolve(e.data));
  });
}

function script(url) {
  const element = document.createElement("script");
  element.src = url;
  return new Promise((resolve) => {
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve("error");
    document.head.append(element);
  });
}

function submit({ url, fields, enctype }) {
  const form = document.createElement("form");
  Object.assign(form, { method: "POST", action: url, enctype, target: "_blank" });
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    Object.assign(input, { name, value, type: "hidden" });
    form.append(input);
  }
  document.body.append(form);
  form.submit();
}
