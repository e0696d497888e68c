// Waiting for a condition, never for a time.
import { setTimeout as sleep } from "node:timers/promises";

/** The arguments of the emitter's next event of a name. */
export function once(emitter, event, timeout = 15_000) {
  const at = new Error(`no "${event}" within ${timeout} ms`); // made here, for the caller's line
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(at), timeout);
    emitter.once(event, (...args) => {
      clearTimeout(timer);
      resolve(args);
    });
  });
}

/** Polls until the condition gives something truthy, which it returns. */
export async function until(what, condition, timeout = 20_000) {
  const at = new Error(`waited ${timeout} ms: ${what}`);
  const deadline = Date.now() + timeout;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (Date.now() > deadline) throw at;
    await sleep(20);
  }
}
