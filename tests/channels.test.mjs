// Who listens to what, by the admin API.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { until } from "./lib/wait.mjs";

describe("channels", () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start();
  });
  after(() => caddy.close());

  const get = async (path) => {
    const answer = await caddy.admin("GET", `/realtime/channels/${path}`);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };

  test("those with subscribers are listed, in pages, by prefix, and leave with the last", async () => {
    const [app, other] = [await caddy.app(), await caddy.app()];
    const names = ["chat/1", "orders.1", "orders.2", "orders.3"];
    const first = await caddy.subscriber(app, names);
    await caddy.subscriber(app, ["orders.2"]);
    await caddy.subscriber(other, ["orders.2", "orders.9"]);
    const want = names.map((channel) => ({ channel, subscribers: channel === "orders.2" ? 2 : 1 }));
    assert.deepEqual(await get(app.id), { channels: want, next: null });
    assert.deepEqual(await get(`${app.id}?prefix=orders.&limit=2`), { channels: want.slice(1, 3), next: "orders.2" });
    assert.deepEqual(await get(`${app.id}?prefix=orders.&limit=2&after=orders.2`), { channels: want.slice(3), next: null });
    assert.deepEqual(await get(`${app.id}/orders.2`), { channel: "orders.2", subscribers: 2 });
    assert.deepEqual(await get(`${app.id}/chat/1`), { channel: "chat/1", subscribers: 1 });
    assert.deepEqual(await get(`${app.id}/${encodeURIComponent("chat/1")}`), { channel: "chat/1", subscribers: 1 });
    first.disconnect();
    await until("they leave", async () => (await get(app.id)).channels.length === 1);
    assert.deepEqual(await get(`${app.id}/orders.1`), { channel: "orders.1", subscribers: 0 });
  });

  test("bad requests say why", async () => {
    const app = await caddy.app();
    for (const [method, path, status, code] of [
      ["GET", "app_none", 404, "not_found"],
      ["GET", "app_none/orders", 404, "not_found"],
      ["GET", `${app.id}?limit=0`, 400, "invalid_request"],
      ["GET", `${app.id}/no%20space`, 422, "invalid_channel"],
      ["DELETE", app.id, 405, "method_not_allowed"],
    ]) {
      const answer = await caddy.admin(method, `/realtime/channels/${path}`);
      assert.equal(answer.status, status, `${path}: ${answer.text}`);
      assert.equal(answer.json.error.code, code);
    }
  });
});
