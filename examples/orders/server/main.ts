// The API of the order page. Caddy passes /api/* here.
import express, { type ErrorRequestHandler } from "express";
import type { Order } from "../shared/api.ts";
import { config } from "./config.ts";
import { publishOrder, revokeUser } from "./gateway.ts";
import { ordersOf, placeOrder, shipOrder } from "./orders.ts";
import { closeSession, openSession, withUser } from "./sessions.ts";
import { userToken, watcherToken } from "./tokens.ts";
import { checkPassword } from "./users.ts";

const app = express();
app.disable("x-powered-by");
app.use(express.json({ limit: "10kb" }));
app.use((_req, res, next) => {
  res.set("Cache-Control", "no-store"); // the answers are one user's
  next();
});

app.post("/api/login", (req, res) => {
  const { user: id, password } = fields(req.body);
  const user = checkPassword(id, password);
  if (!user) {
    res.status(401).json({ error: "Wrong user or password." });
    return;
  }
  openSession(req, res, user);
  res.json(user);
});

// The session ends first: afterwards nobody gets a new token with it. If the gateway
// cannot be reached, the page is told, and tokens of this user work until they expire.
app.post("/api/logout", withUser(async (user, req, res) => {
  closeSession(req, res);
  await revokeUser(user.id);
  res.status(204).end();
}));

app.get("/api/me", withUser((user, _req, res) => void res.json(user)));

app.get("/api/token", withUser((user, _req, res) => void res.json(userToken(user))));

app.get("/api/watcher-token", withUser((_user, _req, res) => void res.json(watcherToken())));

app.get("/api/orders", withUser((user, _req, res) => void res.json(ordersOf(user))));

app.post("/api/orders", withUser((user, req, res) => {
  const { item } = fields(req.body);
  if (typeof item !== "string" || item === "" || item.length > 200) {
    res.status(422).json({ error: "An item has 1 to 200 characters." });
    return;
  }
  const order = placeOrder(user, item);
  announce(order);
  res.status(201).json(order);
}));

app.post("/api/orders/:id/ship", withUser((user, req, res) => {
  if (user.role !== "agent") {
    res.status(403).json({ error: "Only support agents ship orders." });
    return;
  }
  const order = shipOrder(Number(req.params["id"]));
  if (!order) {
    res.status(404).json({ error: "There is no such order." });
    return;
  }
  announce(order);
  res.json(order);
}));

// A request that cannot be read has its own status. Otherwise the details are for the log.
const failed: ErrorRequestHandler = (err: unknown, _req, res, _next) => {
  if (err instanceof Error && "status" in err && typeof err.status === "number" && err.status < 500) {
    res.status(err.status).json({ error: err.message });
    return;
  }
  console.error(err);
  res.status(500).json({ error: "Something went wrong. Try again." });
};
app.use(failed);

app.listen(config.port, "127.0.0.1", () => console.log(`The API listens on port ${config.port}.`));

/** The order is saved by now, so nobody waits for its event. */
function announce(order: Order): void {
  publishOrder(order).catch((err: unknown) => console.error("The event was not published:", err));
}

/** The fields of a JSON object, or none. */
function fields(body: unknown): Record<string, unknown> {
  return typeof body === "object" && body !== null ? { ...body } : {};
}
