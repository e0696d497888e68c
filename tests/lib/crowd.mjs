// Many clients that connect to the gateway itself.
import { Follower } from "./follower.mjs";

/** Calls one(0) to one(n - 1), eight at a time, and returns what they return. */
export async function crowd(n, one) {
  const all = [];
  let next = 0;
  const several = async () => {
    while (next < n) {
      const i = next++;
      all[i] = await one(i);
    }
  };
  await Promise.all(Array.from({ length: 8 }, several));
  return all;
}

/** Follower.start without a network that can be cut, for clients that wait as browsers do. */
export function follow(t, ledger, channels, options) {
  const direct = { cutter: { origin: ledger.caddy.origin, close() {} } };
  const wait = { reconnectionDelay: 50, reconnectionDelayMax: 500, timeout: 20_000 };
  return Follower.start(t, ledger, channels, { through: direct, ...wait, ...options });
}
