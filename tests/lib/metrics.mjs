// This module's metrics in a Caddy's /metrics. Names omit the prefix caddy_realtime_,
// which all of them share.
import assert from "node:assert/strict";

const prefix = "caddy_realtime_";

export class Metrics {
  #samples = []; // { name, labels, value }
  #kinds = new Map();

  /** Fetches the admin endpoint's /metrics. */
  static async scrape(caddy) {
    const answer = await caddy.request("GET", "/metrics", { origin: caddy.adminOrigin, documented: false });
    assert.equal(answer.status, 200, answer.text);
    return new Metrics(answer.text);
  }

  constructor(text) {
    for (const line of text.split("\n")) {
      const [, name, kind] = line.match(/^# TYPE caddy_realtime_(\w+) (\w+)$/) ?? [];
      if (name) this.#kinds.set(name, kind);
      const sample = line.match(/^caddy_realtime_(\w+?)(?:\{(.*)\})? (\S+)$/);
      if (!sample) continue;
      const labels = Object.fromEntries([...(sample[2] ?? "").matchAll(/(\w+)="(.*?)"/g)].map(([, key, value]) => [key, value]));
      this.#samples.push({ name: sample[1], labels, value: Number(sample[3]) });
    }
  }

  /** The families by name, each with its kind and label names. */
  families() {
    return [...this.#kinds.keys()];
  }

  kind(family) {
    return this.#kinds.get(family);
  }

  labels(family) {
    const [sample] = [...this.family(family), ...this.family(`${family}_count`)];
    return Object.keys(sample.labels).join(", ");
  }

  /** The samples with a name. */
  family(name) {
    return this.#samples.filter((sample) => sample.name === name);
  }

  /** The value of the sample with exactly these labels; 0 if there is none yet. */
  value(name, labels = {}) {
    const same = (other) => JSON.stringify(Object.entries(other).sort()) === JSON.stringify(Object.entries(labels).sort());
    const found = this.family(name).filter((sample) => same(sample.labels));
    assert.ok(found.length <= 1, `${prefix}${name} ${JSON.stringify(labels)} is there ${found.length} times`);
    return found[0]?.value ?? 0;
  }

  /** The samples that have this value for a label. */
  having(label, value) {
    return this.#samples.filter((sample) => sample.labels[label] === value);
  }

  /** Every series, without its value. */
  series() {
    return this.#samples.map(({ name, labels }) => `${name} ${JSON.stringify(labels)}`).sort();
  }
}
