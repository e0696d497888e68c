// resources/js/realtime.js: the channels of a Laravel application, over the stock
// socket.io-client. Its methods are those of Laravel Echo.
//
//     const realtime = new Realtime({ url, appId, subscribeKey });
//     realtime.private("orders.1").listen("order.updated", (order) => …);
//     realtime.join("room.1").here((users) => …).joining((user) => …).leaving((user) => …);
import { io } from "socket.io-client";

export class Realtime {
  #channels = new Map(); // by full name
  #authEndpoint;
  #headers;

  /**
   * Connects. authEndpoint answers with the tokens of private and presence channels;
   * headers returns additional headers for it, for example an Authorization; options
   * are socket.io-client's.
   */
  constructor({ url, appId, subscribeKey, authEndpoint = "/broadcasting/auth", headers = () => ({}), ...options }) {
    this.#authEndpoint = authEndpoint;
    this.#headers = headers;
    this.socket = io(url, { transports: ["websocket", "polling"], ...options, auth: { appId, subscribeKey, recover: true } });
    this.socket.on("connect", () => this.#connected());
    this.socket.on("subscribed", (answer) => this.#channels.get(answer.channel)?.subscribedNow(answer));
    this.socket.on("unsubscribed", (why) => this.#unsubscribed(why));
    this.socket.on("realtime:joined", ({ channel, id, info }) => this.#channels.get(channel)?.add(id, info));
    this.socket.on("realtime:left", ({ channel, id }) => this.#channels.get(channel)?.remove(id));
    this.socket.on("realtime:presence", ({ channel, members }) => members && this.#channels.get(channel)?.replace(members));
    // Events come in one order for all channels, so the last id is the position in each.
    this.socket.onAny((_event, ...args) => {
      if (args.length !== 2) return; // not published
      for (const channel of this.#channels.values()) if (channel.joined) channel.position = args[1];
    });
  }

  /** The value of the header X-Socket-ID, for toOthers; undefined while there is no connection. */
  get socketId() {
    return this.socket.id;
  }

  channel(name) {
    return this.#channel(name);
  }

  private(name) {
    return this.#channel(`private-${name}`);
  }

  join(name) {
    return this.#channel(`presence-${name}`);
  }

  /** Leaves the channel, private channel and presence channel of a name. */
  leave(name) {
    for (const full of [name, `private-${name}`, `presence-${name}`]) {
      const channel = this.#channels.get(full);
      if (!channel) continue;
      this.#channels.delete(full);
      channel.leave();
      this.socket.emit("unsubscribe", full); // without a connection: once it recovers
    }
  }

  disconnect() {
    for (const channel of this.#channels.values()) channel.leave();
    this.#channels.clear();
    this.socket.disconnect();
  }

  #channel(name) {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = new Channel(this.socket, name, () => this.#token(name));
      this.#channels.set(name, channel);
      if (this.socket.connected) channel.subscribe();
    }
    return channel;
  }

  #connected() {
    for (const channel of this.#channels.values()) {
      if (!this.socket.recovered) channel.joined = false;
      if (!channel.joined || channel.due) channel.subscribe();
    }
  }

  #unsubscribed({ channel: name, code, message }) {
    const channel = this.#channels.get(name);
    if (!channel) return; // it was left
    channel.joined = false;
    if (code === "token_expired") channel.subscribe(); // a computer that slept, for example
    else if (code) channel.fail({ message, code, temporary: false });
  }

  /** A token for one channel. It throws what the application says, with the status. */
  async #token(channel) {
    const response = await fetch(this.#authEndpoint, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...csrf(), ...this.#headers() },
      body: JSON.stringify({ channel_name: channel, socket_id: this.socket.id }),
    });
    const answer = await response.json().catch(() => ({}));
    if (response.ok && typeof answer.token === "string") return answer.token;
    const temporary = response.status === 429 || response.status >= 500;
    throw { status: response.status, message: answer.message || `${this.#authEndpoint} answered ${response.status} without a token.`, temporary };
  }
}

class Channel {
  joined = false;
  position = undefined; // of the last event: where to continue
  due = false; // the token is to be renewed

  #socket;
  #token;
  #timer;
  #attempt = 0; // each one ends the one before
  #failures = 0;
  #incomplete = true; // the page's state is older than what listeners get
  #members = new Map(); // what each user's rule returned, by id
  #listeners = [];
  #on = { subscribed: [], error: [], here: [], joining: [], leaving: [] };

  constructor(socket, name, token) {
    this.#socket = socket;
    this.name = name;
    this.#token = /^(private|presence)-/.test(name) ? token : undefined;
  }

  /**
   * Calls back with the data of events of a name. Events do not tell their channel: if
   * several channels have events of this name, tell them apart by their data.
   */
  listen(event, callback) {
    const handler = (data) => callback(data);
    this.#listeners.push([event, callback, handler]);
    this.#socket.on(event, handler);
    return this;
  }

  stopListening(event, callback) {
    this.#listeners = this.#listeners.filter(([name, its, handler]) => {
      const stays = name !== event || (callback && its !== callback);
      if (!stays) this.#socket.off(name, handler);
      return stays;
    });
    return this;
  }

  /** Calls back when the page is to fetch its state: at first, and if events were missed for good. */
  subscribed(callback) {
    return this.#add("subscribed", callback);
  }

  /**
   * Calls back with why there is no subscription: {message, code} of the gateway, or
   * {message, status} of the application; temporary means that it is tried again.
   */
  error(callback) {
    return this.#add("error", callback);
  }

  /** Calls back with everybody in a presence channel. */
  here(callback) {
    return this.#add("here", callback);
  }

  joining(callback) {
    return this.#add("joining", callback);
  }

  leaving(callback) {
    return this.#add("leaving", callback);
  }

  /** Subscribes, or renews the token of a subscription, until it succeeds or is refused. */
  async subscribe() {
    const attempt = ++this.#attempt;
    clearTimeout(this.#timer);
    this.due = true;
    const current = () => attempt === this.#attempt && this.#socket.connected;
    try {
      const token = await this.#token?.();
      if (!current()) return; // the next connect tries again
      const since = this.joined ? undefined : this.position;
      const options = { ...(token && { token }), ...(since && { since }) };
      const answer = await this.#socket.timeout(10_000).emitWithAck("subscribe", this.name, ...(token || since ? [options] : []));
      if (!current()) return;
      if (answer.error) throw { ...answer.error, temporary: ["rate_limited", "token_expired", "unavailable"].includes(answer.error.code) };
      this.due = false;
      this.#failures = 0;
      if (token) this.#timer = setTimeout(() => this.#renew(), beforeExpiry(token));
    } catch (error) {
      if (!current()) return;
      if (error.code === "invalid_position") {
        this.position = undefined; // of an app that began again
        this.#incomplete = true;
        this.subscribe();
        return;
      }
      const temporary = error instanceof Error || error.temporary === true;
      this.due = temporary;
      this.fail({ message: error.message, code: error.code, status: error.status, temporary });
      if (temporary) this.#timer = setTimeout(() => this.#renew(), Math.min(30_000, 1000 * 2 ** this.#failures++) * (0.5 + Math.random() / 2));
    }
  }

  #renew() {
    this.due = true;
    if (this.#socket.connected) this.subscribe();
  }

  // What follows is for Realtime.

  subscribedNow({ id, complete, presence }) {
    if (complete === false) this.#incomplete = true;
    const renewed = this.joined;
    this.joined = true;
    this.position = id ?? this.position;
    if (presence?.members && !renewed) this.replace(presence.members);
    if (this.#incomplete) this.#call("subscribed");
    this.#incomplete = false;
  }

  replace(members) {
    this.#members = new Map(members.map(({ id, info }) => [id, info]));
    this.#call("here", [...this.#members.values()]);
  }

  add(id, info) {
    this.#members.set(id, info);
    this.#call("joining", info);
  }

  remove(id) {
    this.#call("leaving", this.#members.get(id));
    this.#members.delete(id);
  }

  fail(error) {
    clearTimeout(this.#timer);
    this.#call("error", error);
  }

  leave() {
    this.#attempt++;
    clearTimeout(this.#timer);
    for (const [event, , handler] of this.#listeners) this.#socket.off(event, handler);
  }

  #add(kind, callback) {
    this.#on[kind].push(callback);
    return this;
  }

  #call(kind, ...args) {
    for (const callback of this.#on[kind]) callback(...args);
  }
}

/** Milliseconds until a token is to be renewed. Its own times count, as this clock may be wrong. */
function beforeExpiry(token) {
  const { iat, exp } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  const life = exp - iat;
  return 1000 * Math.max(1, life - Math.min(60, life / 2));
}

/** Laravel's protection against requests of other sites, from the page or its cookie. */
function csrf() {
  if (typeof document === "undefined") return {};
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  const cookie = document.cookie.match(/(?:^|; )XSRF-TOKEN=([^;]*)/)?.[1];
  return token ? { "X-CSRF-TOKEN": token } : cookie ? { "X-XSRF-TOKEN": decodeURIComponent(cookie) } : {};
}
