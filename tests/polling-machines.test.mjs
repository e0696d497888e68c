// Clients on polling whose requests reach another machine each time, without sticky sessions.
import assert from "node:assert/strict";
import { createServer, connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { Caddy, transports } from "./lib/caddy.mjs";
import { freePorts } from "./lib/ports.mjs";
import { Redis } from "./lib/redis.mjs";
import { once, until } from "./lib/wait.mjs";

/** A load balancer that gives each connection to the next machine that accepts it. */
class Balancer {
  #links = new Set();
  next = 0;

  static async start(ports) {
    const balancer = new Balancer();
    balancer.server = createServer((client) => balancer.#accept(client, ports, ports.length)).listen(0);
    await once(balancer.server, "listening");
    balancer.origin = `http://localhost:${balancer.server.address().port}`;
    return balancer;
  }

  #accept(client, ports, tries) {
    client.on("error", () => {});
    const machine = connect({ port: ports[this.next++ % ports.length], host: "localhost" });
    machine.on("error", () => (tries > 1 && !machine.bytesRead ? this.#accept(client, ports, tries - 1) : client.destroy()));
    machine.on("connect", () => {
      const link = [client, machine];
      this.#links.add(link);
      for (const [from, to] of [link, link.toReversed()]) {
        from.pipe(to);
        from.on("close", () => {
          this.#links.delete(link);
          to.destroy();
        });
      }
    });
  }

  close() {
    this.server.close();
    for (const socket of [...this.#links].flat()) socket.destroy();
  }
}

async function machinesOf(redis, withAddress) {
  return Promise.all([0, 1].map(async () => {
    const [node] = await freePorts(1);
    const address = withAddress ? `node_address http://127.0.0.1:${node}` : "";
    const caddy = await Caddy.start({ keystore: "", global: `redis ${redis.url}\n${address}` });
    caddy.node = `http://127.0.0.1:${node}`;
    return caddy;
  }));
}

async function subscriber(balancer, caddy, app, options) {
  // Each request on a connection of its own, so that each goes to another machine.
  const socket = caddy.socket(app, { uri: balancer.origin, extraHeaders: { connection: "close" }, ...options });
  socket.got = [];
  socket.lost = 0;
  socket.on("disconnect", () => socket.lost++);
  socket.on("e", (data) => socket.got.push(data));
  await once(socket, "connect");
  assert.equal((await socket.emitWithAck("subscribe", "c")).error, undefined);
  return socket;
}

const forwarded = async (caddy) => {
  const { text } = await caddy.admin("GET", "/metrics");
  return Number(/forwarded_total\{outcome="answered"\} (\d+)/.exec(text)?.[1]);
};

describe("polling over several machines", () => {
  let redis;
  before(async () => (redis = await Redis.start()));
  after(() => redis.close());

  test("events arrive in order, and none is lost, also when a machine is killed or reloaded", async (t) => {
    const machines = await machinesOf(redis, true);
    const [one, other] = machines;
    const balancer = await Balancer.start(machines.map(({ port }) => port));
    t.after(async () => {
      await Promise.all(machines.map((caddy) => caddy.close()));
      balancer.close();
    });
    const app = await one.app();
    await until("the other knows the app", async () => (await other.admin("GET", `/realtime/apps/${app.id}`)).status === 200);
    await until("both know each other", async () => {
      const lists = await Promise.all(machines.map((caddy) => caddy.admin("GET", "/realtime/machines")));
      return lists.every(({ json }) => json.machines?.length === 2 && json.machines.every(({ address }) => address));
    });
    const sockets = await Promise.all(["polling", "upgrade", "polling", "upgrade"].map((way) => subscriber(balancer, one, app, { transports: transports[way] })));
    for (let n = 0; n < 50; n++) await machines[n % 2].published(app, { channel: "c", event: "e", data: n });
    const all = [...Array(50).keys()];
    for (const [i, socket] of sockets.entries()) {
      await until(`all events are at client ${i}`, () => socket.got.length >= 50);
      assert.deepEqual(socket.got, all);
      assert.equal(socket.lost, 0);
    }
    assert.ok((await forwarded(one)) + (await forwarded(other)) > 10);

    // Not for the public.
    const response = await fetch(`${one.node}/?EIO=4&transport=polling`);
    assert.equal(response.status, 404);
    assert.equal((await response.json()).error.code, "not_found");

    // A reload keeps the sessions.
    const ids = sockets.map(({ id }) => id);
    await one.reload("--force");
    await one.published(app, { channel: "c", event: "e", data: 50 });
    for (const socket of sockets) await until("it arrives after the reload", () => socket.got.includes(50));
    assert.deepEqual(sockets.map(({ id }) => id), ids);

    // A machine is killed: all are on the other.
    one.signal("SIGKILL");
    await one.exited;
    await until("the clients are back", async () => {
      await other.published(app, { channel: "c", event: "e", data: "late" }).catch(() => {});
      for (const socket of sockets) if (socket.connected) socket.emit("subscribe", "c");
      return sockets.every(({ got }) => got.includes("late"));
    });
  });

  test("without node_address, the wrong machine does not know the session", async (t) => {
    const machines = await machinesOf(redis, false);
    t.after(() => Promise.all(machines.map((caddy) => caddy.close())));
    const [one, other] = machines;
    const open = await (await fetch(`${one.origin}/socket.io/?EIO=4&transport=polling`)).text();
    const { sid } = JSON.parse(open.slice(1));
    const response = await fetch(`${other.origin}/socket.io/?EIO=4&transport=polling&sid=${sid}`);
    assert.equal(response.status, 400);
    assert.equal((await response.json()).message, "Session ID unknown");
  });

  test("a node_address that is taken is refused, at a start and at a reload", async (t) => {
    const server = createServer();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => server.close());
    const taken = `node_address http://127.0.0.1:${server.address().port}`;
    const says = /node_address: .*address already in use; if this machine listens on another address/;

    const first = await Caddy.prepare({ keystore: "", global: `redis ${redis.url}\n\t\t${taken}` });
    const { code, output } = await first.command("run", "--config", first.configFile);
    assert.equal(code, 1);
    assert.match(output, says);
    assert.doesNotMatch(output, /panic/);

    const machines = await machinesOf(redis, true);
    t.after(() => Promise.all(machines.map((machine) => machine.close())));
    const [caddy] = machines;
    const app = await caddy.app();
    const socket = await caddy.subscriber(app, ["c"]);
    let got;
    socket.on("e", (data) => (got = data));
    const reloads = async () => (await caddy.admin("GET", "/metrics")).text.match(/^caddy_realtime_reloads_total (\d+)/m)?.[1];
    const before = await reloads();
    caddy.configure({ keystore: "", global: `redis ${redis.url}\n\t\t${taken}` });
    const refused = await caddy.reload();
    assert.equal(refused.code, 1);
    assert.match(refused.output, says);
    assert.equal(await reloads(), before);
    assert.ok(socket.connected);
    await caddy.published(app, { channel: "c", event: "e", data: 1 });
    await until("it arrives", () => got === 1);
  });
});
