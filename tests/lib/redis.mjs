// A real redis-server for tests, and a sentinel with two of them.
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePorts } from "./ports.mjs";
import { once, until } from "./wait.mjs";

const cli = promisify(execFile).bind(undefined, "redis-cli");

/** A redis-server on a port of its own. */
export class Redis {
  #args;

  /** args: more of redis.conf, as arguments. */
  static async start(...args) {
    const redis = new Redis();
    redis.#args = args;
    [redis.port] = await freePorts(1);
    redis.dir = mkdtempSync(join(tmpdir(), "realtime-redis-"));
    await redis.boot();
    return redis;
  }

  /** Starts the process with the data that is in its directory. */
  async boot() {
    // Without fsync: it stands still while the disk is busy, and what it has written outlives
    // the process anyway.
    const data = ["--dir", this.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "no"];
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", ...data, ...this.#args];
    this.child = spawn("redis-server", args, { stdio: "ignore" });
    await until("redis-server answers", () => new Promise((done) => {
      const socket = connect(this.port, "127.0.0.1", () => socket.end(() => done(true))).on("error", () => done(false));
    }));
  }

  /** Whether its replication has this line. A server that changes its role closes connections. */
  async replication(line) {
    const { stdout } = await cli(["-p", String(this.port), "INFO", "replication"]).catch(() => ({ stdout: "" }));
    return stdout.includes(line);
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

/** A primary with a replica, and a sentinel that watches them. */
export class Watched {
  static async start() {
    const watched = new Watched();
    const primary = (watched.primary = await Redis.start());
    watched.replica = await Redis.start("--replicaof", "127.0.0.1", String(primary.port));
    await until("the replica follows", () => watched.replica.replication("master_link_status:up"), 60_000);
    [watched.port] = await freePorts(1);
    const config = join(primary.dir, "sentinel.conf");
    writeFileSync(config, `port ${watched.port}
bind 127.0.0.1
sentinel monitor shop 127.0.0.1 ${primary.port} 1
sentinel down-after-milliseconds shop 2000
sentinel failover-timeout shop 5000
`);
    watched.sentinel = spawn("redis-sentinel", [config], { stdio: "ignore" });
    await until("the sentinel knows the replica", async () => {
      const { stdout } = await cli(["-p", String(watched.port), "SENTINEL", "REPLICAS", "shop"]).catch(() => ({ stdout: "" }));
      return stdout.includes(String(watched.replica.port));
    }, 60_000);
    return watched;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}?master_set=shop`;
  }

  /** The primary's process. */
  get child() {
    return this.primary.child;
  }

  /** Kills the primary, and waits until the replica is promoted. */
  async failOver() {
    await this.primary.kill();
    await until("the replica is promoted", () => this.replica.replication("role:master"), 60_000);
    [this.primary, this.replica] = [this.replica, this.primary];
  }

  /** Starts the former primary, which becomes a replica. */
  async mend() {
    await this.replica.boot();
    await until("the former primary follows", () => this.replica.replication("master_link_status:up"), 60_000);
  }

  async close() {
    const ended = once(this.sentinel, "exit");
    this.sentinel.kill("SIGKILL");
    await ended;
    await Promise.all([this.primary.close(), this.replica.close()]);
  }
}
