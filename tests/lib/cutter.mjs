// A network between clients and the gateway that breaks connections where a test says.
import { connect, createServer } from "node:net";
import { once, until } from "./wait.mjs";

/** How a connection can end: the client always notices, the gateway only of the first two. */
export const ways = ["reset", "end", "half-open"];

/**
 * Resets a connection. A socket that has ended cannot be: Node would neither close it nor
 * end itself.
 */
function reset(socket) {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

export class Cutter {
  #server;
  #links = new Set(); // [client's side, gateway's side]
  #abandoned = new Set(); // the gateway's sides of half-open connections
  #cut; // the cut to come
  #refusing = false;
  #opening;

  /** Listens on a new port and forwards connections to a local port, its field port. */
  static async start(port) {
    const cutter = new Cutter();
    cutter.port = port;
    cutter.#server = createServer((client) => cutter.#accept(client, cutter.port)).listen(0);
    await once(cutter.#server, "listening");
    cutter.origin = `http://localhost:${cutter.#server.address().port}`;
    return cutter;
  }

  /**
   * Cuts all connections once so many more bytes have passed in one direction, over all
   * connections together: in the middle of a frame or a header, wherever that is. It
   * replaces an earlier cut that has not happened. The returned promise resolves when it
   * has happened.
   * how: "reset" (RST) or "end" (FIN) on both sides, or "half-open": the client's side
   * is reset, the gateway's side stays open and silent until close or release;
   * direction: "down", to the client, or "up"; after: 0 is now;
   * refuse: new connections are reset for so many milliseconds, until admit by default.
   */
  cut({ how = "reset", direction = "down", after = 0, refuse = Infinity } = {}) {
    return new Promise((done) => {
      this.#cut = { how, direction, left: after, refuse, done };
      if (after === 0) this.#strike();
    });
  }

  /** Forgets a cut that has not happened. */
  calm() {
    this.#cut = undefined;
  }

  /** Resets new connections for so many milliseconds, or until admit. */
  refuse(ms = Infinity) {
    clearTimeout(this.#opening);
    this.#refusing = ms > 0;
    if (ms > 0 && ms < Infinity) this.#opening = setTimeout(() => this.admit(), ms);
  }

  /** Forwards new connections again. */
  admit() {
    this.refuse(0);
  }

  /** Waits until the gateway has closed its side of all half-open connections. */
  async released() {
    for (const gateway of this.#abandoned) gateway.resume(); // else the end stays behind unread bytes
    await until("the gateway closes the old connections", () => this.#abandoned.size === 0);
  }

  /** Resets the gateway's side of all half-open connections. */
  release() {
    for (const gateway of this.#abandoned) reset(gateway);
  }

  close() {
    this.admit();
    this.calm();
    this.#server.close();
    for (const socket of [...this.#links].flat()) socket.destroy();
    this.release();
  }

  #accept(client, port) {
    client.on("error", () => {}); // "close" follows
    if (this.#refusing) return reset(client);
    const gateway = connect({ port, host: "localhost", noDelay: true });
    gateway.on("error", () => {});
    client.setNoDelay(true);
    const link = [client, gateway];
    this.#links.add(link);
    this.#forward(link, client, gateway, "up");
    this.#forward(link, gateway, client, "down");
  }

  #forward(link, from, to, direction) {
    from.on("data", (chunk) => {
      if (!this.#links.has(link)) return; // half-open: nobody reads it
      const cut = this.#cut;
      if (cut?.direction === direction) {
        if (cut.left <= chunk.length) {
          to.write(chunk.subarray(0, cut.left));
          return this.#strike();
        }
        cut.left -= chunk.length;
      }
      if (!to.write(chunk)) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    });
    from.on("end", () => this.#links.has(link) && to.end());
    from.on("close", () => {
      if (!this.#links.delete(link)) return;
      if (from.errored) reset(to);
      else to.end();
    });
  }

  #strike() {
    const { how, refuse, done } = this.#cut;
    this.#cut = undefined;
    this.refuse(refuse);
    for (const [client, gateway] of this.#links) {
      if (how === "half-open") {
        reset(client);
        gateway.pause();
        this.#abandoned.add(gateway);
        gateway.on("close", () => this.#abandoned.delete(gateway));
      } else {
        for (const socket of [client, gateway]) how === "end" ? socket.destroySoon() : reset(socket);
      }
    }
    this.#links.clear();
    done();
  }
}
