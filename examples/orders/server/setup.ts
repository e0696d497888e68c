// Makes the app, its keys and its rules through Caddy's admin API, and writes what the
// backend needs to .env. It does nothing if .env is there.
import { existsSync, writeFileSync } from "node:fs";
import { deskChannel } from "../shared/api.ts";

const admin = process.env["REALTIME_ADMIN_URL"] ?? "http://localhost:2019";
const file = process.env["ORDERS_ENV"] ?? ".env";

if (existsSync(file)) {
  console.log(`${file} is there. Delete it to make another app.`);
} else {
  await setUp();
}

async function setUp(): Promise<void> {
  // The app comes with a publish key, whose only scope is to publish, and a subscribe
  // key, which is not kept: nobody connects to this app without a token.
  const app = await ask("POST", "/realtime/apps", { name: "orders" });
  const id = text(app, "id");
  const manage = await ask("POST", `/realtime/keys/${id}`, { kind: "publish", scopes: ["manage"], label: "logout" });
  const signing = await ask("POST", `/realtime/keys/${id}`, { kind: "sign" });

  await ask("PATCH", `/realtime/apps/${id}`, {
    channels: [
      { match: "private-orders.*", access: "token" },
      // Open to everyone who can connect: those have a token, so they are logged in.
      { match: deskChannel, access: "open", presence: true },
      // A name that nobody thought of is closed, not open.
      { match: "*", access: "closed" },
    ],
  });

  const env = {
    REALTIME_URL: process.env["REALTIME_URL"] ?? "http://127.0.0.1:9080",
    REALTIME_APP_ID: id,
    REALTIME_PUBLISH_KEY: text(app, "publish_key"),
    REALTIME_MANAGE_KEY: text(manage, "key"),
    REALTIME_SIGNING_KEY: text(signing, "key"),
    REALTIME_SIGNING_KEY_ID: text(signing, "id"),
  };
  const lines = Object.entries(env).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(file, lines.join(""), { mode: 0o600, flag: "wx" });
  console.log(`Made the app ${id}. Its keys are in ${file}.`);
}

async function ask(method: string, path: string, body: object): Promise<Record<string, unknown>> {
  const response = await fetch(admin + path, {
    method,
    // Caddy takes Node's fetch for a browser, and wants to know its origin.
    headers: { "Content-Type": "application/json", Origin: admin },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Record<string, unknown>;
}

function text(answer: Record<string, unknown>, field: string): string {
  const value = answer[field];
  if (typeof value !== "string") throw new Error(`the answer has no ${field}`);
  return value;
}
