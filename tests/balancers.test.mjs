// Two machines behind the load balancers of docs/cluster.md, without sticky sessions.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { bin, root } from "./lib/caddy.mjs";
import { Keeper } from "./lib/keeper.mjs";
import { Load } from "./lib/load.mjs";
import { Machines } from "./lib/machines.mjs";
import { freePorts } from "./lib/ports.mjs";
import { Program } from "./lib/process.mjs";
import { until } from "./lib/wait.mjs";

/** The configuration that the page has for a load balancer, for these machines. */
function configuration(language, port, machines) {
  const [, text] = readFileSync(join(root, "docs/cluster.md"), "utf8").match(new RegExp(`^\`\`\`${language}\\n(http://:80 [^]*?|[^]*?)^\`\`\``, "m"));
  const ports = machines.all.map((caddy) => caddy.port);
  // The page's third machine is one more name of the second.
  const filled = text.replaceAll(/10\.0\.1\.(\d):8080/g, (_, n) => `localhost:${ports[Math.min(n - 7, ports.length - 1)]}`);
  return filled.replace(/(listen |bind :|http:\/\/:)80\b/, (_, before) => `${before}${port}`);
}

const balancers = {
  caddy(dir, port, machines) {
    const file = join(dir, "Caddyfile");
    writeFileSync(file, `{\n\tadmin off\n}\n${configuration("caddyfile", port, machines)}`);
    return new Program(bin, ["run", "--config", file], { env: { ...process.env, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir } });
  },
  nginx(dir, port, machines) {
    const file = join(dir, "nginx.conf");
    const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`).join("\n");
    const user = process.getuid() === 0 ? "user root;" : "";
    writeFileSync(file, `daemon off;\n${user}\npid ${dir}/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${places}\n${configuration("nginx", port, machines)}}\n`);
    return new Program("nginx", ["-e", "stderr", "-c", file], { cwd: dir, env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
  },
};

for (const [name, start] of Object.entries(balancers)) {
  test(`behind ${name}, websockets and polling lose nothing when a machine is killed`, async (t) => {
    const machines = await Machines.start(2);
    t.after(() => machines.close());
    const dir = mkdtempSync(join(tmpdir(), "realtime-balancer-"));
    const [port] = await freePorts(1);
    const origin = `http://localhost:${port}`;
    const balancer = start(dir, port, machines);
    t.after(async () => {
      await balancer.stop();
      rmSync(dir, { recursive: true, force: true });
    });
    await until("it answers", async () => {
      assert.equal(balancer.child.exitCode, null, balancer.output);
      return (await machines.front.request("GET", "/up", { origin, documented: false }).catch(() => ({}))).status === 200;
    });
    const load = new Load(origin, machines.app);
    t.after(() => load.close());
    await load.publish("c"); // "subscribed" has an id only once the app has had a message
    load.entries.length = 0;
    const ways = ["websocket", "polling", "upgrade", "websocket", "polling", "upgrade"];
    const clients = await Promise.all(ways.map((transport) => Keeper.start(t, machines.front, machines.app, ["c"], transport, origin)));
    load.start(20, () => "c");
    const flows = async () => {
      const before = load.entries.length;
      await until("events flow", () => load.entries.length > before + 20, 60_000);
    };
    await flows();
    const [caddy] = machines.all;
    const id = await machines.idOf(caddy);
    await machines.kill(caddy);
    await until("all clients are back", () => clients.every(({ back, machine }) => back && machine !== id), 60_000);
    await flows();
    await load.stop();
    assert.ifError(load.failure);
    const published = new Map([["c", new Set(load.entries.map(({ place }) => place))]]);
    for (const client of clients) {
      await until("all has arrived", () => client.account(published).lost === 0).catch(() => {});
      const { lost, doubled, disordered, crossed, foreign } = client.account(published);
      assert.deepEqual([lost, doubled, disordered, crossed, foreign], [0, 0, 0, 0, 0], `${client.transport}: ${client.missed}; ${client.story.join("; ")}`);
    }
    t.diagnostic(JSON.stringify({ refused: load.refused, recovered: clients.map(({ recovered, began }) => `${recovered}/${began}`) }));
  });
}
