// Where the directive stands: Caddyfiles as people have them. Each works, or
// the log says at load what to write, and that works.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

let caddy, app, auth;

before(async () => {
  caddy = await Caddy.start();
  app = await caddy.app();
  mkdirSync(join(caddy.dir, "www"));
  writeFileSync(join(caddy.dir, "www/index.html"), "<!doctype html>the page");
  auth = http.createServer((req, res) => res.writeHead(req.headers["x-friend"] ? 200 : 401).end());
  auth.listen(0);
  await once(auth, "listening");
});
after(async () => {
  auth?.close();
  await caddy?.close();
});

// Of "user:secret", for basic_auth.
const hash = "ann $2a$04$CC9i8bFhI6tEpBcgfXPCgeeNKUMV2Pe6xIWXKnHKxjpC.FAIV3pKG";
const basic = `Basic ${Buffer.from("ann:secret").toString("base64")}`;

/** Fills in what only a run knows. */
const fill = (text) =>
  text
    .replaceAll("WWW", join(caddy.dir, "www"))
    .replaceAll("AUTH", `localhost:${auth.address().port}`)
    .replaceAll("DIR", caddy.dir)
    .replaceAll("ORIGIN", caddy.origin)
    .replaceAll("PORT", caddy.port)
    .replaceAll("HASH", hash);

/** A configuration with a site. */
const caddyfile = ({ site, options = "", before = "", sites = "", address = "ORIGIN" }) =>
  fill(`{
	admin localhost:${caddy.adminPort}
	auto_https disable_redirects
	skip_install_trust
	log {
		output stderr
		format json
	}
	realtime {
		keystore badger ${caddy.store}
		rate_limit 0
		ping_interval 1s
	}
	${options}
}
${before}
${address} {
${site}
}
${sites}
`);

/** Loads a site, and returns what the log says of it. */
async function load(config) {
  const from = caddy.logs.length;
  await caddy.load(caddyfile(config));
  const since = () => caddy.logs.slice(from).map((line) => JSON.parse(line));
  await until("the load is logged", () => since().some(({ msg }) => msg === "load complete"));
  return since().filter(({ level, fix }) => level === "warn" && fix);
}

const json = { "Content-Type": "application/json" };

function post(origin, path, headers, data) {
  return caddy.request("POST", path, {
    origin,
    documented: false,
    headers: { ...json, "X-App-Id": app.id, ...headers, Authorization: `Bearer ${app.publish_key}` },
    body: JSON.stringify({ channel: "orders", event: "e", data }),
  });
}

/** Fails unless a publish arrives at a stock client, by each transport. */
async function works({ prefix = "", publishPath = "/publish", headers = {}, origin = "ORIGIN" } = {}) {
  const socketPath = `${prefix}/socket.io`;
  const uri = fill(origin);
  const handshakes = `${socketPath}/?EIO=4&transport=polling`;
  const handshake = await caddy.request("GET", handshakes, { headers, origin: uri });
  assert.match(handshake.text, /^0\{"sid"/, "a handshake"); // sooner than a client gives up
  const { sid } = JSON.parse(handshake.text.slice(1));
  await caddy.request("POST", `${handshakes}&sid=${sid}`, { headers, origin: uri, body: "1" }); // or the next load waits for its client
  for (const list of [transports.websocket, transports.polling]) {
    const socket = await caddy.subscriber(app, "orders", { uri, transports: list, path: socketPath, extraHeaders: headers });
    try {
      const event = once(socket, "e");
      event.catch(() => {}); // an answer that is wrong says more
      const answer = await post(uri, `${prefix}${publishPath}`, headers, list[0]);
      assert.equal(answer.status, 200, answer.text);
      assert.ok(answer.json?.id, answer.text);
      assert.deepEqual(await event, [list[0]]);
    } finally {
      socket.disconnect();
    }
  }
}

const spa = "root * WWW\ntry_files {path} /index.html\nfile_server\n";
const others = "@not_realtime not path /socket.io* /publish*\n";
const block = "@realtime path /socket.io* /publish*\nhandle @realtime {\n\trealtime\n}\nhandle {\n";

/**
 * site and the like: as load takes them; reach: as works takes it; says: the
 * directive that the log is to name, with fixed, the site as it says.
 */
const cases = {
  "realtime alone": { site: "realtime" },
  "reverse_proxy": { site: "realtime\nreverse_proxy AUTH" },
  "a single-page app": { site: `${spa}realtime` },
  "a single-page app whose index has a query": { site: "root * WWW\ntry_files {path} /index.html?from={path}\nfile_server\nrealtime" },
  "a single-page app with encode, header, templates and intercept": {
    site: `${spa}realtime\nencode\nheader X-A b\ntemplates\nintercept {\n\t@gone status 404\n\thandle_response @gone {\n\t\trespond gone\n\t}\n}`,
  },
  "a single-page app in a handle block with realtime": { site: `handle {\n${spa}realtime\n}` },
  "a single-page app in a handle block": {
    site: `handle {\n${spa}}\nrealtime`,
    says: "handle with file_server",
    fixed: `${others}handle @not_realtime {\n${spa}}\nrealtime`,
  },
  "a single-page app in a route block": {
    site: `route {\n${spa}}\nrealtime`,
    says: "handle with file_server",
    fixed: `${others}route @not_realtime {\n${spa}}\nrealtime`,
  },
  "a single-page app, and realtime in a block of its own": {
    site: `${spa}handle /socket.io* {\n\trealtime\n}\nhandle /publish* {\n\trealtime\n}\nhandle {\n\tfile_server\n}`,
    says: "handle with file_server",
    fixed: `${block}${spa}}`,
  },
  "a single-page app that greets": { site: `${spa}respond hello\nrealtime`, says: "respond", fixed: `${block}${spa}respond hello\n}` },
  "rewrite": { site: "root * WWW\nrewrite * /index.html\nfile_server\nrealtime" },
  "rewrite with another query": { site: "rewrite * /index.php?q={path}\nrespond /index.html 410\nrealtime" },
  "rewrite of the publish path": { site: "rewrite /publish /old\nrealtime" },
  "rewrite to the publish path": { site: "rewrite /events /publish\nrealtime", reach: { publishPath: "/events" } },
  "respond": { site: 'respond "hello"\nrealtime', says: "respond", fixed: `${others}respond @not_realtime "hello"\nrealtime` },
  "respond 404": { site: "respond 404\nrealtime", says: "respond", fixed: `${others}respond @not_realtime 404\nrealtime` },
  "respond that answers all but one path": {
    site: "@app not path /app*\nrespond @app 404\nrealtime",
    says: "respond",
    fixed: "@app {\nnot path /app*\nnot path /socket.io* /publish*\n}\nrespond @app 404\nrealtime",
  },
  "respond to who is no friend": { site: "@enemy not header X-Friend *\nrespond @enemy 403\nrealtime", reach: { headers: { "X-Friend": "1" } } },
  "respond that closes the publish path, on purpose": {
    site: "@other {\npath /publish\nnot header X-Friend *\n}\nrespond @other 403\nrealtime",
    reach: { headers: { "X-Friend": "1" } },
  },
  "abort": { site: "abort\nrealtime", says: "abort", fixed: `${others}abort @not_realtime\nrealtime` },
  "abort of robots": { site: "@robot header User-Agent *bot*\nabort @robot\nrealtime" },
  "error": { site: "error 503\nrealtime", says: "error", fixed: `${others}error @not_realtime 503\nrealtime` },
  "error for some paths, and handle_errors": { site: "error /private* 403\nhandle_errors {\n\trespond sorry\n}\nrealtime\nfile_server" },
  "redir": { site: "redir https://example.org{uri}\nrealtime", says: "redir", fixed: `${others}redir @not_realtime https://example.org{uri}\nrealtime` },
  "redir of one path": { site: "redir /old /new\nrealtime" },
  "handle blocks, with realtime in the last": { site: "handle /api* {\n\trespond api\n}\nhandle {\n\trealtime\n\treverse_proxy AUTH\n}" },
  "handle blocks, with realtime outside": {
    site: "handle /api* {\n\trespond api\n}\nhandle {\n\treverse_proxy AUTH\n}\nrealtime",
    says: "handle with reverse_proxy",
    fixed: `${others}handle /api* {\n\trespond api\n}\nhandle @not_realtime {\n\treverse_proxy AUTH\n}\nrealtime`,
  },
  "handle blocks for a header and for all else": {
    site: "@mobile header X-Mobile *\nhandle @mobile {\n\trespond mobile\n}\nhandle {\n\trespond desktop\n}\nrealtime",
    says: "handle with respond",
    fixed: `${block}\trealtime\n@mobile header X-Mobile *\nhandle @mobile {\n\trespond mobile\n}\nhandle {\n\trespond desktop\n}\n}`,
    loosely: true,
  },
  "handle blocks with a block of realtime's own": {
    site: "handle /socket.io* {\n\trealtime\n}\nhandle /publish {\n\trealtime\n}\nhandle {\n\treverse_proxy AUTH\n}",
  },
  "handle that has the socket path for another server": {
    site: "handle /socket.io* {\n\treverse_proxy AUTH\n}\nrealtime",
    says: "handle with reverse_proxy",
    fixed: "realtime",
    loosely: true,
  },
  "handle_path": { site: "handle_path /rt/* {\n\trealtime\n}\nrespond 404", reach: { prefix: "/rt" } },
  "handle_path around a single-page app": {
    site: `handle_path /rt/* {\n${spa}realtime\n}`,
    says: "file_server",
    fixed: `handle_path /rt/* {\n${block}${spa}}\n}`,
    reach: { prefix: "/rt" },
  },
  "route, with realtime first": { site: "route {\n\trealtime\n\trespond 404\n}" },
  "route, with realtime last": {
    site: "route {\n\trespond 404\n\trealtime\n}",
    says: "respond",
    fixed: `${others}route {\n\trespond @not_realtime 404\n\trealtime\n}`,
  },
  "uri strip_prefix": { site: "uri strip_prefix /rt\nrealtime", reach: { prefix: "/rt" } },
  "uri replace": { site: "uri replace /socket /plug\nuri replace /publish /x\nrealtime\nfile_server" },
  "php_fastcgi": { site: "root * WWW\nphp_fastcgi AUTH\nfile_server\nrealtime" },
  "php_fastcgi in a handle block": {
    site: "root * WWW\nhandle {\n\tphp_fastcgi AUTH\n\tfile_server\n}\nrealtime",
    says: "handle with reverse_proxy",
    fixed: `${others}root * WWW\nhandle @not_realtime {\n\tphp_fastcgi AUTH\n\tfile_server\n}\nrealtime`,
  },
  "forward_auth": { site: "forward_auth AUTH {\n\turi /auth\n}\nrealtime", reach: { headers: { "X-Friend": "1" } } },
  "forward_auth around a single-page app": { site: `forward_auth AUTH {\n\turi /auth\n}\n${spa}realtime`, reach: { headers: { "X-Friend": "1" } } },
  "basic_auth for other paths": { site: `basic_auth /admin* {\n\tHASH\n}\n${spa}realtime` },
  "method": { site: "@head method HEAD\nmethod @head GET\nrealtime" },
  "method of all requests": { site: "method GET\nrealtime", says: "method", fixed: `${others}method @not_realtime GET\nrealtime` },
  "method of all requests before a handle block": {
    site: "method POST\nhandle {\n\trealtime\n}",
    says: "method",
    fixed: `${others}method @not_realtime POST\nhandle {\n\trealtime\n}`,
  },
  "method of some paths": {
    site: "@old path /publish* /old*\nmethod @old PUT\nrealtime",
    says: "method",
    fixed: "@old {\npath /publish* /old*\nnot path /socket.io* /publish*\n}\nmethod @old PUT\nrealtime",
  },
  "method that another path needs": { site: "method /events POST\nrewrite /events /publish\nrealtime", reach: { publishPath: "/events" } },
  "map and vars": { site: 'map {path} {what} {\n\t/publish yes\n\tdefault no\n}\nvars a b\n@no vars {what} never\nrespond @no 403\nrealtime' },
  "request_body and header": { site: "request_body {\n\tmax_size 1MB\n}\nheader /socket.io* X-A b\nheader -Server\nrealtime" },
  "tracing and log_append aside, a matcher of the directive": {
    site: "realtime /rt/* {\n\tsocket_path /rt/socket.io\n\tpublish_path /rt/publish\n}\nrespond /x 404",
    reach: { prefix: "/rt" },
  },
  "a matcher of the directive, and paths outside it": {
    site: "realtime /rt/*",
    says: "realtime",
    fixed: "realtime /rt/* {\n\tpublish_path /rt/publish\n\tsocket_path /rt/socket.io\n}",
    reach: { prefix: "/rt" },
  },
  "a snippet with arguments": { before: "(rt) {\n\trealtime {\n\t\tsocket_path {args[0]}/socket.io\n\t\tpublish_path {args[0]}/publish\n\t}\n}", site: "import rt /a", reach: { prefix: "/a" } },
  "a named route": { before: "&(rt) {\n\trealtime\n}", site: "invoke rt\nfile_server" },
  "a named route that answers everything": {
    before: "&(all) {\n\trespond all\n}",
    site: "invoke all\nrealtime",
    says: "invoke all with respond",
    fixed: `${others}invoke @not_realtime all\nrealtime`,
  },
  "two sites": { site: "realtime", sites: "http://other.test:PORT {\n\trespond other\n}" },
  "a site of any host before it": { address: "http://:PORT", site: "respond all", sites: "http://localhost:PORT {\n\trealtime\n}" },
  "a wildcard site before it": { address: "http://*:PORT", site: "respond all", sites: "http://localhost:PORT {\n\trealtime\n}" },
  "a site of any host, beside localhost": {
    address: "http://:PORT",
    site: "realtime",
    sites: "http://localhost:PORT {\n\trespond localhost\n}",
    reach: { origin: "http://127.0.0.1:PORT" },
  },
  "a site of any host that greets, and one of localhost": {
    address: "http://:PORT",
    site: "respond hello\nrealtime",
    sites: "http://localhost:PORT {\n\trealtime\n}",
    says: "respond",
    fixed: `${others}respond @not_realtime hello\nrealtime`,
    reach: { origin: "http://127.0.0.1:PORT" },
  },
  "respond for all hosts but one": {
    address: "http://:PORT",
    site: "@others not host 127.0.0.1\nrespond @others hello\nrealtime",
    reach: { origin: "http://127.0.0.1:PORT" },
  },
  "a wildcard host": { address: "http://localhost:PORT, http://*.example.test:PORT", site: "@a host a.example.test\nhandle @a {\n\trespond a\n}\nhandle {\n\trealtime\n}" },
  "any host": { address: "http://:PORT", site: `${spa}realtime` },
  "the order option": { options: "order realtime first", site: 'respond "hello"\nredir https://example.org\nrealtime' },
  "a unix socket beside": { site: `${spa}realtime`, sites: "http:// {\n\tbind unix/DIR/s.sock\n\trealtime\n\tfile_server\n}" },
};

describe("the directive", () => {
  for (const [name, { says, fixed, loosely, reach, ...config }] of Object.entries(cases)) {
    test(`works or is explained beside: ${name}`, async () => {
      const said = await load(config);
      if (!says) {
        assert.deepEqual(said, [], "a warning of what works");
        await works(reach);
        return;
      }
      assert.equal(said.length, 1, JSON.stringify(said));
      const [{ directive, fix, site, paths }] = said;
      assert.equal(directive, says, JSON.stringify(said));
      assert.ok(site && paths.length > 0);
      await assert.rejects(works(reach), "it works, so why does the log say it does not?");
      if (!loosely) {
        for (const line of fix.split("\n").filter((line) => !line.includes("#"))) {
          const [start] = line.trim().split("…");
          assert.ok(fixed.includes(start.trim()), `"${start}" of the log's fix\n${fix}\nis not in\n${fixed}`);
        }
      }
      assert.deepEqual(await load({ ...config, site: fixed }), []);
      await works(reach);
    });
  }
});

test("caddy validate says what a load would, and nothing of a configuration that cannot be loaded", async () => {
  const file = join(caddy.dir, "validated");
  const validate = async (config) => {
    writeFileSync(file, caddyfile(config));
    return caddy.command("validate", "--adapter", "caddyfile", "--config", file);
  };
  const warned = await validate({ site: "respond 404\nrealtime" });
  assert.match(warned.output, /"directive":\s?"respond".*"fix":/);
  assert.equal(warned.code, 0);
  const right = await validate({ site: "realtime" });
  assert.equal(right.code, 0);
  assert.doesNotMatch(right.output, /"fix":/);
  const wrong = await validate({ site: "respond 404\nrealtime\nreverse_proxy localhost {\n\ttransport http {\n\t\ttls_trusted_ca_certs missing.pem\n\t}\n}" });
  assert.equal(wrong.code, 1);
  assert.doesNotMatch(wrong.output, /"fix":/);
});

/** A request whose path is sent as it is written. */
function raw(method, path, headers = {}, body) {
  return new Promise((resolve, reject) => {
    const req = http.request({ host: "localhost", port: caddy.port, method, path, headers, agent: false }, (res) => {
      let text = "";
      res.on("data", (chunk) => (text += chunk));
      res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, text }));
    });
    req.on("error", (err) => (err.code === "ECONNRESET" ? resolve({ status: 0, headers: {}, text: "" }) : reject(err)));
    req.end(body);
  });
}

const publishAt = (path, headers = {}) =>
  raw("POST", path, { ...json, "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}`, ...headers }, '{"channel":"orders","event":"e"}');

/** A handshake, whose session is closed: the next load would wait a second for its client. */
async function handshakeAt(path, headers) {
  const answer = await raw("GET", `${path}?EIO=4&transport=polling`, headers);
  const sid = /^0\{"sid":"(.+?)"/.exec(answer.text)?.[1];
  if (sid) await raw("POST", `${path}?EIO=4&transport=polling&sid=${sid}`, headers, "1");
  return answer;
}

const served = {
  publish: ["/publish", "//publish", "///publish", "/./publish", "/x/../publish", "/x/%2e%2e/publish", "/%70ublish", "/%2Fpublish"],
  socket: ["/socket.io/", "/socket.io", "//socket.io/", "/socket.io//", "/./socket.io/", "/socket%2Eio/", "/socket.io%2F"],
};
const redirected = {
  publish: ["/publish/", "//publish/", "/publish//", "/publish%2F", "/Publish", "/PUBLISH/", "/%50ublish"],
  socket: ["/Socket.IO/", "/SOCKET.IO", "//Socket.io//"],
};

test("a path with other slashes, dots or escapes is ours; one with a slash at its end or another case is sent to ours", async () => {
  for (const prefix of ["", "/rt"]) {
    assert.deepEqual(await load({ site: prefix ? "handle_path /rt/* {\n\trealtime\n}" : `${spa}realtime` }), []);
    for (const path of served.publish) {
      const answer = await publishAt(prefix + path);
      assert.ok(answer.status === 200 && JSON.parse(answer.text).id, `${prefix + path}: ${answer.status} ${answer.text}`);
    }
    for (const path of served.socket) {
      const answer = await handshakeAt(prefix + path);
      assert.match(answer.text, /^0\{"sid"/, `${prefix + path}: ${answer.status} ${answer.text}`);
    }
    for (const [path, right, request] of [
      ...redirected.publish.map((path) => [path, "/publish", publishAt]),
      ...redirected.socket.map((path) => [path, "/socket.io/", handshakeAt]),
    ]) {
      const answer = await request(prefix + path);
      assert.equal(answer.status, 308, `${prefix + path}: ${answer.status} ${answer.text}`);
      assert.equal(answer.headers.location.split("?")[0], prefix + right);
      const { error } = JSON.parse(answer.text);
      assert.equal(error.code, "not_found");
      assert.ok(error.message.includes(`Use exactly ${prefix + right}.`), error.message);
    }
    const followed = await fetch(`http://localhost:${caddy.port}${prefix}/publish/`, {
      method: "POST",
      headers: { ...json, "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` },
      body: '{"channel":"orders","event":"e"}',
    });
    assert.equal(followed.status, 200);
    assert.ok((await followed.json()).id);
  }
});

/** Guards, of a path each, which X-Friend or the password opens. */
const guards = {
  "basic_auth": { guard: "basic_auth PATH {\n\tHASH\n}", directive: "basic_auth", friend: { Authorization: basic } },
  "forward_auth": { guard: "forward_auth PATH AUTH {\n\turi /auth\n}", directive: "reverse_proxy" },
  "respond": { guard: "@stranger {\n\tpath PATH\n\tnot header X-Friend *\n}\nrespond @stranger 403", directive: "respond" },
  "error": { guard: "@stranger {\n\tpath PATH\n\tnot header X-Friend *\n}\nerror @stranger 403", directive: "error" },
  "abort": { guard: "@stranger {\n\tpath PATH\n\tnot header X-Friend *\n}\nabort @stranger", directive: "abort" },
  "a route block": {
    guard: "@stranger {\n\tpath PATH\n\tnot header X-Friend *\n}\nroute @stranger {\n\trespond 403\n}",
    directive: "handle",
  },
  "an expression": { guard: "@stranger expression `path('PATH') && !header({'X-Friend': '*'})`\nrespond @stranger 403", directive: "respond" },
  "a regular expression": {
    guard: "@stranger {\n\tpath_regexp ^PATTERN\n\tnot header X-Friend *\n}\nrespond @stranger 403",
    directive: "respond",
  },
};

describe("what guards a path guards it in every spelling, and after a rewrite", () => {
  const paths = [
    ["/publish", served.publish.concat(redirected.publish), publishAt],
    ["/publish*", served.publish.concat(redirected.publish), publishAt],
    ["/socket.io*", served.socket.concat(redirected.socket), handshakeAt],
  ];
  for (const [name, { guard, directive, friend = { "X-Friend": "1" } }] of Object.entries(guards)) {
    for (const [pattern, spellings, request] of paths) {
      test(`${name} ${pattern}`, async () => {
        const line = guard.replaceAll("PATH", pattern).replaceAll("PATTERN", pattern.replace("*", ""));
        const isServed = ({ status, text }) => status === 200 && /"s?id":/.test(text);
        const keptOut = async (what, headers) => {
          for (const path of spellings) {
            const answer = await request(path, headers);
            assert.ok(!isServed(answer), `${what}, ${path}: ${answer.status} ${answer.text}`);
          }
        };
        const letsIn = async () => {
          const [path] = spellings;
          // Bearer and Basic are one header, so no publish gets past basic_auth.
          if (request === publishAt && friend.Authorization) return;
          const answer = await request(path, friend);
          assert.ok(isServed(answer), `${path} of a friend: ${answer.status} ${answer.text}`);
        };

        assert.deepEqual(await load({ site: `${line}\nrealtime` }), []);
        await keptOut("without a rewrite");
        await letsIn();

        const [said, ...more] = await load({ site: `${spa}${line}\nrealtime` });
        assert.deepEqual(more, []);
        assert.equal(said?.directive, directive);
        await keptOut("after a rewrite");

        const fixed = `@realtime path /socket.io* /publish*\nhandle @realtime {\n${line}\nrealtime\n}\nhandle {\n${spa}}`;
        assert.ok(said.fix.includes("handle @realtime {"), said.fix);
        assert.deepEqual(await load({ site: fixed }), []);
        await keptOut("with the fix");
        await letsIn();
      });
    }
  }
});

// The guard is only for some hosts or methods, so one request does not meet it.
test("what guards a path of one host guards it after a rewrite of all hosts", async () => {
  const guard = "respond /publish* 403\nrespond /socket.io* 403";
  const index = `rewrite * /index.html`;
  const address = "http://localhost:PORT, http://*.example.test:PORT";
  for (const [name, config] of Object.entries({
    "a block": { site: `route {\n${index}\n@b host b.example.test\nhandle @b {\n${guard}\n}\nrealtime\n}` },
    "a block in a block": { site: `route {\n${index}\n@b host b.example.test\nroute @b {\nroute {\n${guard}\n}\n}\nrealtime\n}` },
    "the rest of a group": {
      site: `route {\n${index}\n@others not host b.example.test\nhandle @others {\nheader X-A b\n}\nhandle {\n${guard}\n}\nrealtime\n}`,
    },
    "a named route that two hosts have": {
      before: "&(shared) {\n\trealtime\n}",
      site: `@a host a.example.test
handle @a {
	route {
		${index}
		invoke shared
	}
}
@b host b.example.test
handle @b {
	route {
		${index}
		${guard}
		invoke shared
	}
}`,
    },
  })) {
    const said = await load({ address, ...config });
    assert.deepEqual(said.map(({ directive }) => directive), ["respond"], name);
    const headers = { Host: "b.example.test" };
    for (const answer of [await publishAt("/publish", headers), await handshakeAt("/socket.io/", headers)]) {
      assert.doesNotMatch(answer.text, /"s?id":/, name);
    }
  }
});

test("what guards a path of one method guards it after a rewrite of all methods", async () => {
  const rest = "@get method GET\nhandle @get {\nheader X-A b\n}\nhandle {\nrespond /socket.io* 403\n}\nrealtime";
  assert.deepEqual(await load({ site: `route {\n${rest}\n}` }), []);
  const said = await load({ site: `route {\nrewrite * /index.html\n${rest}\n}` });
  assert.deepEqual(said.map(({ directive }) => directive), ["respond"]);
  assert.doesNotMatch((await handshakeAt("/socket.io/")).text, /"sid":/);
});

test("a method that a path sets for a guard to look at guards it after a rewrite", async () => {
  const guard = "method /publish* DELETE\n@guarded method DELETE\nrespond @guarded 403";
  await load({ site: `route {\n${guard}\nrealtime\n}` });
  assert.equal((await publishAt("/publish")).status, 403);
  const said = await load({ site: `route {\nrewrite * /index.html\n${guard}\nrealtime\n}` });
  assert.deepEqual(said.map(({ directive }) => directive), ["method"]);
  assert.doesNotMatch((await publishAt("/publish")).text, /"id":/);
});

test("a request header that a path sets for a guard to look at guards it after a rewrite", async () => {
  const guard = "request_header /publish* X-Guarded 1\n@guarded header X-Guarded 1\nrespond @guarded 403";
  assert.deepEqual(await load({ site: `route {\n${guard}\nrealtime\n}` }), []);
  assert.equal((await publishAt("/publish")).status, 403);
  const said = await load({ site: `route {\nrewrite * /index.html\n${guard}\nrealtime\n}` });
  assert.deepEqual(said.map(({ directive }) => directive), ["request_header"]);
  assert.doesNotMatch((await publishAt("/publish")).text, /"id":/);
  assert.deepEqual(await load({ site: `${spa}header X-A b\nrequest_header /other X-B c\nrealtime` }), []);
  await works();
});

test("what guards a whole site guards a single-page app's sockets and publishes", async () => {
  for (const guard of [
    "@stranger not header X-Friend *\nrespond @stranger 403",
    "@stranger expression `!header({'X-Friend': '*'})`\nabort @stranger",
    "@stranger expression `{header.X-Friend} != \"1\"`\nerror @stranger 403",
    "forward_auth AUTH {\n\turi /auth\n}",
  ]) {
    assert.deepEqual(await load({ site: `${spa}${guard}\nrealtime` }), [], guard);
    assert.ok([0, 401, 403].includes((await publishAt("/publish")).status), guard);
    assert.ok([0, 401, 403].includes((await handshakeAt("/socket.io/")).status), guard);
    await works({ headers: { "X-Friend": "1" } });
  }
  assert.deepEqual(await load({ site: `${spa}basic_auth {\n\tHASH\n}\nrealtime` }), []);
  assert.equal((await handshakeAt("/socket.io/")).status, 401);
  assert.match((await handshakeAt("/socket.io/", { Authorization: basic })).text, /^0\{"sid"/);
});

test("the portal of a single-page app is there for who is authenticated, and the log says if nobody can be", async () => {
  const portal = (headers) => raw("GET", "/realtime/", headers);
  assert.deepEqual(await load({ site: `${spa}basic_auth {\n\tHASH\n}\nrealtime_portal` }), []);
  assert.equal((await portal()).status, 401);
  assert.match((await portal({ Authorization: basic })).text, /portal|apps/i);

  const [said, ...more] = await load({ site: `${spa}basic_auth /realtime* {\n\tHASH\n}\nrealtime_portal` });
  assert.deepEqual(more, []);
  assert.equal(said.directive, "basic_auth");
  assert.match((await portal({ Authorization: basic })).text, /the page/);
  const fixed = `@realtime path /realtime*\nhandle @realtime {\nbasic_auth {\n\tHASH\n}\nrealtime_portal\n}\nhandle {\n${spa}}`;
  assert.ok(said.fix.startsWith("@realtime path /realtime*\nhandle @realtime {\n\tbasic_auth …\n\trealtime_portal\n}"), said.fix);
  assert.deepEqual(await load({ site: fixed }), []);
  assert.equal((await portal()).status, 401);
  assert.match((await portal({ Authorization: basic })).text, /portal|apps/i);
});
