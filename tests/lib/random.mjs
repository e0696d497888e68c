// Random numbers that a seed reproduces.

export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** A number from 0 up to, but not including, 1. (mulberry32) */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to, but not including, n. */
  below(n) {
    return Math.floor(this.next() * n);
  }

  /** One of a list's elements. */
  of(list) {
    return list[this.below(list.length)];
  }

  /** n different elements of a list. */
  some(n, list) {
    const rest = [...list];
    return Array.from({ length: n }, () => rest.splice(this.below(rest.length), 1)[0]);
  }
}
