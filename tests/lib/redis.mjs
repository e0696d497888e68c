// A real redis-server for tests.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "./ports.mjs";
import { once, until } from "./wait.mjs";

/** A redis-server on a port of its own. */
export class Redis {
  static async start() {
    const redis = new Redis();
    [redis.port] = await freePorts(1);
    redis.dir = mkdtempSync(join(tmpdir(), "realtime-redis-"));
    const args = ["--port", String(redis.port), "--bind", "127.0.0.1", "--dir", redis.dir, "--save", "", "--appendonly", "yes"];
    redis.child = spawn("redis-server", args, { stdio: "ignore" });
    await until("redis-server answers", () => new Promise((done) => {
      const socket = connect(redis.port, "127.0.0.1", () => socket.end(() => done(true))).on("error", () => done(false));
    }));
    return redis;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  async close() {
    const ended = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await ended;
    rmSync(this.dir, { recursive: true, force: true });
  }
}
