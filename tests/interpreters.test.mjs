// Handlers that execute, replace or rewrite what a site answers stand around
// ours. What clients, publishers and operators typed passes them untouched.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { Caddy, bin, transports } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const secret = "hunter2-of-the-database";
process.env.DB_PASSWORD = secret; // Caddy inherits it

// Each is valid for one or the other part of the templates handler.
const programs = ["{{env `DB_PASSWORD`}}", "{{listFiles `/`}}", "{{ user.name }}", "{{", '[[env "DB_PASSWORD"]]', "{env.DB_PASSWORD}", "{{placeholder `http.request.host`}}"];

const hash = execFileSync(bin, ["hash-password", "--plaintext", "secret", "--bcrypt-cost", "4"], { encoding: "utf8" }).trim();
const guard = `basic_auth /realtime* {\n\talice ${hash}\n}`;
const ours = "realtime {\n\tdocs_path /docs\n}\nrealtime_portal";
const everything = "mime text/plain text/html application/json text/event-stream application/octet-stream";

const surroundings = {
  templates: `templates`,
  "templates of every type": `templates {\n\t${everything}\n}`,
  "templates with other delimiters": `templates {\n\t${everything}\n\tbetween [[ ]]\n}`,
  "encode, header and templates": `encode gzip {\n\tminimum_length 1\n}\nheader >Via deferred\nheader -Server\ntemplates {\n\t${everything}\n}`,
  "intercept that replaces": `intercept {\n\t@any status 2xx 3xx 4xx 5xx\n\thandle_response @any {\n\t\ttemplates {\n\t\t\t${everything}\n\t\t}\n\t\trespond "replaced {{env \`DB_PASSWORD\`}}"\n\t}\n}`,
  "intercept that executes": `intercept {\n\thandle_response {\n\t\ttemplates {\n\t\t\t${everything}\n\t\t}\n\t}\n}\ntemplates`,
  "intercept that changes the status": `intercept {\n\treplace_status 418\n}`,
  "handle_errors": `templates\nhandle_errors {\n\ttemplates {\n\t\t${everything}\n\t}\n\trespond "{err.message} {{env \`DB_PASSWORD\`}}"\n}`,
};
const sites = Object.fromEntries(Object.entries(surroundings).map(([name, lines]) => [name, `${guard}\nlog\n${lines}\n${ours}`]));
sites["a route with templates first"] = `log\nroute {\n\t${guard}\n\ttemplates {\n\t\t${everything}\n\t}\n\tencode\n\theader Via inner\n\t${ours}\n}`;

for (const [name, site] of Object.entries(sites)) {
  describe(`beside ${name}`, () => {
    let caddy, app;
    before(async () => {
      caddy = await Caddy.start({ site: site.replaceAll("\t", "") });
      app = await caddy.app();
    });
    after(() => caddy.close());

    for (const [transport, list] of Object.entries(transports)) {
      test(`${transport}: what a client typed comes back as it was`, async () => {
        for (const program of programs) {
          const stranger = caddy.socket({}, { transports: list, auth: { appId: program, subscribeKey: "x" }, reconnection: false });
          const [err] = await once(stranger, "connect_error");
          assert.equal(err.data.code, "unknown_app");
          assert.ok(err.message.includes(JSON.stringify(program)), err.message);
          stranger.disconnect();
        }
        const socket = await caddy.subscriber(app, "orders.1", { transports: list });
        if (transport === "upgrade") await until("it is on a websocket", () => socket.io.engine.transport.name === "websocket");
        for (const program of programs) {
          const { error } = await socket.timeout(5_000).emitWithAck("subscribe", program);
          assert.equal(error.code, "invalid_channel");
        }
        socket.disconnect();
      });

      test(`${transport}: what a backend publishes arrives as it was`, async () => {
        const socket = await caddy.subscriber(app, "orders.1", { transports: list });
        const heard = [];
        const lost = [];
        for (const program of programs) socket.on(program, (data) => heard.push(data));
        socket.on("disconnect", (reason) => lost.push(reason));
        const sent = programs.map((program, n) => ({ n, program, in: [program, { [program]: `${program}{{` }] }));
        for (const data of sent) await caddy.published(app, { channel: "orders.1", event: data.program, data });
        await until("all events have arrived", () => heard.length >= sent.length);
        assert.deepEqual(heard, sent);
        assert.deepEqual(lost, []);
        socket.disconnect();
      });
    }

    test("what a request was refused for is repeated as it was", async () => {
      for (const program of programs) {
        const field = await caddy.publish(app, { channel: "c", event: "e", [program]: 1 });
        assert.equal(field.status, 400);
        assert.equal(field.headers["content-type"], "application/json");
        assert.ok(field.json.error.message.includes(JSON.stringify(program).slice(1, -1)), field.text);
        const header = await caddy.request("POST", "/publish", {
          headers: { "Content-Type": program, "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}`, Origin: "https://a.example" },
          body: "{}",
        });
        assert.equal(header.status, 415);
        assert.equal(header.json.error.code, "unsupported_media_type");
        assert.ok(!header.text.includes(secret));
        for (const query of [`transport=${encodeURIComponent(program)}`, `EIO=4&transport=polling&sid=${encodeURIComponent(program)}`]) {
          const refused = await caddy.request("GET", `/socket.io/?${query}`);
          assert.equal(refused.status, 400);
          assert.equal(typeof refused.json.code, "number", refused.text);
        }
      }
    });

    test("pages show it as it was", async () => {
      const alice = { Authorization: `Basic ${Buffer.from("alice:secret").toString("base64")}` };
      for (const program of programs) {
        const { id } = await caddy.app(program);
        const list = await caddy.request("GET", "/realtime/", { headers: alice });
        assert.equal(list.status, 200, list.text);
        const page = await caddy.request("GET", `/realtime/app/${id}`, { headers: { ...alice, Origin: caddy.origin } });
        assert.equal(page.status, 200, page.text);
        for (const { text } of [list, page]) {
          assert.ok(text.includes(program.replaceAll('"', "&#34;").replaceAll("`", "&#96;")) || text.includes(program), program);
          assert.ok(!text.includes(secret), program);
        }
        const docs = await caddy.request("GET", "/docs", { headers: { Origin: program } });
        assert.equal(docs.status, 200);
        assert.ok(docs.text.includes("</html>") && !docs.text.includes(secret));
        const redirect = await caddy.request("GET", "/realtime", { headers: alice });
        assert.equal(redirect.status, 308);
      }
    });

    test("headers, compression and the access log are as they would be without it", async () => {
      const publish = await caddy.request("POST", "/publish", {
        headers: { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` },
        body: '{"channel":"c","event":"e"}',
      });
      if (site.includes(">Via")) {
        assert.equal(publish.headers.via, "deferred");
        assert.equal(publish.headers.server, undefined);
      }
      if (site.includes("Via inner")) assert.equal(publish.headers.via, "inner");
      const last = (pattern) => caddy.logged(/http\.log\.access/).map((line) => JSON.parse(line)).findLast((l) => pattern.test(l.request.uri));
      await until("the publish is logged", () => last(/publish/)?.size === Buffer.byteLength(publish.text));
      assert.equal(last(/publish/).status, 200);
      if (site.includes("intercept")) return; // which takes the end of a handshake's request for its answer, and has that logged
      (await caddy.subscriber(app, "c")).disconnect();
      await until("the handshake is logged", () => last(/transport=websocket/));
      assert.equal(last(/transport=websocket/).status, 101);
    });
  });
}
