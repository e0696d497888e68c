// Several gateways with one Redis, and a Caddy in front that gives each request to the
// next of them, without sticky sessions.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { Caddy } from "./caddy.mjs";
import { freePorts } from "./ports.mjs";
import { Redis } from "./redis.mjs";
import { until } from "./wait.mjs";

const ticks = Number(execFileSync("getconf", ["CLK_TCK"]));

/** Seconds of CPU time that a process has used. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticks;
}

export class Machines {
  all = [];
  #spent = new Map(); // CPU seconds of processes that have ended, by Caddy

  /**
   * Starts n gateways; global: more lines of the realtime global option; options: more of
   * Caddy.start, or a function that returns them for the index of a machine, with node, its
   * address for the others, and redis, its URL of Redis; redis: what starts Redis.
   */
  static async start(n, global = "", options = {}, redis = Redis) {
    const machines = new Machines();
    try {
      await machines.#start(n, global, options, redis);
    } catch (err) {
      await machines.close().catch(() => {});
      throw err;
    }
    return machines;
  }

  async #start(n, global, options, redis) {
    this.redis = await redis.start();
    for (let i = 0; i < n; i++) {
      const [port] = await freePorts(1);
      const { node = "127.0.0.1", redis: url = this.redis.url, ...more } = typeof options === "function" ? options(i, this.redis) : options;
      const site = "respond /up 200\n\trealtime";
      const caddy = await Caddy.start({ keystore: "", global: `redis ${url}\n\t\tnode_address http://${node}:${port}\n\t\t${global}`, site, ...more });
      caddy.node = `http://${node}:${port}`;
      this.all.push(caddy);
    }
    const upstreams = this.all.map(({ host, port }) => `${host}:${port}`).join(" ");
    // As docs/cluster.md has it, with times for a test.
    this.front = await Caddy.start({
      site: `reverse_proxy ${upstreams} {
		lb_policy round_robin
		lb_try_duration 5s
		lb_try_interval 50ms
		fail_duration 1s
		health_uri /up
		health_interval 500ms
	}`,
    });
    await this.known();
    this.app = await this.all[0].app();
    for (const caddy of this.all) {
      await until("the app is known", async () => (await caddy.admin("GET", `/realtime/apps/${this.app.id}`)).status === 200);
    }
  }

  /** Waits until all machines that live know each other. */
  async known() {
    const living = this.all.filter(({ dead }) => !dead);
    for (const caddy of living) {
      await until("the machines know each other", async () => {
        const { json } = await caddy.admin("GET", "/realtime/machines");
        return json.machines?.length >= living.length && json.machines.every(({ address }) => address);
      }, 60_000);
    }
  }

  /** The ID of a machine, with which the IDs of its sessions begin. */
  async idOf(caddy) {
    const { json } = await this.all.find((other) => other !== caddy).admin("GET", "/realtime/machines");
    // A machine that was killed is listed until its lease has ended, also beside its successor.
    const records = json.machines.filter(({ address }) => address === caddy.node);
    return records.sort((a, b) => b.started.localeCompare(a.started))[0].id;
  }

  /** Ends a machine with kill -9. */
  async kill(caddy) {
    this.#spent.set(caddy, (this.#spent.get(caddy) ?? 0) + cpuOf(caddy.pid));
    caddy.dead = true;
    await caddy.signal("SIGKILL");
  }

  /** Ends a machine as planned. */
  async end(caddy) {
    caddy.dead = true;
    assert.deepEqual(await caddy.signal("SIGTERM"), { code: 0, signal: null }, caddy.logTail());
  }

  /** Starts a machine that has ended with the same configuration. */
  async revive(caddy) {
    await caddy.boot();
    caddy.dead = false;
  }

  /** Seconds of CPU time so far: of each machine, of Redis and of the Caddy in front. */
  cpu() {
    const machine = (caddy) => (this.#spent.get(caddy) ?? 0) + (caddy.dead ? 0 : cpuOf(caddy.pid));
    return { machines: this.all.map(machine), redis: cpuOf(this.redis.child.pid), front: cpuOf(this.front.pid) };
  }

  /** Ends everything; fails if a machine has logged a panic or does not end in order. */
  async close() {
    const ends = await Promise.allSettled([this.front, ...this.all].filter(Boolean).map((caddy) => caddy.close()));
    await this.redis?.close();
    for (const { reason } of ends) assert.ifError(reason);
  }
}
