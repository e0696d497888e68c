// Ports for servers that a test starts later, in another process.
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { until } from "./wait.mjs";

// Below Linux's range for outgoing connections (32768 and up), which thousands of
// clients use, and above the range of tests/stress.
const first = 20_000;
const count = 12_768;

/**
 * Returns ports that nothing listens on, reserved as long as this process lives. An
 * abstract Unix socket, which the kernel removes with the process, reserves each port.
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

/** Reports whether a server can listen there; it keeps listening unless close is set. */
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
 * Waits until no address has two listeners. Loading a configuration returns while the
 * old servers are still closing, and Linux resets the connections in their queues
 * (SO_REUSEPORT).
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
