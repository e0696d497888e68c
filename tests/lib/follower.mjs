// A stock client that asks for recovery, on a network that a test can cut, and an account
// of what was published and what it got.
import assert from "node:assert/strict";
import http from "node:http";
import { transports } from "./caddy.mjs";
import { Cutter } from "./cutter.mjs";
import { once, until } from "./wait.mjs";

/** Events of the gateway itself. */
const own = new Set(["subscribed", "subscribe_error", "unsubscribed"]);

/** Publishes to the channels of one app, and keeps every receipt. */
export class Ledger {
  entries = []; // { id, offset, channel, data }
  #agent = new http.Agent({ keepAlive: true, maxSockets: 32 });
  #counts = new Map();

  constructor(caddy, app) {
    this.caddy = caddy;
    this.app = app;
  }

  /** Publishes an event; the data, by default, is { n, channel }, numbered by channel. */
  async publish(channel, ...data) {
    const n = (this.#counts.get(channel) ?? 0) + 1;
    this.#counts.set(channel, n);
    if (data.length === 0) data.push({ n, channel });
    const body = { channel, event: "m", ...(data[0] !== undefined && { data: data[0] }) };
    const receipt = await this.#post(JSON.stringify(body));
    const entry = { id: receipt.id, offset: receipt.offset, subscribers: receipt.subscribers, channel, data: data[0] };
    this.entries.push(entry);
    return entry;
  }

  /** Publishes n events, one after the other. */
  async several(channel, n) {
    const entries = [];
    for (let i = 0; i < n; i++) entries.push(await this.publish(channel));
    return entries;
  }

  count(channel) {
    return this.#counts.get(channel) ?? 0;
  }

  #post(body) {
    const headers = {
      "Content-Type": "application/json",
      "X-App-Id": this.app.id,
      Authorization: `Bearer ${this.app.publish_key}`,
    };
    return new Promise((resolve, reject) => {
      const req = http.request(`${this.caddy.origin}/publish`, { method: "POST", agent: this.#agent, headers }, (res) => {
        let text = "";
        res.setEncoding("utf8");
        res.on("data", (chunk) => (text += chunk));
        res.on("error", reject);
        res.on("end", () => (res.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`publish: ${res.statusCode} ${text}`))));
      });
      req.on("error", reject);
      req.end(body);
    });
  }
}

export class Follower {
  got = []; // published events: { event, data, id, args }
  answers = []; // what "subscribed" said
  connects = []; // { id, recovered }
  lost = []; // reasons of "disconnect"
  greetings = []; // the gateway's CONNECT packets, { sid, pid }
  channels = new Map(); // how many entries of the ledger were there before it subscribed

  /**
   * Returns a connected client that is subscribed to channels.
   * transport: a name in transports; recover: false asks for no recovery;
   * through: another follower's network, instead of its own; auth: more fields of auth,
   * which win over the client's; other options are the stock client's.
   */
  static async start(t, ledger, channels = [], options = {}) {
    const follower = new Follower(ledger, options.auth);
    await follower.#open(t, options);
    for (const channel of [channels].flat()) await follower.subscribe(channel);
    return follower;
  }

  constructor(ledger, auth = {}) {
    this.ledger = ledger;
    this.auth = auth;
  }

  async #open(t, { transport = "websocket", recover = true, through, auth, ...options }) {
    const { caddy, app } = this.ledger;
    this.cutter = through?.cutter ?? (await Cutter.start(caddy.port));
    this.transport = transport;
    this.credentials = { appId: app.id, subscribeKey: app.subscribe_key, ...(recover && { recover: true }) };
    this.socket = caddy.socket(app, {
      uri: this.cutter.origin,
      transports: transports[transport],
      auth: (send) => send({ ...this.credentials, ...this.auth }),
      reconnectionDelay: 10,
      reconnectionDelayMax: 50,
      // A websocket that closes before Engine.IO's handshake is complete leaves the stock
      // client waiting for this, by default for 20 s.
      timeout: 5_000,
      ...options,
    });
    t.after(() => {
      this.socket.disconnect();
      this.cutter.close();
    });
    this.socket.io.on("open", () => {
      this.socket.io.engine.on("message", (packet) => {
        if (packet.startsWith("0{")) this.greetings.push(JSON.parse(packet.slice(1)));
      });
    });
    this.socket.on("connect", () => this.connects.push({ id: this.socket.id, recovered: this.socket.recovered }));
    this.socket.on("disconnect", (reason) => this.lost.push(reason));
    this.socket.onAny((event, ...args) => {
      if (event === "subscribed") this.answers.push(args[0]);
      if (!own.has(event) && !event.startsWith("realtime:")) this.got.push({ event, data: args[0], id: args[1], args });
    });
    await once(this.socket, "connect");
    if (transport === "upgrade") await until("the upgrade", () => this.socket.io.engine.transport.name === "websocket");
  }

  get id() {
    return this.socket.id;
  }

  /** The ID that is a secret between the gateway and this client. */
  get pid() {
    return this.greetings.at(-1).pid;
  }

  get ids() {
    return this.got.map(({ id }) => id);
  }

  get data() {
    return this.got.map(({ data }) => data);
  }

  /** Subscribes, and returns the acknowledgement. */
  async subscribe(channel, ...options) {
    const from = this.ledger.entries.length;
    const answer = await this.socket.timeout(30_000).emitWithAck("subscribe", channel, ...options);
    assert.equal(answer.channel, channel, JSON.stringify(answer));
    if (!this.channels.has(channel)) this.channels.set(channel, from);
    return answer;
  }

  /** Cuts its connections, waits until it notices, does something, and lets it come back. */
  async drop({ meanwhile = () => {}, ...cut } = {}) {
    const lost = once(this.socket, "disconnect", 60_000);
    await this.cutter.cut(cut);
    await lost;
    await meanwhile();
    const back = once(this.socket, "connect", 60_000);
    this.cutter.admit();
    await back;
  }

  /** Drops, and fails unless it is recovered as the same socket. */
  async recovers(cut) {
    const id = this.id;
    await this.drop(cut);
    assert.deepEqual(this.connects.at(-1), { id, recovered: true });
  }

  /** Drops, and fails if it is recovered, or is in a channel, or gets anything that it missed. */
  async starts(cut) {
    const id = this.id;
    await this.drop(cut);
    await this.isNew(id);
  }

  /** Fails if the client is still the socket of this ID, or in any of its channels. */
  async isNew(id) {
    assert.ok(!this.socket.recovered, "it is recovered");
    assert.ok(this.id && this.id !== id, `the ID was ${id} and is ${this.id}`);
    const got = this.got.length;
    for (const channel of this.channels.keys()) {
      const { subscribers } = await this.ledger.publish(channel);
      assert.equal(subscribers, 0, `${channel} has a subscriber`);
    }
    this.channels.clear();
    // Whatever was to come would come before an event that is published now.
    await this.subscribe("marker");
    const { data: marker } = await this.ledger.publish("marker");
    await until("the marker", () => this.got.at(-1)?.data?.channel === "marker" && this.got.length > got);
    assert.deepEqual(this.data.slice(got), [marker], "it got a part of what it missed");
  }

  /** The entries that it has to get, in their order. */
  owed() {
    const entries = this.ledger.entries.filter(({ channel }, i) => i >= (this.channels.get(channel) ?? Infinity));
    return entries.sort((a, b) => a.offset - b.offset);
  }

  /** Compares what it got with what it had to get. */
  account() {
    const owed = this.owed();
    const known = new Map(owed.map((entry) => [entry.id, entry]));
    const account = { owed: owed.length, lost: 0, doubled: 0, disordered: 0, foreign: 0, changed: 0 };
    const seen = new Set();
    let last = -1;
    for (const { id, data } of this.got) {
      const entry = known.get(id);
      if (!entry) account.foreign++;
      else if (seen.has(id)) account.doubled++;
      else {
        if (entry.offset < last) account.disordered++;
        if (JSON.stringify(data) !== JSON.stringify(entry.data ?? null)) account.changed++;
        last = Math.max(last, entry.offset);
      }
      seen.add(id);
    }
    account.lost = owed.filter(({ id }) => !seen.has(id)).length;
    return account;
  }

  /** Fails unless it has got, or gets now, everything exactly once and in order. */
  async settles() {
    const [channel] = this.channels.keys();
    const { id } = await this.ledger.publish(channel);
    const owed = this.owed().map((entry) => entry.id);
    await until("the last event", () => this.ids.includes(id)).catch((err) => {
      throw new Error(`${err.message}: ${JSON.stringify(this.account())}, connects ${JSON.stringify(this.connects)}`);
    });
    assert.deepEqual(this.ids, owed);
    const { lost, doubled, disordered, foreign, changed } = this.account();
    assert.deepEqual({ lost, doubled, disordered, foreign, changed }, { lost: 0, doubled: 0, disordered: 0, foreign: 0, changed: 0 });
  }
}
