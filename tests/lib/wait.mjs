// Waiting for conditions, never for a fixed time.
import { setTimeout as sleep } from "node:timers/promises";

/** Waits for the emitter's next event of this name and returns its arguments. */
export function once(emitter, event, timeout = 15_000) {
  const at = new Error(`no "${event}" within ${timeout} ms`); // created here to have the caller's line
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(at), timeout);
    emitter.once(event, (...args) => {
      clearTimeout(timer);
      resolve(args);
    });
  });
}

/** Polls until the condition returns a truthy value, and returns it. */
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
