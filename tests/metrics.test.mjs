// What /metrics tells after what was done, to the last message and byte.
import assert from "node:assert/strict";
import { readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Caddy, root } from "./lib/caddy.mjs";
import { EventStream } from "./lib/events.mjs";
import { Metrics } from "./lib/metrics.mjs";
import { freePorts } from "./lib/ports.mjs";
import { once, until } from "./lib/wait.mjs";

/** What is not in an app's numbers is 0. */
const idle = { connections: 0, subscriptions: 0, messages: 0, deliveries: 0, published: 0, delivered: 0 };

/** The numbers of one app, or of all. */
const numbers = (metrics, app) => {
  const [prefix, labels] = app ? ["app_", { app }] : ["", {}];
  return {
    connections: metrics.value(`${prefix}connections`, labels),
    subscriptions: metrics.value(`${prefix}subscriptions`, labels),
    messages: metrics.value(`${prefix}messages_total`, labels),
    deliveries: metrics.value(`${prefix}deliveries_total`, labels),
    published: metrics.value(`${prefix}published_bytes_total`, labels),
    delivered: metrics.value(`${prefix}delivered_bytes_total`, labels),
  };
};

describe("metrics", () => {
  let caddy, second, sites;
  before(async () => {
    const [port] = await freePorts(1);
    second = `http://localhost:${port}`;
    sites = `${second} {\n\trealtime\n}\n`;
    caddy = await Caddy.start({ sites });
  });
  after(() => caddy.close());

  const scrape = () => Metrics.scrape(caddy);
  const settled = (what, condition) =>
    until(what, async () => {
      const metrics = await scrape();
      return condition(metrics) && metrics;
    });

  test("messages, deliveries and bytes are exact, of each app and of all, on two sites and over a reload", async () => {
    const [busy, quiet] = [await caddy.app("busy"), await caddy.app("quiet")];
    const start = await scrape();
    assert.deepEqual(numbers(start, busy.id), idle);
    const sockets = [];
    for (const channels of [["a"], ["a", "b"], ["a", "b", "c"]]) sockets.push(await caddy.subscriber(busy, channels));
    const other = await caddy.subscriber(quiet, "a");

    await caddy.published(busy, '{"channel":"a","event":"e","data":"0123456789"}'); // 12 bytes to 3
    await caddy.published(busy, '{"channel":"b","event":"e","data":[1, 2]}'); // 6 bytes to 2
    await caddy.published(busy, '{"channel":"nobody","event":"e","data":"12345"}'); // 7 bytes to 0
    await caddy.published(busy, '{"channel":"c","event":"e"}'); // none to 1
    await caddy.published(quiet, `{"channel":"a","event":"e","data":1,"except":"${other.id}"}`); // 1 to 0

    const expected = { connections: 3, subscriptions: 6, messages: 4, deliveries: 6, published: 25, delivered: 48 };
    const first = await settled("all are counted", (m) => m.value("app_subscriptions", { app: busy.id }) === 6);
    assert.deepEqual(numbers(first, busy.id), expected);
    assert.deepEqual(numbers(first, quiet.id), { connections: 1, subscriptions: 1, messages: 1, deliveries: 0, published: 1, delivered: 0 });
    assert.deepEqual(numbers(first), { connections: 4, subscriptions: 7, messages: 5, deliveries: 6, published: 26, delivered: 48 });
    assert.equal(first.value("channels"), 4);
    assert.equal(first.value("connecting"), 0);
    assert.equal(first.value("message_subscribers_count"), 5);
    assert.equal(first.value("message_subscribers_sum"), 6);
    for (const [le, count] of [["0", 2], ["1", 3], ["3", 5], ["100000", 5], ["+Inf", 5]]) {
      assert.equal(first.value("message_subscribers_bucket", { le }), count, `of at most ${le} subscribers`);
    }
    assert.equal(first.value("publish_duration_seconds_count"), 5);
    assert.equal(first.value("publish_duration_seconds_bucket", { le: "+Inf" }), 5);
    const took = first.value("publish_duration_seconds_sum");
    assert.ok(took > 0 && took < 10, `five publishes took ${took} s`);

    caddy.configure({ sites, global: "max_channels 7" });
    assert.equal((await caddy.reload()).code, 0);
    const reloaded = await scrape();
    assert.deepEqual(numbers(reloaded, busy.id), expected);
    assert.equal(reloaded.value("reloads_total"), first.value("reloads_total") + 1);
    assert.equal(reloaded.value("publish_duration_seconds_sum"), took);

    const sent = await caddy.request("POST", "/publish", {
      origin: second,
      headers: { "Content-Type": "application/json", "X-App-Id": busy.id, Authorization: `Bearer ${busy.publish_key}` },
      body: '{"channel":"a","event":"e","data":1}',
    });
    assert.equal(sent.status, 200, sent.text);
    const went = await scrape();
    assert.deepEqual(numbers(went, busy.id), { ...expected, messages: 5, deliveries: 9, published: 26, delivered: 51 });
    assert.equal(went.value("messages_total"), 6);

    caddy.configure({ sites, global: "max_channels 0" });
    assert.notEqual((await caddy.reload()).code, 0);
    const failed = await scrape();
    assert.deepEqual(numbers(failed, busy.id), numbers(went, busy.id));
    assert.equal(failed.value("reloads_total"), went.value("reloads_total"), "one that fails is none");

    assert.deepEqual(await sockets[2].timeout(5_000).emitWithAck("unsubscribe", "c"), { channel: "c" });
    for (const socket of sockets.slice(0, 2)) socket.disconnect();
    const left = await settled("the others are counted out", (m) => m.value("app_subscriptions", { app: busy.id }) === 2);
    assert.equal(left.value("app_connections", { app: busy.id }), 1);
    sockets[2].disconnect();
    other.disconnect();
    await settled("nobody is left", (m) => m.value("connections") + m.value("channels") + m.value("subscriptions") === 0);
  });

  test("refusals are counted by attempt, code and app", async () => {
    const app = await caddy.app();
    const start = await scrape();
    const grown = async (family, labels) => (await scrape()).value(family, labels) - start.value(family, labels);
    const refusals = [
      ["publish", "unknown_app", "unknown", () => caddy.publish({ ...app, id: "app_nobody" }, { channel: "a", event: "e" })],
      ["publish", "missing_app_id", "unknown", () => caddy.request("POST", "/publish", { headers: { "Content-Type": "application/json" } })],
      ["publish", "invalid_key", app.id, () => caddy.publish({ ...app, publish_key: "pk_live_no" }, { channel: "a", event: "e" })],
      ["publish", "invalid_json", app.id, () => caddy.publish(app, "{")],
      ["publish", "reserved_event", app.id, () => caddy.publish(app, { channel: "a", event: "connect" })],
      ["connect", "missing_app_id", "unknown", () => once(caddy.socket(), "connect_error")],
      ["connect", "unknown_app", "unknown", () => once(caddy.socket({ ...app, id: "app_nobody" }), "connect_error")],
      ["connect", "wrong_key_kind", app.id, () => once(caddy.socket({ ...app, subscribe_key: app.publish_key }), "connect_error")],
    ];
    for (const [, , , attempt] of refusals) await attempt();
    const socket = await caddy.subscriber(app, []);
    refusals.push(["subscribe", "invalid_channel", app.id], ["emit", "not_allowed", app.id]);
    await socket.timeout(5_000).emitWithAck("subscribe", "with space");
    await socket.timeout(5_000).emitWithAck("order.updated", 1);
    for (const [attempt, code, name] of refusals) {
      assert.equal(await grown("app_refused_total", { app: name, attempt, code }), 1, `${attempt}: ${code} of ${name}`);
      assert.equal(await grown("refused_total", { attempt, code }), 1, `${attempt}: ${code}`);
    }
    assert.equal(await grown("messages_total"), 0, "what was refused is no message");
    socket.disconnect();
  });

  test("what is over the rate limit is counted", async () => {
    const app = await caddy.app();
    const limited = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, { rate_limit: { publishes: 2, window: "1h" } });
    assert.equal(limited.status, 200, limited.text);
    const before = await scrape();
    const refused = { attempt: "publish", code: "rate_limited" };
    assert.equal(before.value("app_refused_total", { app: app.id, ...refused }), 0);
    for (let i = 0; i < 5; i++) await caddy.publish(app, { channel: "a", event: "e" });
    const metrics = await scrape();
    assert.equal(metrics.value("app_refused_total", { app: app.id, ...refused }), 3);
    assert.equal(metrics.value("refused_total", refused) - before.value("refused_total", refused), 3);
    assert.equal(metrics.value("app_messages_total", { app: app.id }), 2);
  });

  test("clients that come back, and what they are sent, are counted", async () => {
    const app = await caddy.app();
    const before = await scrape();
    for (const outcome of ["recovered", "no_session", "no_position", "restarted", "expired", "too_many", "over_budget", "forbidden"]) {
      assert.equal(before.value("recoveries_total", { outcome }), 0, `${outcome} begins at 0`);
    }
    const socket = caddy.socket(app, { auth: { appId: app.id, subscribeKey: app.subscribe_key, recover: true }, reconnection: false });
    await once(socket, "connect");
    await socket.timeout(5_000).emitWithAck("subscribe", "a");
    const kept = await caddy.published(app, { channel: "a", event: "e", data: "first" });
    await until("it has the first", () => socket._lastOffset === kept.id);

    const lost = async (attempt) => {
      socket.io.engine.close();
      await settled("it is away", (m) => m.value("away") === 1);
      await attempt();
      socket.connect();
      await once(socket, "connect");
    };
    await lost(async () => {
      for (const data of [1, 2]) await caddy.published(app, { channel: "a", event: "e", data });
    });
    assert.equal(socket.recovered, true);
    const back = await settled("it is back", (m) => m.value("away") === 0);
    assert.equal(back.value("recoveries_total", { outcome: "recovered" }), 1);
    assert.equal(back.value("replayed_total") - before.value("replayed_total"), 2);
    assert.equal(back.value("history_messages") - before.value("history_messages"), 3);
    assert.ok(back.value("history_bytes") > before.value("history_bytes"));

    socket._pid = "none";
    await lost(() => {});
    assert.equal(socket.recovered, false);
    assert.equal((await scrape()).value("recoveries_total", { outcome: "no_session" }), 1);
    socket.disconnect();
  });

  test("who watches is counted", async () => {
    const app = await caddy.app();
    const streams = [];
    for (let i = 0; i < 2; i++) streams.push(await EventStream.open(`${caddy.adminOrigin}/realtime/live/${app.id}`));
    await settled("two watch", (m) => m.value("live_watchers") === 2);
    for (const stream of streams) stream.close();
    await settled("nobody watches", (m) => m.value("live_watchers") === 0);
  });

  test("what is asked of the store is counted, and what it cannot do", async () => {
    const operation = (metrics, name) => ({
      count: metrics.value("store_operation_duration_seconds_count", { operation: name }),
      errors: metrics.value("store_errors_total", { operation: name }),
    });
    const before = await scrape();
    const app = await caddy.app();
    assert.equal((await caddy.admin("DELETE", `/realtime/apps/${app.id}`)).status, 204);
    renameSync(caddy.store, `${caddy.store}.away`);
    const failed = await caddy.admin("POST", "/realtime/apps", { name: "nowhere" });
    renameSync(`${caddy.store}.away`, caddy.store);
    assert.equal(failed.status, 503, failed.text);
    const metrics = await scrape();
    const [put, wasPut] = [operation(metrics, "put"), operation(before, "put")];
    assert.deepEqual(put, { count: wasPut.count + 2, errors: wasPut.errors + 1 });
    const [deleted, wasDeleted] = [operation(metrics, "delete"), operation(before, "delete")];
    assert.deepEqual(deleted, { count: wasDeleted.count + 1, errors: wasDeleted.errors });
    assert.ok(metrics.value("store_operation_duration_seconds_sum", { operation: "put" }) > 0);
  });

  test("a deleted app's series go, and the totals stay", async () => {
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, "a");
    await caddy.published(app, { channel: "a", event: "e", data: 1 });
    const before = await scrape();
    assert.equal(before.value("app_deliveries_total", { app: app.id }), 1);
    const gone = once(socket, "disconnect");
    assert.equal((await caddy.admin("DELETE", `/realtime/apps/${app.id}`)).status, 204);
    await gone;
    const metrics = await settled("its socket is counted out", (m) => m.value("connections") === 0);
    assert.equal(metrics.having("app", app.id).length, 0);
    assert.deepEqual(numbers(metrics), { ...numbers(before), connections: 0, subscriptions: 0 });
    assert.deepEqual(numbers(metrics, "other"), idle);
    assert.equal((await caddy.publish(app, { channel: "a", event: "e" })).status, 401);
    assert.equal((await scrape()).having("app", app.id).length, 0);
  });

  test("ids that are no app's make no series", async () => {
    const app = await caddy.app();
    const attempt = async (id) => {
      await caddy.publish({ ...app, id }, { channel: "a", event: "e" });
      const socket = caddy.socket({ ...app, id });
      await once(socket, "connect_error");
      socket.disconnect();
    };
    await attempt("app_first");
    const before = await scrape();
    for (let i = 0; i < 20; i++) await attempt(`app_${i}`);
    const metrics = await scrape();
    assert.deepEqual(metrics.series(), before.series());
    for (const what of ["publish", "connect"]) {
      const labels = { app: "unknown", attempt: what, code: "unknown_app" };
      assert.equal(metrics.value("app_refused_total", labels) - before.value("app_refused_total", labels), 20);
    }
  });

  test("a hundred apps have series of their own, and the others share one", async () => {
    const labels = (metrics) => new Set(metrics.family("app_messages_total").map((sample) => sample.labels.app));
    const crowd = [];
    while (labels(await scrape()).size < 101 || crowd.length < 100) {
      crowd.push(await caddy.app(`crowd ${crowd.length}`));
      assert.ok(crowd.length <= 100);
    }
    const before = await scrape();
    assert.equal(labels(before).size, 101);
    const [last, also] = [await caddy.app("last"), await caddy.app("also")];
    const socket = await caddy.subscriber(last, "a");
    await caddy.published(last, { channel: "a", event: "e", data: 1 });
    await caddy.published(also, { channel: "a", event: "e", data: 1 });
    await caddy.publish(also, "{");
    const metrics = await settled("the subscriber is counted", (m) => m.value("app_subscriptions", { app: "other" }) === 1);
    assert.deepEqual(labels(metrics), labels(before));
    const was = numbers(before, "other");
    assert.deepEqual(numbers(metrics, "other"), {
      connections: 1,
      subscriptions: 1,
      messages: was.messages + 2,
      deliveries: was.deliveries + 1,
      published: was.published + 2,
      delivered: was.delivered + 1,
    });
    assert.equal(metrics.value("app_refused_total", { app: "other", attempt: "publish", code: "invalid_json" }), 1);
    // A place that becomes free is the next app's, not that of one which is counted among the others.
    assert.equal((await caddy.admin("DELETE", `/realtime/apps/${crowd[0].id}`)).status, 204);
    const next = await caddy.app("next");
    await caddy.published(next, { channel: "a", event: "e" });
    await caddy.published(last, { channel: "a", event: "e" });
    const then = await scrape();
    assert.equal(then.value("app_messages_total", { app: next.id }), 1);
    assert.equal(then.value("app_messages_total", { app: "other" }), was.messages + 3);
    assert.equal(labels(then).size, 101);
    socket.disconnect();
  });

  test("docs/operating.md has every family, its kind and its labels, and no other", async () => {
    const page = readFileSync(join(root, "docs/operating.md"), "utf8");
    const section = page.match(/^## Metrics\n(.*?)^## /ms)[1];
    const documented = new Map();
    for (const [, names, kind] of section.matchAll(/^\| (`caddy_realtime_.*?) \| (\w+) \|/gm)) {
      for (const [, name, labels] of names.matchAll(/`(\w+)(?:\{(.*?)\})?`/g)) documented.set(name, `${kind} ${labels ?? ""}`);
    }
    const metrics = await scrape();
    const real = metrics.families().map((name) => [`caddy_realtime_${name}`, `${metrics.kind(name)} ${metrics.labels(name)}`]);
    assert.deepEqual(new Map([...documented].sort()), new Map(real.sort()));
    // Also in its alerts, where histograms have their parts.
    const family = (name) => name.replace(/_(bucket|sum|count)$/, "");
    const named = new Set(page.match(/\bcaddy_realtime_\w+/g).map(family));
    assert.deepEqual([...named].sort(), [...documented.keys()].sort());
    for (const [, name, selected] of page.matchAll(/\b(caddy_realtime_\w+)\{([^}]*=[^}]*)\}/g)) {
      const labels = documented.get(family(name)).split(/,? /).slice(1);
      for (const [, label] of selected.matchAll(/(\w+)=/g)) assert.ok(labels.includes(label), `an alert selects ${name} by ${label}`);
    }
  });

  test("every metric of the Grafana dashboard is there", async () => {
    const dashboard = JSON.parse(readFileSync(join(root, "examples/grafana/dashboard.json"), "utf8"));
    const expressions = dashboard.panels.flatMap((panel) => (panel.targets ?? []).map((target) => target.expr));
    const used = new Set([...expressions, JSON.stringify(dashboard.templating)].flatMap((text) => text.match(/\bcaddy_\w+/g) ?? []));
    const metrics = await scrape();
    const unknown = [...used].filter((name) => !metrics.family(name.replace("caddy_realtime_", "")).length);
    assert.deepEqual(unknown, []);
    const unused = metrics.families().filter((name) => ![...used].some((other) => other.replace(/_bucket$/, "") === `caddy_realtime_${name}`));
    assert.deepEqual(unused, [], "families that no panel shows");
    for (const expr of expressions) {
      const known = [...expr.matchAll(/\bcaddy_realtime_(\w+)/g)].flatMap(([, name]) => metrics.labels(name).split(", "));
      const named = [...expr.matchAll(/\bby \((.*?)\)/g)].flatMap(([, list]) => list.split(", "));
      const matched = [...expr.matchAll(/(\w+)=~?"/g)].map(([, name]) => name);
      const strange = [...named, ...matched].filter((name) => !["instance", ...known].includes(name));
      assert.deepEqual(strange, [], `labels that are not there, in ${expr}`);
    }
    const ids = dashboard.panels.map((panel) => panel.id);
    assert.equal(new Set(ids).size, ids.length, "each panel has an id of its own");
    for (const { title, type, datasource, targets } of dashboard.panels.filter((panel) => panel.type !== "row")) {
      assert.equal(datasource?.uid, "${datasource}", `${title} (${type}) asks the datasource that was chosen`);
      assert.ok(targets.length > 0, title);
    }
  });
});
