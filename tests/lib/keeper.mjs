// A stock client as docs/recovery.md has it: it asks for recovery, and where it is not
// recovered, subscribes again from where it stood. It keeps account of what it got.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { transports } from "./caddy.mjs";
import { placeOf } from "./load.mjs";
import { once, until } from "./wait.mjs";

export class Keeper {
  got = new Map(); // places of received events in their order, by channel
  connects = 0;
  recovered = 0;
  began = 0; // returns that were not recovered
  incomplete = {}; // subscribes that were told that something is missing, by reason
  refusals = {}; // subscribes and connects that were refused, by code
  back = true; // it is connected and in all of its channels
  lost = []; // reasons of "disconnect"
  story = []; // connects and subscribes, for people
  crossed = 0; // events behind a later one of another channel, since the last new session
  #last = -1;
  #entered = false; // the session is in all of its channels
  #positions = new Map(); // the id from which each channel continues
  #gaps = new Map(); // what it was told that it has not got: [after, upto], by channel

  /** Returns a client that is in its channels. */
  static async start(t, caddy, app, channels, transport, uri) {
    const keeper = new Keeper();
    keeper.channels = channels;
    keeper.transport = transport;
    for (const channel of channels) keeper.got.set(channel, []);
    const auth = { appId: app.id, subscribeKey: app.subscribe_key, recover: true };
    keeper.socket = caddy.socket(app, { uri, transports: transports[transport], auth, reconnectionDelay: 100, reconnectionDelayMax: 1000, timeout: 20_000 });
    const joined = new Promise((resolve) => (keeper.joined = resolve));
    t.after(() => keeper.close());
    keeper.#listen();
    await once(keeper.socket, "connect", 60_000);
    await joined;
    return keeper;
  }

  /** The machine that has its session. */
  get machine() {
    return this.socket.io.engine?.id?.slice(0, 8);
  }

  #listen() {
    const { socket } = this;
    socket.on("connect", () => {
      this.connects++;
      this.story.push(`${socket.recovered ? "recovered" : "connected"} as ${socket.id} on ${this.machine}`);
      if (socket.recovered) {
        this.recovered++;
        if (this.#entered) this.back = true;
        else this.#subscribe(socket.id); // it was lost before it was in all of its channels
        return;
      }
      if (this.connects > 1) this.began++;
      this.#last = -1;
      this.#entered = false;
      this.#subscribe(socket.id);
    });
    socket.on("disconnect", (reason) => {
      this.back = false;
      this.lost.push(reason);
      this.#again();
    });
    socket.on("connect_error", (err) => {
      if (err.data) count(this.refusals, err.data.code);
      this.#again();
    });
    socket.on("subscribed", (answer) => this.#enter(answer)); // before what is replayed
    socket.on("m", ({ channel }, id) => this.#take(channel, id));
  }

  /** Connects again where the stock client does not: when the gateway has refused it. */
  #again() {
    if (!this.socket.active && !this.closed) setTimeout(() => this.closed || this.socket.connect(), 200);
  }

  close() {
    this.closed = true;
    this.socket.disconnect();
  }

  #take(channel, id) {
    const place = placeOf(id);
    this.got.get(channel)?.push(place) ?? (this.foreign = (this.foreign ?? 0) + 1);
    if (place < this.#last) this.crossed++;
    else this.#last = place;
    const position = this.#positions.get(channel);
    if (!position || placeOf(position) < place) this.#positions.set(channel, id);
  }

  async #subscribe(session) {
    const current = () => this.socket.connected && this.socket.id === session;
    for (const channel of this.channels) {
      for (;;) {
        const since = this.#positions.get(channel);
        const answer = await this.socket.timeout(20_000).emitWithAck("subscribe", channel, ...(since ? [{ since }] : [])).catch((err) => ({ error: { code: err.message } }));
        if (!current()) return;
        if (!answer.error) break;
        count(this.refusals, answer.error.code);
        if (answer.error.code === "invalid_position") this.#positions.delete(channel);
        await sleep(200);
      }
    }
    this.#entered = true;
    this.back = true;
    this.joined();
  }

  #enter({ channel, id, complete, reason }) {
    const since = this.#positions.get(channel);
    this.story.push(`${channel} since ${since && placeOf(since)}: ${complete ? "complete" : reason} at ${placeOf(id)}`);
    this.#last = -1; // what is replayed of a channel can be older than another's latest
    if (since && !complete) {
      count(this.incomplete, reason);
      const gaps = this.#gaps.get(channel) ?? [];
      this.#gaps.set(channel, [...gaps, [placeOf(since), placeOf(id)]]);
    }
    if (!since || !complete) this.#positions.set(channel, id);
  }

  /** Compares what it got with what was published to its channels since it subscribed. */
  account(published) {
    const account = { owed: 0, lost: 0, told: 0, doubled: 0, disordered: 0, crossed: this.crossed, foreign: this.foreign ?? 0 };
    this.missed = []; // what is lost, for people
    for (const [channel, got] of this.got) {
      const owed = published.get(channel) ?? new Set();
      const seen = new Set();
      let last = -1;
      for (const place of got) {
        if (!owed.has(place)) account.foreign++;
        if (seen.has(place)) account.doubled++;
        else if (place < last) account.disordered++;
        seen.add(place);
        last = Math.max(last, place);
      }
      const gaps = this.#gaps.get(channel) ?? [];
      for (const place of owed) {
        account.owed++;
        if (seen.has(place)) continue;
        if (gaps.some(([after, upto]) => place > after && place <= upto)) account.told++;
        else {
          account.lost++;
          this.missed.push(`${channel} ${place} after ${Math.max(-1, ...got.filter((other) => other < place))} before ${Math.min(...got.filter((other) => other > place))}`);
        }
      }
    }
    return account;
  }
}

/**
 * Checks that each client has got everything, once and in order, once the last events are
 * there, and returns their accounts. faults are those that count, besides what is lost.
 */
export async function settle(clients, channels, entries, faults = ["told", "doubled", "disordered", "crossed", "foreign"], patience = undefined) {
  const published = new Map(channels.map((channel) => [channel, new Set()]));
  for (const { place, channel } of entries) published.get(channel).add(place);
  const wrong = () => clients.map((client) => ({ client, account: client.account(published) }))
    .filter(({ account }) => account.lost || faults.some((name) => account[name]))
    .map(({ client, account }) => `${client.transport}: ${JSON.stringify(account)}, ${client.lost}; missed ${client.missed.slice(0, 3)}; ${client.story.slice(-8).join("; ")}`);
  await until("the last events", () => wrong().length === 0, patience).catch(() => {});
  assert.deepEqual(wrong(), []);
  return clients.map((client) => client.account(published));
}

function count(counts, name) {
  counts[name] = (counts[name] ?? 0) + 1;
}
