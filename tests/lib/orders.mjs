// examples/orders as its README starts it: built by Vite and tsc, behind its own
// Caddyfile, with the backend as a process.
import assert from "node:assert/strict";
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { Caddy, root } from "./caddy.mjs";
import { freePorts } from "./ports.mjs";
import { Program } from "./process.mjs";

const dir = join(root, "examples/orders");

/** Runs one of the example's npm scripts until it ends. */
async function npm(script, env) {
  const run = new Program("npm", ["run", "--silent", script], { cwd: dir, env: { ...process.env, ...env } });
  assert.equal(await run.exited, 0, run.output);
  return run.output;
}

export class Orders {
  /** Builds and starts everything: caddy, the backend, and the keys that the backend got. */
  static async start() {
    const orders = new Orders();
    try {
      await orders.#start();
    } catch (err) {
      await orders.backend?.stop();
      if (orders.caddy?.exited) await orders.caddy.signal("SIGKILL");
      throw err;
    }
    return orders;
  }

  async #start() {
    await npm("build");
    const caddy = await Caddy.prepare();
    this.caddy = caddy;
    const [backend, gateway] = await freePorts(2);
    this.origin = `http://127.0.0.1:${backend}`;
    this.gateway = `http://127.0.0.1:${gateway}`;
    copyFileSync(join(dir, "Caddyfile"), caddy.configFile);
    Object.assign(process.env, {
      REALTIME_ADMIN_PORT: String(caddy.adminPort),
      ORDERS_KEYSTORE: caddy.store,
      ORDERS_SITE: caddy.origin,
      ORDERS_PORT: String(backend),
      ORDERS_DIST: join(dir, "dist"),
      ORDERS_GATEWAY_PORT: String(gateway),
      ORDERS_TOKEN_LIFE: "65", // a page is told after 5 s to renew its token
    });
    await caddy.boot();
    const file = join(caddy.dir, "orders.env");
    const made = await npm("setup", { ORDERS_ENV: file, REALTIME_ADMIN_URL: caddy.adminOrigin, REALTIME_URL: this.gateway });
    assert.match(made, /^Made the app app_/);
    this.keys = parseEnv(readFileSync(file, "utf8"));
    this.backend = new Program(process.execPath, [`--env-file=${file}`, join(dir, "build/server/main.js")], { env: process.env });
    await this.backend.prints(/^The API listens/m, 60_000);
  }

  /** A request to the backend past Caddy, with a browser's cookies. */
  post(cookies, path, body) {
    const headers = { "Content-Type": "application/json", Cookie: cookies.map(({ name, value }) => `${name}=${value}`).join("; ") };
    return this.caddy.request("POST", path, { origin: this.origin, headers, body: JSON.stringify(body) });
  }

  async close() {
    await this.backend?.stop();
    await this.caddy?.close();
  }
}

/** Collects every packet that sockets and pages receive. */
export class Recorder {
  frames = [];

  /** The frames of each websocket of a page. */
  connections = [];

  /** Records a stock client's packets, before and after each reconnect. */
  socket(socket) {
    const listen = () => socket.io.engine.on("packet", ({ data }) => data && this.frames.push(String(data)));
    listen();
    socket.io.on("reconnect_attempt", () => setImmediate(listen));
    return socket;
  }

  /** Records a page's websocket frames, and the answers of polling. */
  page(tab) {
    tab.on("websocket", (ws) => {
      const frames = [];
      this.connections.push(frames);
      ws.on("framereceived", ({ payload }) => {
        frames.push(String(payload));
        this.frames.push(String(payload));
      });
    });
    tab.on("response", async (response) => {
      const path = new URL(response.url()).pathname;
      if (path.startsWith("/socket.io/")) this.frames.push(await response.text().catch(() => ""));
    });
    return tab;
  }

  /** The frames that contain one of these texts. */
  with(...texts) {
    return this.frames.filter((frame) => texts.some((text) => frame.includes(text)));
  }
}
