// openapi.yaml, from the document to the server: all that it says is so, and
// every answer in it, every error included, is one that the server gives.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { bin, Caddy, transports } from "./lib/caddy.mjs";
import { EventStream } from "./lib/events.mjs";
import { bodySchema, documented, file, find, lacks, operations, parametersOf, seen, spec } from "./lib/openapi.mjs";
import { once, until } from "./lib/wait.mjs";

process.env.TZ = "Asia/Kolkata"; // times are in UTC, wherever the server is

const friend = "https://shop.example";
const json = { "Content-Type": "application/json" };
const event = { channel: "orders", event: "e" };

describe("openapi.yaml", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start({ site: `realtime {\n\torigins ${friend}\n}` });
  });
  after(() => caddy.close());

  const admin = operations.filter(({ path }) => path.startsWith("/realtime/"));
  const send = (operation, path, { headers = {}, body } = {}) =>
    caddy.request(operation.method, path, { origin: operation.path === "/publish" ? caddy.origin : caddy.adminOrigin, headers, body });
  const named = (name) => operations.find((operation) => operation.name === name);
  const examplesOf = (operation) =>
    Object.values(operation.node.requestBody?.content["application/json"].examples ?? {}).map(({ value }) => value);
  const succeeds = (operation) => Number(Object.keys(operation.node.responses).find((status) => status < 300));

  /** The path of an operation, with what there is in place of its parameters. */
  const fill = ({ path }, ids) => path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(ids[name]));
  const nobody = { app: "app_none", key: "key_none", hook: "hook_none", socket: "none", channel: "none", user: "none" };

  /** An app whose tokens can be signed. */
  const signer = async () => {
    const app = await caddy.app();
    assert.equal((await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "sign" })).status, 201);
    return app;
  };

  const addHook = async (app) => {
    const answer = await caddy.admin("POST", `/realtime/webhooks/${app.id}`, { url: "https://app.example.com/hooks" });
    assert.equal(answer.status, 201, answer.text);
    return answer.json.id;
  };

  /** An app with a key, a webhook and a connected socket that an operation may change. */
  const fresh = async () => {
    const app = await signer();
    const socket = await caddy.subscriber(app, "orders");
    return { made: app, app: app.id, key: app.keys[0].id, hook: await addHook(app), socket: socket.id, channel: "orders", user: "42" };
  };
  const credentials = (app) => ({ "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` });
  const publish = (app, body, headers = {}) => send(named("POST /publish"), "/publish", { headers: { ...json, ...credentials(app), ...headers }, body: JSON.stringify(body) });

  /** The answer to a publish that is repeated while it is in progress, which takes some attempts. */
  const inProgress = async (app) => {
    await Promise.all(Array.from({ length: 30 }, () => caddy.subscriber(app, event.channel)));
    const messages = Array.from({ length: 100 }, () => event);
    return until("a publish is repeated while it is in progress", async () => {
      const key = { "Idempotency-Key": randomUUID() };
      const answers = await Promise.all(Array.from({ length: 8 }, () => publish(app, { messages }, key)));
      return answers.find(({ status }) => status !== 200);
    });
  };

  /** Sends an operation what it takes. */
  const use = async (operation, ids, body = examplesOf(operation)[0]) =>
    operation.name === "POST /publish"
      ? publish(ids.made, body)
      : send(operation, fill(operation, ids), body === undefined ? {} : { headers: json, body: JSON.stringify(body) });

  test("is valid, as are its schemas and its examples of answers", async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(spec));
    assert.ok(valid, JSON.stringify(errors, null, 2));
    for (const name of Object.keys(spec.components.schemas)) lacks(`#/components/schemas/${name}`, null);
    let count = 0;
    for (const { name, node, pointer } of operations) {
      for (const status of Object.keys(node.responses)) {
        const response = find(pointer, "responses", status);
        for (const [type, { example, examples }] of Object.entries(response.node.content ?? {})) {
          const media = `${response.pointer}/content/${type.replace("/", "~1")}`;
          const values = examples ? Object.keys(examples).map((each) => find(media, "examples", each).node.value) : [example];
          for (const value of values) assert.equal(lacks(`${media}/schema`, value), undefined, `${name} ${status}: ${JSON.stringify(value)}`);
          count += values.filter((value) => value !== undefined).length;
          assert.notEqual(values[0], undefined, `${name} ${status} has no example`);
        }
      }
    }
    assert.ok(count > 50, `${count} examples`);
  });

  test("is what the server serves", async () => {
    const served = await caddy.admin("GET", "/realtime/openapi.yaml");
    assert.equal(served.text, readFileSync(file, "utf8"));
    assert.equal((await caddy.admin("HEAD", "/realtime/openapi.yaml")).status, 200);
  });

  test("has no example of a request that the server does not accept", async () => {
    for (const operation of operations) {
      for (const body of examplesOf(operation)) {
        assert.equal(lacks(bodySchema(operation), body), undefined, operation.name);
        const answer = await use(operation, await fresh(), body);
        assert.equal(answer.status, succeeds(operation), `${operation.name} ${JSON.stringify(body)}: ${answer.text}`);
      }
    }
  });

  test("takes of each field what the server takes, and refuses what it refuses", async () => {
    const values = [null, true, -1, 0, 1, 0.5, 2_000_000, 1e15, "", " ", "x", "no spaces", "x".repeat(101), "x".repeat(201), "connect", "a\nb", "1h"];
    values.push([], ["*"], ["x"], {}, { publishes: 0 }, { publishes: 1 }, { window: "1h" }, { publishes: 1, window: "1h" }, { publishes: 0, window: "x" });
    for (const operation of operations.filter(({ node }) => node.requestBody)) {
      const whole = examplesOf(operation).at(-1);
      const { node } = find(bodySchema(operation));
      const names = Object.keys(node.properties);
      const bodies = names.flatMap((name) => values.map((value) => ({ ...whole, [name]: value })));
      bodies.push(...values, ...names.map((name) => ({ ...whole, [name]: undefined })), { ...whole, colour: "red" });
      bodies.push(...names.map((name) => ({ ...whole, [name.toUpperCase()]: whole[name] ?? null })));
      for (const body of bodies.map((each) => JSON.parse(JSON.stringify(each)))) {
        const made = await signer();
        const answer = await use(operation, { made, app: made.id, key: made.keys[0].id, hook: await addHook(made) }, body);
        const wrong = lacks(bodySchema(operation), body);
        const want = wrong === undefined ? [succeeds(operation)] : [400, 422];
        assert.ok(want.includes(answer.status), `${operation.name} ${JSON.stringify(body)}: ${answer.status} ${answer.text}; the document: ${wrong ?? "valid"}`);
      }
    }
  });

  test("has every operation, as it succeeds", async () => {
    for (const operation of operations) {
      const ids = await fresh();
      if (operation.path.endsWith("/members")) ids.channel = "presence-orders";
      if (operation.path.startsWith("/realtime/live/")) {
        const stream = await EventStream.open(caddy.adminOrigin + fill(operation, ids));
        assert.equal(stream.status, 200);
        stream.close();
        continue;
      }
      const answer = await use(operation, ids);
      assert.equal(answer.status, succeeds(operation), `${operation.name}: ${answer.text}`);
    }
    const app = await caddy.app();
    const channel = "a//b/../c";
    await caddy.subscriber(app, channel);
    const shown = await caddy.admin("GET", `/realtime/channels/${app.id}/${encodeURIComponent(channel)}`);
    assert.deepEqual(shown.json, { channel, subscribers: 1 });
  });

  test("has what a browser asks before it publishes", async () => {
    const asks = (headers) => caddy.request("OPTIONS", "/publish", { headers });
    const preflight = await asks({ Origin: friend, "Access-Control-Request-Method": "POST" });
    assert.deepEqual([preflight.status, preflight.headers["access-control-allow-methods"]], [204, "POST"]);
    const plain = await asks({});
    assert.deepEqual([plain.status, plain.headers.allow], [204, "POST, OPTIONS"]);
    assert.equal((await asks({ Origin: "https://a.example", "Access-Control-Request-Method": "POST" })).status, 403);
  });

  test("has what is answered to a wrong path and a wrong method", async () => {
    for (const path of ["/realtime/nothing", "/realtime/apps/", "/realtime/health/x"]) {
      assert.equal((await caddy.admin("GET", path)).status, 404, path);
    }
    const ids = await fresh();
    for (const path of Object.keys(spec.paths)) {
      const taken = operations.filter((operation) => operation.path === path).map(({ method }) => method);
      if (taken.includes("GET")) taken.push("HEAD");
      for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"].filter((each) => !taken.includes(each))) {
        const answer = await send({ method, path }, fill({ path }, ids));
        assert.equal(answer.status, 405, `${method} ${path}: ${answer.text}`);
      }
    }
  });

  describe("has no error that the server does not give", () => {
    const expect = async (answer, status, code) => {
      const { status: got, text, json: body } = await answer;
      assert.deepEqual([got, body?.error?.code], [status, code], text);
    };

    test("of the admin endpoint", async () => {
      for (const operation of admin) {
        const path = fill(operation, nobody);
        assert.equal((await send(operation, path, { headers: { Origin: "null" } })).status, 400);
        assert.equal((await send(operation, path, { headers: { Origin: "https://a.example" } })).status, 403);
        if (operation.node.responses[404]) await expect(use(operation, nobody), 404, "not_found");
        const asked = await send(operation, `${fill(operation, await fresh())}?colour=red`);
        assert.match(asked.text, /Unknown parameter \\"colour\\"/, operation.name);
        await expect(asked, 400, "invalid_request");
        if (parametersOf(operation).some(({ node }) => node.name === "limit")) {
          await expect(send(operation, `${fill(operation, await fresh())}?limit=0`), 400, "invalid_request");
        }
        if (!operation.node.requestBody) continue;
        for (const [status, code, headers, body] of [
          [400, "invalid_json", json, "{"],
          [400, "invalid_request", json, '{"colour":"red"}'],
          [413, "payload_too_large", json, JSON.stringify({ name: "x".repeat(70_000) })],
          [415, "unsupported_media_type", {}, "{}"],
        ]) {
          await expect(send(operation, path, { headers, body }), status, code);
        }
      }
      const { app } = await fresh();
      for (const part of ["", "/members", "/messages"]) {
        await expect(caddy.admin("GET", `/realtime/channels/${app}/no%20spaces${part}`), 422, "invalid_channel");
      }
      await expect(caddy.admin("GET", `/realtime/channels/${app}/orders/messages?since=none`), 422, "invalid_position");
      await expect(caddy.admin("GET", `/realtime/connections/${app}?channel=no%20spaces`), 422, "invalid_channel");
      const headers = { ...json, "If-Match": '"0123456789abcdef"' };
      await expect(send(named("PATCH /realtime/apps/{app}"), `/realtime/apps/${app}`, { headers, body: '{"name":"x"}' }), 412, "precondition_failed");
    });

    test("of POST /publish", async () => {
      const app = await caddy.app();
      const other = await caddy.app();
      const operation = named("POST /publish");
      const raw = (headers, body) => send(operation, "/publish", { headers, body });
      const good = { ...json, ...credentials(app) };
      const { Authorization, ...keyless } = good;
      await expect(raw(good, "{"), 400, "invalid_json");
      await expect(publish(app, { channel: "orders" }), 400, "invalid_request");
      await expect(raw({ ...json, Authorization }, "{}"), 401, "missing_app_id");
      await expect(raw(keyless, "{}"), 401, "missing_key");
      await expect(publish({ ...app, id: "app_none" }, event), 401, "unknown_app");
      await expect(publish({ ...app, publish_key: other.publish_key }, event), 401, "invalid_key");
      await expect(publish({ ...app, publish_key: app.subscribe_key }, event), 401, "wrong_key_kind");
      await expect(publish(app, event, { Origin: "https://a.example" }), 403, "origin_not_allowed");
      await expect(raw(good, JSON.stringify({ ...event, data: "x".repeat(1 << 20) })), 413, "payload_too_large");
      await expect(raw({ ...good, "Content-Type": "text/plain" }, "{}"), 415, "unsupported_media_type");
      await expect(publish(app, { ...event, channel: "no spaces" }), 422, "invalid_channel");
      await expect(publish(app, { ...event, event: "" }), 422, "invalid_event");
      await expect(publish(app, { ...event, event: "connect" }), 422, "reserved_event");
      await expect(publish(app, event, { "Early-Data": "1" }), 425, "too_early");
      assert.equal((await publish(app, event, { "Idempotency-Key": "k" })).status, 200);
      assert.equal((await publish(app, event, { "Idempotency-Key": "k" })).headers["idempotent-replayed"], "true");
      await expect(publish(app, { ...event, data: 1 }, { "Idempotency-Key": "k" }), 422, "idempotency_mismatch");
      await expect(inProgress(app), 409, "idempotency_in_progress");
      await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { rate_limit: { publishes: 1, window: "1h" } });
      assert.equal((await publish(app, event)).headers["ratelimit-remaining"], "0");
      await expect(publish(app, event), 429, "rate_limited");
      await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { enabled: false });
      await expect(publish(app, event), 403, "app_disabled");
      const manager = (await caddy.admin("POST", `/realtime/keys/${other.id}`, { kind: "publish", scopes: ["manage"] })).json;
      await expect(publish({ ...other, publish_key: manager.key }, event), 403, "missing_scope");
      const [{ id }] = other.keys;
      const next = (await caddy.admin("POST", `/realtime/keys/${other.id}/${id}/rotate`, { overlap: "0s" })).json;
      await expect(publish(other, event), 401, "key_expired");
      await caddy.admin("DELETE", `/realtime/keys/${other.id}/${next.id}`);
      await expect(publish({ ...other, publish_key: next.key }, event), 401, "key_revoked");
    });

    test("of a server that is starting", async () => {
      const starting = await startSlowly();
      try {
        for (const operation of admin.filter(({ node }) => node.responses[503])) {
          const answer = starting.request(operation.method, fill(operation, nobody), { origin: starting.adminOrigin });
          await expect(answer, 503, "unavailable");
        }
        const site = [starting.request("POST", "/publish"), starting.request("OPTIONS", "/publish")];
        for (const answer of site) await expect(answer, 503, "unavailable");
      } finally {
        await starting.kill();
      }
    });
  });

  test("has every event of the live stream, as it is", async () => {
    const app = await caddy.app();
    const stream = await EventStream.open(`${caddy.adminOrigin}/realtime/live/${app.id}`);
    for (const list of Object.values(transports)) {
      const socket = await caddy.subscriber(app, "orders", { transports: list });
      await publish(app, { ...event, data: null });
      socket.emit("subscribe", 1);
      socket.emit("subscribe", "no spaces");
      socket.emit("chat");
      socket.emit("unsubscribe", "orders");
      await stream.tells("unsubscribed", { socket: socket.id });
      const { id } = socket;
      socket.disconnect();
      await stream.tells("disconnected", { socket: id });
    }
    await publish(app, event); // to nobody, without data
    await publish(app, { ...event, data: "x".repeat(5_000) });
    await publish(app, {});
    caddy.socket({ ...app, subscribe_key: "sub_live_none" });
    caddy.socket(app, { extraHeaders: { Origin: "https://a.example" } });
    await stream.tells("refused", { attempt: "connect", code: "invalid_key" });
    await stream.tells("refused", { attempt: "publish" });
    await stream.tells("published", { size: 5_002 });
    await stream.tells("second");
    stream.close();
    const { node } = find("#/paths", "/realtime/live/{app}", "get", "responses", "200", "content", "text/event-stream", "x-events");
    for (const kind of Object.keys(node)) assert.ok(seen.has(`event ${kind}`), kind);
  });

  test("has nothing that was not seen above", () => {
    assert.deepEqual(documented().filter((answer) => !seen.has(answer)), []);
  });
});

/**
 * A Caddy whose sites are up while realtime is not: its keystore is a pipe that
 * nobody writes to. Caddy starts its apps in no order, so it takes some runs
 * until the sites come first.
 */
async function startSlowly() {
  for (let run = 0; run < 30; run++) {
    const caddy = await Caddy.prepare({ site: "realtime" });
    mkdirSync(caddy.store, { mode: 0o700 });
    execFileSync("mkfifo", [join(caddy.store, "MANIFEST")]);
    const child = spawn(bin, ["run", "--config", caddy.configFile], { env: caddy.env, stdio: ["ignore", "ignore", "pipe"] });
    const exited = once(child, "exit");
    const logs = [];
    createInterface({ input: child.stderr }).on("line", (line) => logs.push(line));
    caddy.kill = async () => {
      child.kill("SIGKILL");
      await exited;
      caddy.remove();
    };
    await until("the admin endpoint", () => logs.some((line) => line.includes("admin endpoint started")));
    const first = await until("the sites", () => logs.some((line) => line.includes("server running")), 1_000).catch(() => false);
    if (first) return caddy;
    await caddy.kill();
  }
  throw new Error("the sites never came first");
}
