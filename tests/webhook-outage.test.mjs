// A receiver of webhooks is down while clients come and go, and the gateway restarts once
// in that time. "make webhooks" runs it with 200 clients and an outage of five minutes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";
import { Backend } from "./lib/backend.mjs";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Random } from "./lib/random.mjs";
import { Receiver } from "./lib/receiver.mjs";
import { until } from "./lib/wait.mjs";

const setting = (name, value) => Number(process.env[`WEBHOOKS_${name}`] ?? value);
const full = {
  clients: setting("CLIENTS", 30),
  outage: setting("OUTAGE", 8), // seconds
  rate: setting("RATE", 8), // clients that come or go in a second
  seed: setting("SEED", Date.now() % 1_000_000),
};
const patience = 900_000; // longer than the longest pause between two attempts, and for a busy machine
const rules = [{ match: "presence-*", access: "token", presence: true }];
const names = Object.keys(transports);

/**
 * A user of an app, who is there or not. Each visit is to a channel of its own, so that it
 * is known what a webhook has to say of it, and to a room that others visit too.
 */
class Visitor {
  visits = 0;
  certain = []; // channels of visits that were answered
  possible = []; // channels of visits whose answer a restart took

  constructor(caddy, place, i) {
    Object.assign(this, { caddy, place, transport: transports[names[i % names.length]], user: `${place.name}-user.${i}`, room: `presence-${place.name}.room.${i % 5}` });
  }

  come() {
    const socket = this.caddy.socket(this.place.backend.app, {
      transports: this.transport, reconnectionDelayMax: 500, timeout: 60_000,
      auth: { appId: this.place.backend.app.id, token: this.place.backend.sign({ sub: this.user, channels: ["presence-*"], exp: Math.floor(Date.now() / 1000) + 7200 }) },
    });
    this.socket = socket;
    socket.on("connect", async () => {
      const channel = `presence-${this.place.name}.${this.user}.${this.visits++}`;
      this.possible.push(channel);
      const answer = await socket.emitWithAck("subscribe", channel).catch(() => {}); // it was disconnected
      if (answer?.channel !== channel) return;
      this.certain.push(channel);
      socket.emit("subscribe", this.room);
    });
  }

  go() {
    this.socket.disconnect();
    this.socket = undefined;
  }
}

test("a receiver that is down for a while gets every event, once and in order, over a restart too", async (t) => {
  t.diagnostic(`WEBHOOKS_SEED=${full.seed}`);
  const random = new Random(full.seed);
  const caddy = await Caddy.start({ global: "webhook_targets any\npresence_grace 0s\nmessage_rate 0" });
  t.after(() => caddy.close());
  let receiver = await new Receiver().listen();
  t.after(() => receiver.close());
  const { port } = receiver;
  const places = [];
  for (const name of ["north", "south"]) {
    const backend = await Backend.start(caddy, rules);
    const hook = await caddy.admin("POST", `/realtime/webhooks/${backend.app.id}`, {
      url: `${receiver.url}/${name}`, events: ["channel.occupied", "channel.vacated", "member.joined", "member.left"],
    });
    assert.equal(hook.status, 201, hook.text);
    places.push({ name, backend, secret: hook.json.secret });
  }
  const visitors = Array.from({ length: full.clients }, (_, i) => new Visitor(caddy, places[i % 2], i));

  let over = false;
  let restarting = false;
  let published = 0;
  let slowest = 0;
  const publishing = (async () => {
    while (!over) {
      const place = places[published % 2];
      const began = Date.now();
      const undisturbed = !restarting;
      const answer = await caddy.publish(place.backend.app, { channel: `presence-${place.name}.room.0`, event: "e", data: published }).catch(() => undefined);
      if (answer?.status === 200) published++;
      else if (undisturbed && !restarting) assert.fail(`a publish was answered with ${answer?.status} ${answer?.text}`);
      if (undisturbed && !restarting) slowest = Math.max(slowest, Date.now() - began);
      await sleep(20);
    }
  })();

  const requests = [];
  /**
   * What each place received, each seq once. A request is verified soon after it has
   * arrived: its time must not be five minutes ago.
   */
  const got = (place) => {
    const verifier = new Webhook(place.secret);
    const events = [];
    let repeated = 0;
    for (const request of [...requests, ...receiver.requests]) {
      if (request.path !== `/hooks/${place.name}`) continue;
      request.batch ??= verifier.verify(request.body, request.headers);
      assert.equal(request.batch.app, place.backend.app.id);
      for (const e of request.batch.events) {
        if (e.seq <= events.length) repeated++;
        else events.push(e);
      }
    }
    return { events, repeated };
  };
  for (const visitor of visitors) if (random.below(2)) visitor.come();
  await until("the first events", () => receiver.requests.length > 0, patience);
  requests.push(...receiver.requests);
  await receiver.close();
  const before = receiver.requests.length;
  requests.push(...receiver.requests.slice(requests.length));
  for (const place of places) got(place);

  const down = Date.now();
  let restarted = false;
  const restart = async () => {
    restarting = true;
    await caddy.signal("SIGTERM");
    await caddy.boot();
    restarting = false;
  };
  let restarts;
  while (Date.now() - down < full.outage * 1000 || !restarted || restarting) {
    const visitor = visitors[random.below(visitors.length)];
    if (visitor.socket) visitor.go();
    else visitor.come();
    if (!restarted && Date.now() - down > full.outage * 750) {
      restarted = true;
      restarts = restart();
    }
    await sleep(1000 / full.rate);
  }
  await restarts;
  receiver = await new Receiver().listen(port);
  const lasted = Math.round((Date.now() - down) / 1000);
  for (const visitor of visitors.filter(({ socket }) => socket)) {
    await until("everyone is settled", () => visitor.socket.connected && visitor.certain.length > 0, patience);
    visitor.go();
  }
  over = true;
  await publishing;

  const gone = (place) => {
    const last = new Map(got(place).events.map((e) => [`${e.type.startsWith("member") ? e.user : ""} ${e.channel}`, e.type]));
    const { certain } = account(place);
    return certain.every((channel) => last.get(` ${channel}`) === "channel.vacated") && [...last.values()].every((type) => /vacated|left/.test(type));
  };
  const account = (place) => ({
    certain: visitors.filter((v) => v.place === place).flatMap((v) => v.certain),
    possible: new Set(visitors.filter((v) => v.place === place).flatMap((v) => v.possible)),
  });
  for (const place of places) await until(`${place.name} is told that everyone has gone`, () => gone(place), patience).catch(() => {}); // the account says what is missing

  const total = { clients: full.clients, outage: lasted, published, slowest, before, visits: 0, events: 0, missing: 0, doubled: 0, foreign: 0, disordered: 0, repeated: 0 };
  for (const place of places) {
    const { events, repeated } = got(place);
    const { certain, possible } = account(place);
    total.visits += certain.length;
    total.events += events.length;
    total.repeated += repeated;
    events.forEach((e, i) => (total.disordered += e.seq !== i + 1));
    const state = new Map(); // what is occupied, and who is there
    const count = new Map();
    for (const { type, channel, user } of events) {
      if (!channel.startsWith(`presence-${place.name}.room.`) && !possible.has(channel)) total.foreign++;
      if (user && !user.startsWith(`${place.name}-`)) total.foreign++;
      const key = `${user ?? ""} ${channel}`;
      const begins = /occupied|joined/.test(type);
      if (Boolean(state.get(key)) === begins) total.disordered++;
      state.set(key, begins);
      count.set(`${type} ${channel}`, (count.get(`${type} ${channel}`) ?? 0) + 1);
    }
    total.missing += [...state.values()].filter(Boolean).length;
    const types = ["channel.occupied", "member.joined", "member.left", "channel.vacated"];
    for (const channel of possible) {
      const times = types.map((type) => count.get(`${type} ${channel}`) ?? 0);
      if (certain.includes(channel) || times.some(Boolean)) total.missing += times.filter((n) => n === 0).length;
      total.doubled += times.filter((n) => n > 1).length;
    }
  }
  t.diagnostic(JSON.stringify(total));
  const { missing, doubled, foreign, disordered } = total;
  assert.deepEqual({ missing, doubled, foreign, disordered }, { missing: 0, doubled: 0, foreign: 0, disordered: 0 });
  assert.ok(total.visits > 0 && total.published > 0);
});
