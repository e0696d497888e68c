// A network between a client and the gateway that can go silent.
import { connect, createServer } from "node:net";
import { once } from "./wait.mjs";

export class Relay {
  #pairs = new Set();
  #vanished = false;
  #held = false;

  /** Listens on a new port and forwards connections to a local port. */
  static async start(port) {
    const relay = new Relay();
    relay.server = createServer((client) => {
      if (relay.#held) return void client.destroy();
      const pair = [client, connect(port, "localhost")];
      relay.#pairs.add(pair);
      pair.silent = relay.#vanished;
      for (const [from, to] of [pair, pair.toReversed()]) {
        if (!pair.silent) from.pipe(to);
        const end = () => pair.silent || to.destroy();
        from.on("error", end).on("close", end);
      }
    }).listen(0);
    await once(relay.server, "listening");
    relay.origin = `http://localhost:${relay.server.address().port}`;
    return relay;
  }

  /** Stops forwarding without closing any connection. */
  vanish() {
    this.#vanished = true;
    for (const pair of this.#pairs) {
      pair.silent = true;
      for (const socket of pair) socket.unpipe().pause();
    }
  }

  /** Ends all connections. */
  cut() {
    for (const socket of [...this.#pairs].flat()) socket.destroy();
    this.#pairs.clear();
  }

  /** Ends all connections, and refuses new ones until it appears again. */
  hold() {
    this.#held = true;
    this.cut();
  }

  /** Forwards new connections again. */
  appear() {
    this.#vanished = this.#held = false;
  }

  close() {
    this.server.close();
    this.cut();
  }
}
