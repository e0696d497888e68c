// Who is in a channel, over three gateways with one Redis, as stock clients see it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import jwt from "jsonwebtoken";
import { believe } from "./lib/believe.mjs";
import { Caddy } from "./lib/caddy.mjs";
import { Redis } from "./lib/redis.mjs";
import { once, until } from "./lib/wait.mjs";

describe("presence on three gateways with one Redis", () => {
  let redis, app, key;
  const machines = [];

  before(async () => {
    redis = await Redis.start();
    for (let i = 0; i < 3; i++) {
      machines.push(await Caddy.start({ keystore: "", global: `redis ${redis.url}\n\tpresence_grace 3s`, site: "realtime" }));
    }
    app = await machines[0].app();
    key = await machines[0].signingKey(app);
    for (const caddy of machines) {
      await until("the app and its key are known", async () =>
        (await caddy.admin("GET", `/realtime/apps/${app.id}`)).json.keys?.some(({ kind }) => kind === "sign"));
      await until("the machines know each other", async () => (await caddy.admin("GET", "/realtime/machines")).json.machines.length === 3);
    }
  });
  after(async () => {
    await Promise.all(machines.map((caddy) => caddy.close()));
    await redis.close();
  });

  /** A socket of a user on a machine, in a channel. */
  async function enter(caddy, sub, channel, info = { name: sub }) {
    const token = jwt.sign({ sub, channels: ["presence-*"], info }, key, { expiresIn: "1h" });
    const socket = caddy.socket(app, { auth: { appId: app.id, token } });
    await once(socket, "connect");
    const belief = believe(socket, channel);
    const answer = await socket.timeout(10_000).emitWithAck("subscribe", channel);
    assert.equal(answer.error, undefined, JSON.stringify(answer));
    return { socket, belief };
  }

  const ids = ({ belief }) => [...belief.members.keys()].sort().join(" ");
  const expect = (member, who, timeout) => until(`${who} are there`, () => ids(member) === who, timeout);

  async function members(caddy, channel) {
    const answer = await caddy.admin("GET", `/realtime/channels/${app.id}/${channel}/members`);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  }

  test("a user with tabs on three machines is one member everywhere", async () => {
    const channel = "presence-tabs";
    const watchers = [];
    for (const [i, caddy] of machines.entries()) watchers.push(await enter(caddy, `w${i}`, channel));
    const tabs = [];
    for (const caddy of machines) tabs.push(await enter(caddy, "ann", channel));
    for (const w of watchers) await expect(w, "ann w0 w1 w2");
    for (const tab of tabs) await expect(tab, "ann w0 w1 w2");
    for (const caddy of machines) {
      assert.deepEqual(await members(caddy, channel), {
        channel, count: 4, next: null,
        members: [{ id: "ann", info: { name: "ann" }, sockets: 3 }, ...[0, 1, 2].map((i) => ({ id: `w${i}`, info: { name: `w${i}` }, sockets: 1 }))],
      });
      assert.equal((await caddy.admin("GET", `/realtime/channels/${app.id}/${channel}`)).json.members, 4);
    }
    tabs[0].socket.disconnect();
    tabs[1].socket.disconnect();
    const bob = await enter(machines[1], "bob", channel);
    for (const w of watchers) await expect(w, "ann bob w0 w1 w2");
    bob.socket.disconnect(); // its grace ends after those of the tabs
    for (const w of watchers) await expect(w, "ann w0 w1 w2");
    tabs[2].socket.disconnect();
    for (const w of watchers) {
      await expect(w, "w0 w1 w2");
      assert.deepEqual(w.belief.events.filter((event) => !/w\d/.test(event)), ["+ann", "+bob", "-bob", "-ann"]);
      w.socket.disconnect();
    }
  });

  test("the info of a user's newest tab is shown everywhere", async () => {
    const channel = "presence-info";
    const tabs = [];
    for (const [i, caddy] of machines.slice(0, 2).entries()) {
      tabs.push(await enter(caddy, "ann", channel, { tab: i }));
      const shown = { count: 1, info: { tab: i } };
      for (const other of machines) {
        await until("the members have it", async () => {
          const { count, members: all } = await members(other, channel);
          return isDeepStrictEqual({ count, info: all[0].info }, shown);
        });
        await until("who subscribes is told it", async () => {
          const viewer = await enter(other, "viewer", channel);
          const told = viewer.belief.members.get("ann");
          viewer.socket.disconnect();
          return isDeepStrictEqual(told, shown.info);
        });
        await until("the viewer has left", async () => (await members(other, channel)).count === 1);
      }
    }
    for (const { socket } of tabs) socket.disconnect();
  });

  test("nobody flickers when a machine ends as planned and its clients come back elsewhere", async () => {
    const channel = "presence-planned";
    const watcher = await enter(machines[0], "watcher", channel);
    const ending = await Caddy.start({ keystore: "", global: `redis ${redis.url}\n\tpresence_grace 3s`, site: "realtime" });
    await until("the app and its key are known", async () =>
      (await ending.admin("GET", `/realtime/apps/${app.id}`)).json.keys?.some(({ kind }) => kind === "sign"));
    const back = [];
    for (const user of ["ann", "bob", "cat"]) {
      const { socket } = await enter(ending, user, channel);
      if (user !== "cat") socket.once("disconnect", () => back.push(enter(machines[1], user, channel)));
      socket.io.opts.reconnection = false;
    }
    await expect(watcher, "ann bob cat watcher");
    await ending.close();
    await expect(watcher, "ann bob watcher", 30_000);
    assert.deepEqual(watcher.belief.events, ["+ann", "+bob", "+cat", "-cat"]);
    for (const { socket } of await Promise.all(back)) socket.disconnect();
    watcher.socket.disconnect();
  });

  test("kill -9: its users leave within 30 s, but for those with a tab elsewhere", async () => {
    const channel = "presence-killed";
    const watchers = [await enter(machines[0], "w0", channel), await enter(machines[1], "w1", channel)];
    await enter(machines[0], "ann", channel);
    await enter(machines[2], "ann", channel);
    await enter(machines[2], "bob", channel);
    await enter(machines[2], "eve", "presence-there-alone");
    for (const w of watchers) await expect(w, "ann bob w0 w1");
    await machines[2].signal("SIGKILL");
    const since = Date.now();
    for (const w of watchers) {
      await expect(w, "ann w0 w1", 30_000);
      assert.ok(!w.belief.events.includes("-ann"), w.belief.events.join());
    }
    assert.ok(Date.now() - since < 30_000);
    const late = await enter(machines[1], "late", "presence-there-alone");
    await expect(late, "late");
    assert.deepEqual((await members(machines[0], "presence-there-alone")).members.map(({ id }) => id), ["late"]);
  });
});
