// The Laravel application of tests/laravel/app.php, and its users.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dist } from "./browser.mjs";
import { root } from "./caddy.mjs";
import { freePorts } from "./ports.mjs";
import { Program } from "./process.mjs";

export class Laravel {
  #program;
  #env;
  #dir = mkdtempSync(join(tmpdir(), "laravel-"));

  /** Starts it for an app with a signing_key; env has other settings for app.php. */
  static async start(caddy, app, env = {}) {
    const laravel = new Laravel();
    [laravel.port] = await freePorts(1);
    laravel.origin = `http://localhost:${laravel.port}`;
    laravel.#env = {
      ...process.env,
      REALTIME_SOCKET_URL: caddy.origin,
      REALTIME_APP_ID: app.id,
      REALTIME_PUBLISH_KEY: app.publish_key,
      REALTIME_SIGNING_KEY: app.signing_key,
      LARAVEL_DIR: laravel.#dir,
      LARAVEL_CLIENT: join(dist, "socket.io.esm.min.js"),
      ...env,
    };
    await laravel.boot();
    return laravel;
  }

  async boot() {
    this.#program = new Program("php", ["-S", `localhost:${this.port}`, join(root, "tests/laravel/app.php")], { env: this.#env });
    await this.#program.prints(/Development Server .* started/);
  }

  stop() {
    return this.#program.stop();
  }

  async close() {
    await this.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  get log() {
    return readFileSync(join(this.#dir, "storage/logs/laravel.log"), "utf8");
  }

  /** The headers of a page of a user who is logged in, or of a guest. */
  async login(user, guard = "web") {
    const answer = await fetch(user ? `${this.origin}/login/${user}?guard=${guard}` : `${this.origin}/page`);
    assert.equal(answer.status, 200);
    const cookies = answer.headers.getSetCookie().map((cookie) => cookie.split(";")[0]);
    const csrf = cookies.find((cookie) => cookie.startsWith("XSRF-TOKEN="));
    return { Cookie: cookies.join("; "), "X-XSRF-TOKEN": decodeURIComponent(csrf.slice(csrf.indexOf("=") + 1)) };
  }

  async post(path, headers, body) {
    const answer = await fetch(this.origin + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
      body: JSON.stringify(body),
    });
    return { status: answer.status, text: await answer.text() };
  }

  /** The token that /broadcasting/auth gives for a channel. */
  async tokenFor(channel, headers) {
    const answer = await this.post("/broadcasting/auth", headers, { channel_name: channel });
    assert.equal(answer.status, 200, answer.text);
    const { token, ...rest } = JSON.parse(answer.text);
    assert.deepEqual(rest, {});
    return token;
  }
}
