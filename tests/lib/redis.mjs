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
    await redis.boot();
    return redis;
  }

  /** Starts the process with the data that is in its directory. */
  async boot() {
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.dir, "--save", "", "--appendonly", "yes"];
    this.child = spawn("redis-server", args, { stdio: "ignore" });
    await until("redis-server answers", () => new Promise((done) => {
      const socket = connect(this.port, "127.0.0.1", () => socket.end(() => done(true))).on("error", () => done(false));
    }));
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Kills the process; what it has written remains in its directory. */
  async kill() {
    const ended = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await ended;
  }

  async close() {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
