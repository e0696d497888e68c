// caddy realtime … against servers that are no gateway: what reaches a terminal
// through the real binary, and where it sends keys. command_hostile_test.go has
// every command with every such answer, in one process.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { bin } from "./lib/caddy.mjs";
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

/** Announces 100 bytes, and sends those given. */
const halfABody = (begin) => (_, res) => {
  res.writeHead(200, { "Content-Length": 100 });
  res.write(begin, () => setImmediate(() => res.destroy()));
};

/** Fails if a terminal would act on it, or if the server has written a line. */
function harmless({ stdout, stderr }, about) {
  assert.doesNotMatch(stdout + stderr, /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/, about);
  assert.doesNotMatch(stdout + stderr, /^forged/m, about);
}

describe("a hostile server writes nothing that a terminal acts on, to", () => {
  const named = { id: hostile, name: hostile, kind: hostile, label: hostile, last4: hostile, key: hostile, created: "2030-01-01T00:00:00Z" };
  const app = { ...named, publish_key: hostile, subscribe_key: hostile, allowed_origins: [hostile], rate_limit: { publishes: 1, window: hostile }, keys: [named] };
  const admin = {
    "JSON": [json(app), 0, ["app", "show", "x"], ["app", "show", "x", "--json"]],
    "an error": [json({ error: { code: "x", message: hostile } }, 400), 1, ["key", "add", "x", "--kind", "publish"]],
    "a redirect": [(_, res) => res.writeHead(307, { Location: "/away%1b" }).end(), 1, ["portal"]],
  };
  for (const [name, [answer, code, ...commands]] of Object.entries(admin)) {
    test(`commands of the admin endpoint: ${name}`, async () => {
      const server = await serve(answer);
      for (const command of commands) {
        const result = await run([...command, "--address", server.address]);
        assert.equal(result.code, code, result.stderr);
        harmless(result, command.join(" "));
      }
    });
  }

  test("publish and listen: a page", async () => {
    const server = await serve((_, res) => {
      res.writeHead(200, "\x9b2J\x85", { "Content-Type": "text/\x9b2J" });
      res.end(hostile);
    });
    for (const command of [["publish", "a", "b"], ["listen", "a"]]) {
      const result = await run([...command, "--origin", server.origin]);
      assert.equal(result.code, 1);
      harmless(result, command.join(" "));
    }
  });

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

test("a list without end ends caddy realtime app list", async () => {
  const server = await serve(json({ apps: [], next: "a" }));
  const { code, stdout, stderr } = await run(["app", "list", "--address", server.address]);
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(stderr.replaceAll('\\"', '"'), /the page after "a" is the same page again.*check --address/);
});

test("an answer that is none of the admin endpoint's fails with the cure", async () => {
  const server = await serve(halfABody("{"));
  const { code, stdout, stderr } = await run(["app", "create", "x", "--address", server.address]);
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /broke off.*may have succeeded.*check --address/);
});

test("a redirect gets neither key nor event, and is told with the cure", async () => {
  const other = await serve(json({ id: "taken" }));
  const server = await serve((_, res) => res.writeHead(307, { Location: `${other.origin}/elsewhere` }).end());
  for (const command of [["publish", "a", "b"], ["listen", "a"]]) {
    const { code, stdout, stderr } = await run(command, { REALTIME_URL: server.origin });
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.match(stderr, new RegExp(`307 .*a redirect to ${other.origin}/elsewhere.*not followed.*--origin ${other.origin} --path /elsewhere`));
  }
  assert.equal(other.heard.length, 0);
});

test("caddy realtime publish succeeds only with a receipt", async () => {
  const server = await serve(halfABody('{"id":"x"}'));
  const { code, stdout, stderr } = await run(["publish", "a", "b"], { REALTIME_URL: server.origin });
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /cannot reach .*--origin/);
});

test("REALTIME_URL and REALTIME_SOCKET_URL both name the site, and must not differ", async () => {
  const server = await serve(json({ id: "receipt" }));
  const { code, stdout, stderr } = await run(["publish", "a", "b"], { REALTIME_SOCKET_URL: server.origin });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^receipt\t/);
  const differ = await run(["publish", "a", "b"], { REALTIME_URL: server.origin, REALTIME_SOCKET_URL: "http://127.0.0.1:1" });
  assert.equal(differ.code, 1);
  assert.match(differ.stderr, /REALTIME_URL is .* and REALTIME_SOCKET_URL is .*: unset one/);
});
