// What the backend asks of the gateway.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Order, ordersChannel } from "../shared/api.ts";
import { config } from "./config.ts";

/** The gateway's answer if it is not a success. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * Sends an order to the pages of its customer, and to nobody else. It tries for a minute,
 * so a gateway that restarts costs no event. In production, a database's outbox also
 * outlives a restart of the backend.
 */
export async function publishOrder(order: Order): Promise<void> {
  const message = { channel: ordersChannel(order.customer), event: "order", data: { ...order } };
  // With a key, a publish whose answer was lost can be repeated: it is carried out once.
  const headers = { "Idempotency-Key": randomUUID() };
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      return await post("/publish", config.publishKey, message, headers);
    } catch (err) {
      const permanent = err instanceof Refused && ![409, 429, 503].includes(err.status);
      if (permanent || Date.now() > deadline) throw err;
      await sleep(1_000);
    }
  }
}

/** Disconnects a user's sockets. The tokens that the user has by now let in no more. */
export async function revokeUser(user: string): Promise<void> {
  await post(`/realtime-api/users/${encodeURIComponent(user)}/revoke`, config.manageKey);
}

async function post(path: string, key: string, body?: object, headers?: Record<string, string>): Promise<void> {
  const response = await fetch(config.gateway + path, {
    method: "POST",
    headers: {
      "X-App-Id": config.appId,
      Authorization: `Bearer ${key}`,
      ...(body && { "Content-Type": "application/json" }),
      ...headers,
    },
    ...(body && { body: JSON.stringify(body) }),
    redirect: "error",
    signal: AbortSignal.timeout(5_000),
  });
  if (!response.ok) throw new Refused(response.status, `POST ${path}: ${response.status} ${await response.text()}`);
}
