// caddy realtime … against servers that are no gateway: what it prints, and
// where it sends keys.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { bin } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
import { once } from "./lib/wait.mjs";

const hostile = "\u001b]0;owned\u0007\u009b2J\u202e\u007f\r\nforged\tx";
const key = "pk_live_secret";

/** Runs caddy realtime: its exit code, stdout and stderr. */
async function run(args, env = {}) {
  const child = spawn(bin, ["realtime", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, REALTIME_URL: "", REALTIME_SOCKET_URL: "", REALTIME_APP_ID: "app_1", REALTIME_PUBLISH_KEY: key, REALTIME_SUBSCRIBE_KEY: "sub_live_secret", ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (chunk) => (stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk) => (stderr += chunk));
  try {
    const [code] = await once(child, "close", 30_000);
    return { code, stdout, stderr };
  } finally {
    child.kill("SIGKILL");
  }
}

const servers = [];
after(() => {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
});

/** A server that answers with what handle does, and keeps the requests. */
async function serve(handle, tls) {
  const heard = [];
  const server = (tls ? https : http).createServer(tls ?? {}, (req, res) => {
    heard.push(req);
    req.resume();
    req.on("end", () => handle(req, res));
  });
  server.on("upgrade", (req, socket) => {
    heard.push(req);
    const res = new http.ServerResponse(req);
    res.assignSocket(socket);
    res.on("finish", () => socket.end());
    handle(req, res);
  });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  return { heard, origin: `${tls ? "https" : "http"}://127.0.0.1:${server.address().port}`, address: `127.0.0.1:${server.address().port}` };
}

const json = (value, status = 200) => (_, res) => {
  res.writeHead(status, { "Content-Type": "application/json" });
  res.end(typeof value === "string" ? value : JSON.stringify(value));
};

/** Fails if a terminal would act on it, or if the server has written a line. */
function harmless({ stdout, stderr }, about) {
  assert.doesNotMatch(stdout + stderr, /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/, about);
  assert.doesNotMatch(stdout + stderr, /^forged/m, about);
}

describe("a hostile server writes nothing that a terminal acts on, to", () => {
  const named = { id: hostile, name: hostile, kind: hostile, label: hostile, last4: hostile, key: hostile, created: "2030-01-01T00:00:00Z" };
  const app = { ...named, publish_key: hostile, subscribe_key: hostile, allowed_origins: [hostile], rate_limit: { publishes: 1, window: hostile }, keys: [named] };
  const everything = { ...app, apps: [app], next: null };
  const raw = `{"id":"\u009b2J\u202e\u007f","apps":[]}`;
  const commands = [
    ["app", "create", "x"], ["app", "list"], ["app", "show", "x"], ["app", "delete", "x"],
    ["key", "add", "x", "--kind", "publish"], ["key", "list", "x"], ["key", "rotate", "x", "y"], ["key", "revoke", "x", "y"],
  ];
  const answers = {
    "JSON": json(everything),
    "JSON with characters as they are": json(raw),
    "no JSON": json(hostile),
    "an error": json({ error: { code: "x", message: hostile } }, 400),
    "an error of Caddy's": json({ error: hostile }, 500),
    "an error that is no JSON": json(hostile, 502),
    "a redirect": (req, res) => {
      if (req.url.startsWith("/away")) return json(everything)(req, res);
      res.writeHead(307, { Location: "/away%1b" });
      res.end();
    },
  };
  for (const [name, answer] of Object.entries(answers)) {
    test(`commands of the admin endpoint: ${name}`, async () => {
      const server = await serve(answer);
      for (const [i, command] of [...commands, ["portal", "--port", server.address.split(":")[1]]].entries()) {
        const forms = [[], ["--json"]];
        // What is read as rows is shown in two ways; an error is, in one.
        for (const more of name.startsWith("JSON") ? forms : [forms[i % 2]]) {
          const result = await run([...command, ...more, "--address", server.address]);
          harmless(result, `${command.join(" ")} ${more}`);
          if (name === "a redirect") assert.match(result.stderr, /redirect to .*check --address/);
        }
      }
    });
  }

  const sites = {
    "a receipt": json({ id: hostile, subscribers: 1 }),
    "a receipt with characters as they are": json(raw),
    "a refusal": json({ error: { code: hostile, message: hostile } }, 400),
    "a page": (_, res) => {
      res.writeHead(200, "\x9b2J\x85", { "Content-Type": "text/\x9b2J" });
      res.end(hostile);
    },
    "a redirect": (_, res) => {
      res.writeHead(302, "\x9b2J", { Location: "//\x9b2J/" });
      res.end();
    },
  };
  for (const [name, answer] of Object.entries(sites)) {
    test(`publish and listen: ${name}`, async () => {
      const server = await serve(answer);
      for (const command of [["publish", "a", "b"], ["publish", "a", "b", "--json"], ["listen", "a"], ["listen", "a", "--json"]]) {
        harmless(await run([...command, "--origin", server.origin]), command.join(" "));
      }
    });
  }

  test("publish and listen over TLS: names in a certificate that nobody trusts", async () => {
    const dir = mkdtempSync(join(tmpdir(), "realtime-"));
    try {
      const [cert, certKey] = [join(dir, "cert"), join(dir, "key")];
      execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
        "-utf8", "-subj", `/O=${hostile.replace(/[/\n]/g, "")}/CN=evil\u001b[2J`, "-keyout", certKey, "-out", cert], { stdio: "ignore" });
      const server = await serve(json({}), { cert: readFileSync(cert), key: readFileSync(certKey) });
      for (const command of [["publish", "a", "b"], ["listen", "a"]]) {
        for (const env of [{}, { SSL_CERT_FILE: cert }]) {
          const result = await run([...command, "--origin", server.origin], env);
          assert.equal(result.code, 1);
          harmless(result, command.join(" "));
        }
      }
      assert.equal(server.heard.length, 0);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe("a list without end ends caddy realtime app list:", () => {
  const pages = (next) => {
    let n = 0;
    return (_, res) => json({ apps: [], next: next(++n) })(_, res);
  };
  const cases = {
    "the same page again": [pages(() => "a"), /the page after "a" is that page again.*check --address/],
    "the first page again": [pages(() => ""), /the page after "" is that page again.*check --address/],
    "two pages in turn": [pages((n) => "ab"[n % 2]), /a list that has not ended after 5000 pages.*check --address/],
  };
  for (const [name, [answer, says]] of Object.entries(cases)) {
    test(name, async () => {
      const server = await serve(answer);
      const { code, stdout, stderr } = await run(["app", "list", "--address", server.address]);
      assert.equal(code, 1);
      assert.equal(stdout, "");
      assert.match(stderr.replaceAll('\\"', '"'), says);
    });
  }
});

describe("an answer that is none of the admin endpoint's fails with the cure:", () => {
  const cases = {
    "JSON of another shape": [json({ apps: [[]], keys: [[]], id: [], publish_key: 1 }), /JSON that this command does not know.*give --address/],
    "no object": [json([]), /JSON that this command does not know.*give --address/],
    "too deep": [json("[".repeat(20_000)), /not JSON.*give --address/],
    "no JSON": [json("<html>"), /not JSON.*give --address/],
    "half a body": [(_, res) => {
      res.writeHead(200, { "Content-Length": 100 });
      res.write("{", () => setImmediate(() => res.destroy()));
    }, /broke off.*may have been done.*check --address/],
  };
  const commands = [["app", "list"], ["app", "show", "x"], ["app", "create", "x"], ["key", "list", "x"], ["key", "add", "x", "--kind", "publish"], ["key", "rotate", "x", "y"]];
  for (const [name, [answer, says]] of Object.entries(cases)) {
    test(name, async () => {
      const server = await serve(answer);
      for (const command of commands) {
        const { code, stdout, stderr } = await run([...command, "--address", server.address]);
        assert.equal(code, 1, `${command.join(" ")}: ${stdout}`);
        assert.equal(stdout, "", command.join(" "));
        assert.match(stderr, says, command.join(" "));
      }
    });
  }
});

describe("a redirect", () => {
  for (const status of [301, 302, 303, 307, 308]) {
    test(`${status} gets neither key nor event, and is told with the cure`, async () => {
      const other = await serve(json({ id: "taken" }));
      const server = await serve((_, res) => {
        res.writeHead(status, { Location: `${other.origin}/elsewhere` });
        res.end();
      });
      for (const command of [["publish", "a", "b"], ["listen", "a"]]) {
        const { code, stdout, stderr } = await run(command, { REALTIME_URL: server.origin });
        assert.equal(code, 1);
        assert.equal(stdout, "");
        assert.match(stderr, new RegExp(`${status} .*a redirect to ${other.origin}/elsewhere.*not followed.*--origin ${other.origin} --path /elsewhere`));
      }
      assert.equal(other.heard.length, 0);
    });
  }
});

describe("caddy realtime publish succeeds only with a receipt", () => {
  const cases = {
    "an empty body": [json(""), /200 OK with an empty body/],
    "204": [(_, res) => res.writeHead(204).end(), /204 No Content with an empty body/],
    "a page": [(_, res) => res.writeHead(200, { "Content-Type": "text/html" }).end("<html>"), /a body of type text\/html/],
    "JSON without an id": [json({ ok: true }), /JSON without an id/],
    "JSON with an empty id": [json({ id: "" }), /JSON without an id/],
    "null": [json("null"), /JSON without an id/],
    "an array": [json([{ id: "x" }]), /JSON without an id/],
    "an id with an error's status": [json({ id: "x" }, 500), /500 Internal Server Error/],
    "an id with a redirect without address": [json({ id: "x" }, 304), /304 Not Modified, a redirect without/],
    "an error without words": [json({ error: { code: "x" } }, 400), /400 Bad Request/],
    "half a body": [(_, res) => {
      res.writeHead(200, { "Content-Length": 100 });
      res.write('{"id":"x"}', () => res.destroy());
    }, /cannot reach/],
  };
  for (const [name, [answer, says]] of Object.entries(cases)) {
    test(name, async () => {
      const server = await serve(answer);
      for (const more of [[], ["--json"]]) {
        const { code, stdout, stderr } = await run(["publish", "a", "b", ...more], { REALTIME_URL: server.origin });
        assert.equal(code, 1);
        assert.equal(stdout, "");
        assert.match(stderr, says);
        assert.match(stderr, /--origin/);
      }
    });
  }
});

test("REALTIME_URL and REALTIME_SOCKET_URL both name the site, and must not differ", async () => {
  const server = await serve(json({ id: "receipt" }));
  const [port] = await freePorts(1);
  const nowhere = `http://127.0.0.1:${port}`;
  const succeeds = async (env, ...args) => {
    const { code, stdout, stderr } = await run(["publish", "a", "b", ...args], env);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^receipt\t/);
  };
  await succeeds({ REALTIME_URL: server.origin });
  await succeeds({ REALTIME_SOCKET_URL: server.origin });
  await succeeds({ REALTIME_URL: server.origin, REALTIME_SOCKET_URL: `${server.origin}/` });
  await succeeds({ REALTIME_URL: nowhere, REALTIME_SOCKET_URL: "http://other" }, "--origin", server.origin);
  for (const command of [["publish", "a", "b"], ["listen", "a"]]) {
    const differ = await run(command, { REALTIME_URL: server.origin, REALTIME_SOCKET_URL: nowhere });
    assert.equal(differ.code, 1);
    assert.match(differ.stderr, /REALTIME_URL is .* and REALTIME_SOCKET_URL is .*: unset one/);
    assert.match((await run(command)).stderr, /REALTIME_URL or REALTIME_SOCKET_URL/);
  }
});
