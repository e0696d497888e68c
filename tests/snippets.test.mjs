// The product page's snippets, as printed. snippets/ has them to the letter;
// only the origin and the keys are filled in.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Program } from "./lib/process.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const snippet = (file) => readFileSync(new URL(`snippets/${file}`, import.meta.url), "utf8");

for (const tls of [false, true]) {
  describe(`snippets over ${tls ? "https" : "http"}`, () => {
    let caddy, app, env;
    before(async () => {
      caddy = await Caddy.start({ tls });
      app = await caddy.app();
      env = {
        ...process.env,
        REALTIME_URL: caddy.origin,
        REALTIME_APP_ID: app.id,
        REALTIME_PUBLISH_KEY: app.publish_key,
        ...(tls && { NODE_EXTRA_CA_CERTS: caddy.rootCertificate, CURL_CA_BUNDLE: caddy.rootCertificate }),
      };
    });
    after(() => caddy.close());

    const fill = (text) =>
      text
        .replaceAll("__BASE__", caddy.origin)
        .replaceAll("YOUR_REALTIME_ORIGIN", caddy.origin)
        .replaceAll("YOUR_APP_ID", app.id)
        .replaceAll("YOUR_PUBLISH_KEY", app.publish_key)
        .replaceAll("YOUR_SUBSCRIBE_KEY", app.subscribe_key);

    // From standard input, so that its import is found in this directory.
    const runModule = (text) =>
      new Program(process.execPath, ["--input-type=module", "-"], { input: text, cwd: here, env });

    // As printed it asks for websocket first; the other two are one word apart.
    const subscribers = {
      "websocket, as printed": snippet("subscribe.mjs"),
      polling: snippet("subscribe.mjs").replace(`["websocket", "polling"]`, JSON.stringify(transports.polling)),
      upgrade: snippet("subscribe.mjs").replace(`["websocket", "polling"]`, JSON.stringify(transports.upgrade)),
    };
    for (const [name, text] of Object.entries(subscribers)) {
      test(`curl and fetch reach socket.io-client: ${name}`, async () => {
        const subscriber = runModule(fill(text));
        try {
          await subscriber.prints(/^Joined orders\.42$/m);

          const curl = new Program("sh", ["-c", fill(snippet("publish.sh"))], { env });
          assert.equal(await curl.exited, 0, curl.output);
          assert.match(curl.output, /\{"id":"[^"]+"/);
          await subscriber.prints(/^\{ id: 42 \}$/m);

          const fetched = runModule(snippet("publish.mjs"));
          assert.equal(await fetched.exited, 0, fetched.output);
          await subscriber.prints(/^\{ id: 42 \}\n\{ id: 42 \}$/m);
        } finally {
          await subscriber.stop();
        }
      });
    }
  });
}
