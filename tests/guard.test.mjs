// A site's own guards in front of the gateway.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Caddy } from "./lib/caddy.mjs";

test("a guard of /socket.io* covers the endpoint with and without its slash", async () => {
  const handshake = (caddy, path) => caddy.request("GET", `${path}?EIO=4&transport=polling`, { documented: false });
  const paths = ["/socket.io", "/socket.io/"];
  const caddy = await Caddy.start();
  try {
    for (const path of paths) assert.equal((await handshake(caddy, path)).status, 200, path);
    caddy.configure({ site: "error /socket.io* 403\n\trealtime" });
    assert.equal((await caddy.reload()).code, 0);
    for (const path of paths) assert.equal((await handshake(caddy, path)).status, 403, path);
  } finally {
    await caddy.close();
  }
});
