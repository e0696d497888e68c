// What a client may do, written from the documents and not from the gateway: a second
// opinion for tests of rules and tokens.

/** Whether a channel, or a prefix that ends in *, covers a channel. */
export const covers = (match, channel) => (match.endsWith("*") ? channel.startsWith(match.slice(0, -1)) : channel === match);

/** The rules of an app that has none of its own. */
const defaults = [
  { match: "private-*", access: "token" },
  { match: "presence-*", access: "token", presence: true },
];

/** The rule of a channel: the first that covers it. Without one, the channel is open. */
export const ruleOf = (rules, channel) => ({ access: "open", ...(rules ?? defaults).find(({ match }) => covers(match, channel)) });

/**
 * A credential is { key, whole, own }: whether the client shows a subscribe key, the token
 * of its handshake, and the token of its subscribe. A token is { user, channels, events,
 * flaw }: events are channels to which its client may also send events, flaw is the code
 * with which it is refused, or undefined.
 */
export function connectCode({ key, whole }) {
  if (!key && !whole) return "missing_key";
  return whole?.flaw;
}

const lists = ({ channels = [], events = [] }, channel) => [...channels, ...events].some((match) => covers(match, channel));

/** The code with which a connected client's subscribe is refused, or undefined. */
export function subscribeCode(rules, channel, { whole, own }) {
  if (own?.flaw) return own.flaw;
  if (own && !lists(own, channel)) return "channel_forbidden";
  if (own && whole?.user && own.user !== whole.user) return "user_mismatch";
  return channelCode(rules, channel, { whole, own });
}

/** The code of one who has shown its tokens, as they are now, or undefined. */
function channelCode(rules, channel, { whole, own }) {
  const rule = ruleOf(rules, channel);
  if (rule.access === "open") return undefined;
  if (rule.access === "closed") return "channel_forbidden";
  const shown = [own, whole].filter(Boolean);
  if (shown.length === 0) return "token_required";
  const good = shown.find((token) => !token.flaw && lists(token, channel));
  if (!good) return shown.find(({ flaw }) => flaw)?.flaw ?? "channel_forbidden";
  if (rule.presence && !shown.some(({ user }) => user)) return "channel_forbidden";
  return undefined;
}

/** The code with which an event of a client in a channel is refused, or undefined. */
export function emitCode(rules, channel, { whole, own }) {
  const rule = ruleOf(rules, channel);
  if (!rule.client_events) return "channel_forbidden";
  if (rule.access === "open") return undefined;
  return [own, whole].some((token) => (token?.events ?? []).some((match) => covers(match, channel))) ? undefined : "channel_forbidden";
}

/**
 * What happens to a connected client when its credentials or the rules change: "server"
 * or "network", which end the connection, or a function that returns the code with which
 * it is taken out of a channel, or undefined if it stays.
 */
export function afterChange(rules, { key, keyFlaw, whole, own }) {
  if (key && keyFlaw) return "server";
  if ([whole, own].some((token) => token?.flaw === "token_revoked")) return "server"; // a user who is revoked is disconnected
  if (whole?.flaw && !key) return "network";
  return (channel) => channelCode(rules, channel, { whole, own });
}
