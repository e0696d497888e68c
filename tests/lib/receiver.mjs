// A backend that receives webhooks.
import http from "node:http";
import { Webhook } from "standardwebhooks";
import { once } from "./wait.mjs";

export class Receiver {
  requests = []; // those that were answered
  status = 204;

  constructor() {
    this.server = http.createServer((req, res) => {
      let body = "";
      req.setEncoding("utf8");
      req.on("data", (chunk) => (body += chunk));
      req.on("end", () => {
        this.requests.push({ path: req.url, headers: req.headers, body });
        res.writeHead(this.status).end();
      });
    });
  }

  async listen(port = 0) {
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
    this.port = this.server.address().port;
    return this;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/hooks`;
  }

  /** All events in order, each request verified with the secret. */
  events(secret) {
    const verifier = new Webhook(secret);
    return this.requests.flatMap(({ headers, body }) => verifier.verify(body, headers).events);
  }

  close() {
    this.server.closeAllConnections();
    return new Promise((done) => this.server.close(done));
  }
}
