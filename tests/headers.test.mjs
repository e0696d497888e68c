// Caddy's header directive changes our answers' headers as it does others'.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Caddy, freePorts } from "./lib/caddy.mjs";

/** A site beside another whose headers are changed, and how to publish there. */
async function started(lines) {
  const [port] = await freePorts(1);
  const origin = `http://localhost:${port}`;
  const caddy = await Caddy.start({ rateLimit: "100 1m", sites: `${origin} {\n${lines}\nrealtime\n}` });
  const app = await caddy.app();
  const publish = async (origin) => {
    const answer = await caddy.request("POST", "/publish", {
      origin,
      headers: { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${app.publish_key}` },
      body: '{"channel":"c","event":"e"}',
    });
    assert.equal(answer.status, 200, answer.text);
    return answer.headers;
  };
  return { caddy, changed: () => publish(origin), plain: () => publish(caddy.origin) };
}

test("a header that one site changes is as it was on another", async () => {
  const { caddy, changed, plain } = await started("header >Content-Type json text");
  try {
    for (let n = 0; n < 3; n++) {
      assert.equal((await changed())["content-type"], "application/text");
      assert.equal((await plain())["content-type"], "application/json");
    }
  } finally {
    await caddy.close();
  }
});

for (const [how, lines] of [
  ["one by one", "header -RateLimit-Limit\nheader >RateLimit-Remaining none"],
  ["in a block", "header {\ndefer\n-RateLimit-Limit\nRateLimit-Remaining none\n}"],
]) {
  test(`the limit's headers are removed and replaced ${how}`, async () => {
    const { caddy, changed } = await started(lines);
    try {
      const headers = await changed();
      assert.equal(headers["ratelimit-limit"], undefined);
      assert.equal(headers["ratelimit-remaining"], "none");
      assert.match(headers["ratelimit-reset"], /^\d+$/);
    } finally {
      await caddy.close();
    }
  });
}
