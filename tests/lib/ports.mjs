// Ports for servers that a test starts later, in another process.
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { until } from "./wait.mjs";

// Below those that Linux gives to outgoing connections (32768 and up), which
// thousands of clients take, and above the range that tests/stress takes.
const first = 20_000;
const count = 12_768;

/**
 * Ports that nothing listens on and that are given to nobody else while this
 * process lives: an abstract Unix socket, which the kernel forgets with the
 * process, stands for each.
 */
export async function freePorts(n) {
  const ports = [];
  while (ports.length < n) {
    const port = first + Math.floor(Math.random() * count);
    if (!(await listens({ path: `\0realtime-test-port-${port}` }, false))) continue;
    if (await listens({ port }, true)) ports.push(port);
  }
  return ports;
}

/** Whether a server can listen there; it goes on unless it is closed. */
async function listens(where, close) {
  const server = createServer().unref();
  const free = await new Promise((resolve) => {
    server.once("error", (err) => resolve(err.code === "EADDRINUSE" ? false : Promise.reject(err)));
    server.listen(where, () => resolve(true));
  });
  if (free && close) await promisify(server.close.bind(server))();
  return free;
}

/**
 * Waits until no address is listened on twice. A load of Caddy answers while
 * its old servers still close, and Linux resets the connections that wait
 * for them (SO_REUSEPORT).
 */
export function closedListeners() {
  return until("the listeners of old servers are closed", async () => {
    const addresses = [];
    for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
      for (const line of (await readFile(table, "latin1")).split("\n")) {
        const [, local, , state] = line.trim().split(/\s+/);
        if (state === "0A") addresses.push(local);
      }
    }
    return new Set(addresses).size === addresses.length;
  });
}
