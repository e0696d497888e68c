// A key in the wrong field is neither logged nor shown, nor repeated in answers.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { EventStream } from "./lib/events.mjs";
import { once, until } from "./lib/wait.mjs";

// As SECURITY.md has it: the access log is Caddy's.
const filter = "log {\nformat filter {\nrequest>headers>X-App-Id regexp _live_.* _live_…\n}\n}";

describe("a key in the wrong field", () => {
  let caddy, app, stream;
  const told = []; // what clients were answered
  before(async () => {
    caddy = await Caddy.start({ options: "debug", site: `${filter}
realtime {
origins https://a.example
}` });
    app = await caddy.app();
    stream = await EventStream.open(`${caddy.adminOrigin}/realtime/live/${app.id}`);
  });
  after(() => caddy.close());

  const publish = async (headers, body = "{}", method = "POST") => {
    const answer = await caddy.request(method, "/publish", {
      headers: { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}`, ...headers },
      body,
    });
    told.push(answer.text);
    return answer.json?.error;
  };

  test("is not repeated by a publish, whose error says what was mixed up", async () => {
    for (const key of [app.publish_key, app.subscribe_key]) {
      for (const id of [key, `Bearer ${key}`]) {
        const error = await publish({ "X-App-Id": id });
        assert.equal(error.code, "unknown_app");
        assert.match(error.message, key === app.publish_key ? /^X-App-Id is a publish key/ : /^X-App-Id is a subscribe key/);
      }
      assert.equal((await publish({ "X-App-Id": `app_${key}` })).code, "unknown_app");
      await publish({ "X-App-Id": key }, undefined, "GET");
      await publish({ "X-Api-Key": key }, "no JSON");
      await publish({ "Content-Type": `application/${key}` });
      await publish({ "Content-Encoding": key });
      await publish({ Origin: `https://${key}` });
      await publish({ Origin: `https://${"a".repeat(240)}${key}` });
      for (const body of [{ [key]: 1 }, { except: key }, { channel: `${key} x`, event: "e" }, { channel: "a", event: `${key}\n` }]) {
        await publish({}, JSON.stringify({ channel: "a", event: "e", ...body }));
      }
      await publish({}, JSON.stringify({ channel: key, event: key }));
    }
  });

  test("is not repeated by a connection", async () => {
    for (const key of [app.publish_key, app.subscribe_key]) {
      for (const list of Object.values(transports)) {
        const wrong = caddy.socket({ id: key, subscribe_key: app.id }, { transports: list, extraHeaders: { "X-App-Id": key } });
        const [err] = await once(wrong, "connect_error");
        assert.equal(err.data.code, "unknown_app");
        assert.match(err.message, key === app.publish_key ? /^appId is a publish key/ : /^appId is a subscribe key/);
        told.push(JSON.stringify(err.data));
        wrong.disconnect();
      }
      const elsewhere = caddy.socket(app, { extraHeaders: { Origin: `https://${key}` } });
      told.push((await once(elsewhere, "connect_error"))[0].message);
      elsewhere.disconnect();
      const socket = await caddy.subscriber(app, "a");
      await socket.emitWithAck("subscribe", key);
      told.push((await socket.emitWithAck("subscribe", `${key} x`)).error.message);
      await socket.emitWithAck("unsubscribe", key);
    }
  });

  test("is not repeated by the admin endpoint", async () => {
    for (const key of [app.publish_key, app.subscribe_key]) {
      for (const path of [`/realtime/apps/${key}`, `/realtime/${key}`, `/realtime/keys/${app.id}/${key}`, `/realtime/apps?${key}=1`, `/realtime/apps?after=${key}`]) {
        const { status, text } = await caddy.admin("GET", path);
        assert.ok(status >= 400, text);
        told.push(text);
      }
      for (const body of [{ [key]: 1 }, { allowed_origins: [key] }, { allowed_origins: [`https://a.example/${key}`] }]) {
        const { status, text } = await caddy.admin("PATCH", `/realtime/apps/${app.id}`, body);
        assert.equal(status, 400, text);
        told.push(text);
      }
    }
  });

  test("is in no log, no answer, no live event and no metric", async () => {
    const socket = await caddy.subscriber(app, "the.last"); // and all before it have been told
    await stream.tells("subscribed", { channel: "the.last" });
    await stream.tells("refused", { code: "invalid_channel" });
    await stream.tells("subscribed", { channel: "pk_live_…" });
    await stream.tells("published", { channel: "sub_live_…", event: "sub_live_…" });
    socket.disconnect();
    await until("the refused connection is logged", () => caddy.logged(/connection refused/).length > 0);
    await until("the requests are logged", () => caddy.logged(/http.log.access.*X-App-Id":\["(pk|sub)_live_…/).length > 5);
    const { text: metrics } = await caddy.request("GET", "/metrics", { origin: caddy.adminOrigin, documented: false });
    assert.match(metrics, /caddy_realtime_app_refused_total/);
    // Caddy's own lines for requests have URLs and headers as they were sent, but for the filter's.
    const ours = caddy.logs.filter((line) => !/"logger":"(admin.api|http.log.access[^"]*)"/.test(line));
    for (const line of caddy.logged(/"logger":"http.log.access/)) ours.push(JSON.stringify(JSON.parse(line).request.headers["X-App-Id"] ?? []));
    for (const key of [app.publish_key, app.subscribe_key]) {
      const part = new RegExp(key.split("_").at(-1).slice(0, 4), "i");
      for (const [where, text] of Object.entries({ log: ours.join("\n"), answers: told.join("\n"), live: JSON.stringify(stream.events), metrics })) {
        const found = text.split("\n").filter((line) => part.test(line));
        assert.deepEqual(found, [], where);
      }
    }
    stream.close();
  });
});
