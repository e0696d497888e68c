// Reads an app's live stream in tests. An event that does not match openapi.yaml fails
// the test.
import http from "node:http";
import { check, checkEvent } from "./openapi.mjs";
import { until } from "./wait.mjs";

export class EventStream {
  events = [];
  #request;

  /** Opens a stream and waits for the response headers. */
  static open(url, headers = {}) {
    const stream = new EventStream();
    return new Promise((resolve, reject) => {
      stream.#request = http.get(url, { agent: false, headers }, (res) => {
        stream.status = res.statusCode;
        stream.headers = res.headers;
        check("admin", { method: "GET", url }, stream);
        let text = "";
        res.setEncoding("utf8");
        res.on("data", (chunk) => {
          const blocks = (text += chunk).split("\n\n");
          text = blocks.pop();
          for (const block of blocks) stream.#take(block);
        });
        stream.ended = new Promise((done) => {
          res.on("end", () => done("end"));
          res.on("error", (err) => done(err.message));
        });
        resolve(stream);
      });
      stream.#request.on("error", reject);
    });
  }

  #take(block) {
    const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
    if (!fields.event) return;
    const data = JSON.parse(fields.data);
    checkEvent(fields.event, data);
    this.events.push({ ...data, kind: fields.event });
  }

  /** Waits for the first event of a kind with these fields, including past events. */
  tells(kind, fields = {}) {
    const fits = (e) => e.kind === kind && Object.entries(fields).every(([name, value]) => e[name] === value);
    return until(`the stream tells ${kind} ${JSON.stringify(fields)}`, () => this.events.find(fits));
  }

  close() {
    this.#request.destroy();
  }
}
