// A publish in a site with Caddy's tracing says in its span what became of it.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

describe("traces", () => {
  let caddy, collector;
  const exported = []; // OTLP, as it came
  before(async () => {
    collector = createServer(async (req, res) => {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      exported.push(Buffer.concat(chunks));
      res.end();
    }).listen(0);
    await once(collector, "listening");
    Object.assign(process.env, {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://localhost:${collector.address().port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
      OTEL_BSP_SCHEDULE_DELAY: "20",
    });
    caddy = await Caddy.start({ site: "tracing {\n\t\tspan publish\n\t}\n\trealtime" });
  });
  after(async () => {
    await caddy.close();
    collector.close();
  });

  /** The values of an attribute in all spans, in their order. */
  const values = (name) => {
    const found = [];
    for (const body of exported) {
      const key = Buffer.from(name);
      for (let at = body.indexOf(key); at >= 0; at = body.indexOf(key, at + 1)) {
        // KeyValue { string key = 1; AnyValue value = 2 }, AnyValue { string = 1; int = 3 }; all are short.
        const [field, , type, n] = body.subarray(at + key.length);
        assert.equal(field, 0x12);
        const text = at + key.length + 4;
        found.push(type === 0x0a ? body.toString("utf8", text, text + n) : n);
      }
    }
    return found;
  };

  test("the app, the subscribers and the error are in the span, and the channel is not", async () => {
    const app = await caddy.app();
    for (let i = 0; i < 2; i++) await caddy.subscriber(app, "orders.secret");
    await caddy.published(app, { channel: "orders.secret", event: "e", data: 1 });
    assert.equal((await caddy.publish({ ...app, publish_key: "pk_live_no" }, { channel: "orders.secret", event: "e" })).status, 401);
    assert.equal((await caddy.publish({ ...app, id: "app_nobody" }, { channel: "orders.secret", event: "e" })).status, 401);
    await until("the last span has come", () => values("realtime.error").includes("unknown_app"));
    assert.deepEqual(values("realtime.app"), [app.id, app.id]);
    assert.deepEqual(values("realtime.subscribers"), [2]);
    assert.deepEqual(values("realtime.error").filter((code) => code !== "method_not_allowed"), ["invalid_key", "unknown_app"]);
    for (const body of exported) assert.ok(!body.includes("orders.secret") && !body.includes(app.publish_key));
  });
});
