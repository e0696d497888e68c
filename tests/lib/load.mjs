// A backend that publishes at a steady rate through a load balancer, and repeats with the
// same Idempotency-Key what was not answered with 200.
import { randomUUID } from "node:crypto";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

/** Epochs in the order of their appearance. */
const epochs = [];

/** A number that orders the IDs of messages, also over the epochs of one app. */
export function placeOf(id) {
  const [epoch, offset] = id.split("-");
  let index = epochs.indexOf(epoch);
  if (index < 0) index = epochs.push(epoch) - 1;
  return index * 2 ** 40 + parseInt(offset, 36);
}

export class Load {
  entries = []; // { place, channel } of each answered message
  refused = {}; // answers other than 200, by status and code
  repeated = 0; // publishes that were sent more than once
  failure = undefined; // an answer that no backend would repeat
  #agent = new http.Agent({ keepAlive: true, maxSockets: 100 });
  #running = false;
  #inFlight = new Set();

  constructor(origin, app) {
    this.origin = origin;
    this.app = app;
  }

  /** Publishes to pick()'s channels, so many times a second, until stop. */
  start(rate, pick) {
    this.#running = true;
    this.#loop = (async () => {
      let due = performance.now();
      while (this.#running) {
        // Late ones are made up for, but no more than a second's.
        due = Math.max(due + 1000 / rate, performance.now() - 1000);
        await sleep(Math.max(0, due - performance.now()));
        if (this.#inFlight.size > 1000) continue;
        const publish = this.publish(pick()).catch((err) => (this.failure ??= err));
        this.#inFlight.add(publish);
        publish.finally(() => this.#inFlight.delete(publish));
      }
    })();
  }
  #loop;

  /** Ends the loop and waits until everything that was sent is answered. */
  async stop() {
    this.#running = false;
    await this.#loop;
    await Promise.all(this.#inFlight);
  }

  close() {
    this.#agent.destroy();
  }

  /** Publishes one event, however often it takes. */
  async publish(channel) {
    const key = randomUUID();
    const body = JSON.stringify({ channel, event: "m", data: { channel } });
    for (let tries = 0; ; tries++) {
      const answer = await this.once(key, body).catch((err) => ({ status: err.code ?? "error" }));
      if (answer.status === 200) {
        if (tries > 0) this.repeated++;
        const entry = { place: placeOf(JSON.parse(answer.text).id), channel };
        this.entries.push(entry);
        return entry;
      }
      const code = `${answer.status} ${codeOf(answer.text)}`.trim();
      this.refused[code] = (this.refused[code] ?? 0) + 1;
      if (answer.status >= 400 && ![409, 502, 503, 504].includes(answer.status)) throw new Error(`publish: ${code} ${answer.text}`);
      await sleep(200 + 800 * Math.random());
    }
  }

  /** Sends a publish once. */
  once(key, body) {
    const headers = { "Content-Type": "application/json", "X-App-Id": this.app.id, Authorization: `Bearer ${this.app.publish_key}`, "Idempotency-Key": key };
    return new Promise((resolve, reject) => {
      const req = http.request(`${this.origin}/publish`, { method: "POST", agent: this.#agent, headers, timeout: 20_000 }, (res) => {
        let text = "";
        res.setEncoding("utf8");
        res.on("data", (chunk) => (text += chunk));
        res.on("error", reject);
        res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, text }));
      });
      req.on("timeout", () => req.destroy(Object.assign(new Error("no answer"), { code: "no answer" })));
      req.on("error", reject);
      req.end(body);
    });
  }
}

function codeOf(text) {
  try {
    return JSON.parse(text).error.code;
  } catch {
    return "";
  }
}
