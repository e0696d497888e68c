// Sessions: a random id in a cookie stands for a user. In production, keep them in a
// store, so that they survive a restart and end after some time.
import { randomBytes } from "node:crypto";
import type { Request, RequestHandler, Response } from "express";
import type { User } from "../shared/api.ts";

const sessions = new Map<string, User>();

const name = "orders_session";

// Scripts cannot read the cookie, and requests that other sites cause do not carry it.
// Browsers accept a secure cookie over HTTP from localhost.
const attributes = { httpOnly: true, sameSite: "strict", secure: true, path: "/api" } as const;

/** Logs a user in, under a new session id. */
export function openSession(req: Request, res: Response, user: User): void {
  sessions.delete(idOf(req));
  const id = randomBytes(32).toString("base64url");
  sessions.set(id, user);
  res.cookie(name, id, attributes);
}

export function closeSession(req: Request, res: Response): void {
  sessions.delete(idOf(req));
  res.clearCookie(name, attributes);
}

/** Calls the handler with the user who is logged in; answers 401 if nobody is. */
export function withUser(handler: (user: User, req: Request, res: Response) => void | Promise<void>): RequestHandler {
  return (req, res) => {
    const user = sessions.get(idOf(req));
    if (!user) {
      res.status(401).json({ error: "Log in first." });
      return;
    }
    return handler(user, req, res);
  };
}

function idOf(req: Request): string {
  for (const cookie of (req.headers.cookie ?? "").split(";")) {
    const [key, value] = cookie.trim().split("=", 2);
    if (key === name && value) return value;
  }
  return "";
}
