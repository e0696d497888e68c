// A network between a client and the gateway that can fall silent.
import { connect, createServer } from "node:net";
import { once } from "./wait.mjs";

export class Relay {
  #pairs = new Set();

  /** Listens on a port of its own for connections to one on this machine. */
  static async start(port) {
    const relay = new Relay();
    relay.server = createServer((client) => {
      const pair = [client, connect(port, "localhost")];
      relay.#pairs.add(pair);
      for (const [from, to] of [pair, pair.toReversed()]) {
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => to.destroy());
      }
    }).listen(0);
    await once(relay.server, "listening");
    relay.origin = `http://localhost:${relay.server.address().port}`;
    return relay;
  }

  /** Passes nothing more on the connections that there are, and tells nobody; later ones pass. */
  vanish() {
    const silent = [...this.#pairs];
    this.#pairs.clear();
    for (const socket of silent.flat()) socket.unpipe().pause();
    this.silent = (this.silent ?? []).concat(silent);
  }

  close() {
    this.server.close();
    for (const socket of [...this.#pairs, ...(this.silent ?? [])].flat()) socket.destroy();
  }
}
