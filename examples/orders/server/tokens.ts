// Tokens for the gateway. This file decides who can read what: a channel that is not
// in a user's token is closed to that user.
import jwt from "jsonwebtoken";
import { type Credentials, type MemberInfo, type User, deskChannel, ordersChannel } from "../shared/api.ts";
import { config } from "./config.ts";

/** A token for the user who is logged in. Never take the user or a channel from the request. */
export function userToken(user: User): Credentials {
  const info: MemberInfo = { name: user.name, role: user.role };
  const channels = user.role === "agent" ? [deskChannel] : [ordersChannel(user.id)];
  return sign({ sub: user.id, channels, info });
}

/**
 * A token without a user, to watch the support desk. The members of a presence channel
 * see each other, so customers who joined it as users would see who else is a customer.
 */
export function watcherToken(): Credentials {
  return sign({ channels: [] });
}

function sign(claims: object): Credentials {
  const token = jwt.sign(claims, config.signingKey, { algorithm: "HS256", keyid: config.signingKeyId, expiresIn: config.tokenLife });
  return { appId: config.appId, token };
}
