// Presence among users with several tabs who come, reload the page, leave, lose their
// network and vanish, while the gateway reloads its configuration. At quiet moments, what
// each client believes is compared with what the gateway says. "make presence" runs it
// with 500 users for ten minutes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";
import { Backend } from "./lib/backend.mjs";
import { believe } from "./lib/believe.mjs";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Random } from "./lib/random.mjs";
import { until } from "./lib/wait.mjs";

const setting = (name, value) => Number(process.env[`PRESENCE_${name}`] ?? value);
const full = {
  users: setting("USERS", 20),
  tabs: setting("TABS", 3), // of each user
  rooms: setting("ROOMS", 3), // each user is in two of them
  rate: setting("RATE", 20), // a second: tabs that do something
  seconds: setting("SECONDS", 15),
  quiet: setting("QUIET", 7), // seconds from one quiet moment to the next
  reload: setting("RELOAD", 3), // seconds from one reload to the next
  grace: setting("GRACE", 1), // seconds
  ping: setting("PING", 1), // seconds: ping_interval; ping_timeout is five times that
  seed: setting("SEED", Date.now() % 1_000_000),
};
const patience = 120_000; // for a busy machine

/** A page of a user, which is open or not. */
class Tab {
  out = true;
  joined = 0; // rooms that it is in, since it connected
  turns = 0; // connects and disconnects so far

  constructor(caddy, backend, user, rooms, transport, recover) {
    Object.assign(this, { caddy, user, rooms, transport });
    this.auth = { appId: backend.app.id, recover, token: backend.sign({ sub: user, channels: ["presence-*"], info: { name: user }, exp: Math.floor(Date.now() / 1000) + 6 * 3600 }) };
  }

  open() {
    this.out = false;
    const socket = io(this.caddy.origin, { forceNew: true, transports: transports[this.transport], auth: this.auth, reconnectionDelay: 50, reconnectionDelayMax: 500, timeout: 60_000 });
    this.socket = socket;
    this.beliefs = this.rooms.map((room) => believe(socket, room));
    socket.on("connect", () => {
      this.turns++;
      this.joined = socket.recovered ? this.rooms.length : 0;
      if (!socket.recovered) for (const room of this.rooms) socket.emit("subscribe", room);
    });
    socket.on("subscribed", () => this.socket === socket && this.joined++);
    socket.on("subscribe_error", (what) => (this.refusal ??= what));
    socket.on("disconnect", () => {
      this.turns++;
      if (this.socket === socket) this.joined = 0;
    });
  }

  close() {
    this.out = true;
    this.socket.disconnect();
  }

  reload() {
    this.close();
    this.open();
  }

  /** The network is gone for a moment: a stock client comes back by itself. */
  drop() {
    this.socket.io.engine.close();
  }

  /** Nothing more comes from it, not even a FIN. Returns what is left to close at the end. */
  vanish() {
    const tcp = this.socket.io.engine?.transport.ws?._socket;
    if (!tcp || !this.in) return this.close();
    this.out = true;
    this.socket.io.reconnection(false);
    this.socket.off();
    tcp.pause();
    return () => {
      tcp.destroy();
      this.socket.disconnect();
    };
  }

  /** Whether it is in its rooms. */
  get in() {
    return !this.out && this.socket.connected && this.joined >= this.rooms.length;
  }
}

test("what each client believes of its channels is what the gateway knows", async (t) => {
  t.diagnostic(`PRESENCE_SEED=${full.seed}`);
  const random = new Random(full.seed);
  const caddy = await Caddy.start({ global: `presence_grace ${full.grace}s\nping_interval ${full.ping}s\nping_timeout ${5 * full.ping}s\nrecovery 2m\nmessage_rate 0` });
  t.after(() => caddy.close());
  const backend = await Backend.start(caddy, [{ match: "presence-*", access: "open", presence: true }]);
  const rooms = Array.from({ length: full.rooms }, (_, i) => `presence-room.${i}`);
  const tabs = Array.from({ length: full.users * full.tabs }, (_, i) => {
    const user = i % full.users;
    const mine = [...new Set([rooms[user % rooms.length], rooms[(user * 7 + 1) % rooms.length]])];
    return new Tab(caddy, backend, `user-${user}`, mine, ["websocket", "upgrade", "websocket", "polling"][i % 4], i % 2 === 0);
  });

  // It has a subscribe key and no user: it sees and is not seen.
  const observer = await caddy.subscriber(backend.app, []);
  const sees = new Map(rooms.map((room) => [room, believe(observer, room)]));
  const ask = async (room) => {
    const { presence, error } = await observer.timeout(patience).emitWithAck("subscribe", room);
    assert.equal(error, undefined, JSON.stringify(error));
    return presence.members;
  };
  for (const room of rooms) await ask(room);
  observer.on("connect", () => rooms.forEach((room) => observer.emit("subscribe", room)));

  /** The sockets by user of each room, as they ought to be. */
  const expected = () => new Map(rooms.map((room) => {
    const counts = {};
    for (const { user } of tabs.filter((tab) => tab.in && tab.rooms.includes(room))) counts[user] = (counts[user] ?? 0) + 1;
    return [room, sorted(counts)];
  }));

  const turns = () => tabs.reduce((sum, tab) => sum + tab.turns, 0);

  /** Waits until nothing happens, and compares. */
  async function compare() {
    for (;;) {
      await until("all tabs are in their rooms or closed", () => tabs.every((tab) => tab.out || tab.in), patience);
      const [before, want] = [turns(), expected()];
      const gone = async () => {
        for (const room of rooms) {
          const is = sorted(Object.fromEntries((await ask(room)).map(({ id, sockets }) => [id, sockets])));
          if (is === want.get(room)) continue;
          if (turns() !== before) return true;
          await sleep(200);
          return false;
        }
        return true;
      };
      await until("the gateway knows of all, and of nobody else", gone, patience).catch(async (err) => {
        throw new Error(`${err.message}: ${JSON.stringify(await ask(rooms[0]))}, and not ${want.get(rooms[0])}`);
      });
      const open = tabs.filter((tab) => tab.in);
      await Promise.all(open.map((tab) => tab.socket.timeout(patience).emitWithAck("unsubscribe", "barrier").catch(() => {})));
      if (turns() !== before) continue; // a busy machine has cost a tab its connection
      for (const room of rooms) {
        const users = Object.keys(JSON.parse(want.get(room))).join();
        assert.equal([...sees.get(room).members.keys()].sort().join(), users, room);
        for (const tab of open) {
          const i = tab.rooms.indexOf(room);
          if (i >= 0) assert.equal([...tab.beliefs[i].members.keys()].sort().join(), users, `${tab.user} in ${room}`);
        }
      }
      return open.length * 2;
    }
  }

  const did = { come: 0, reload: 0, leave: 0, drop: 0, vanish: 0, reloads: 0, moments: 0, beliefs: 0 };
  const vanished = [];
  t.after(() => {
    for (const tab of tabs) tab.socket?.disconnect();
    for (const end of vanished) end();
  });

  function act(tab) {
    const what = tab.out ? "come" : tab.in ? random.of(["reload", "reload", "reload", "leave", "leave", "drop", "vanish"]) : undefined;
    if (!what) return; // it is on its way
    did[what]++;
    if (what === "come") tab.open();
    if (what === "reload") tab.reload();
    if (what === "leave") tab.close();
    if (what === "drop") tab.drop();
    if (what === "vanish") vanished.push(tab.vanish() ?? (() => {}));
  }

  const end = Date.now() + full.seconds * 1000;
  let [calm, load] = [Date.now() + full.quiet * 1000, Date.now() + full.reload * 1000];
  while (Date.now() < end) {
    act(random.of(tabs));
    await sleep(1000 / full.rate);
    if (Date.now() > load) {
      await caddy.load();
      did.reloads++;
      load = Date.now() + full.reload * 1000;
    }
    if (Date.now() > calm) {
      did.beliefs += await compare();
      did.moments++;
      calm = Date.now() + full.quiet * 1000;
    }
  }
  did.beliefs += await compare();
  did.moments++;
  for (const tab of tabs) if (!tab.out) tab.close();
  await compare();
  assert.deepEqual(tabs.flatMap(({ refusal }) => refusal ?? []), []);
  const counts = { joined: 0, left: 0 };
  for (const [room, { events, members }] of sees) {
    assert.equal(members.size, 0, `${room} has ghosts`);
    for (const event of events) counts[event[0] === "+" ? "joined" : "left"]++;
  }
  t.diagnostic(JSON.stringify({ users: full.users, tabs: tabs.length, ...did, ...counts }));
  assert.equal(counts.joined, counts.left);
  assert.ok(did.vanish > 0 && did.reload > 0 && did.moments > 1);
});

/** Counts as text, in the order of their names. */
const sorted = (counts) => JSON.stringify(Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1))));
