// Recovery in a real Chromium, where the stock client comes from a script tag.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { foreignSite, launch } from "./lib/browser.mjs";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Cutter } from "./lib/cutter.mjs";
import { Ledger } from "./lib/follower.mjs";

describe("recovery in Chromium", () => {
  let caddy, app, ledger, browser, site;
  before(async () => {
    caddy = await Caddy.start();
    app = await caddy.app();
    ledger = new Ledger(caddy, app);
    browser = await launch(caddy);
    site = await foreignSite();
  });
  after(async () => {
    await browser?.close();
    site.close();
    await caddy.close();
  });

  /** A network, and pages on it that follow a channel. */
  async function network(t) {
    const cutter = await Cutter.start(caddy.port);
    const context = await browser.newContext();
    context.setDefaultTimeout(120_000); // a client that loses its network while it upgrades notices with the ping timeout only
    t.after(async () => {
      await context.close();
      cutter.close();
    });
    const open = async (channel, list) => {
      const tab = await context.newPage();
      await tab.goto(site.origin);
      await tab.evaluate(follow, { origin: cutter.origin, app, channel, list });
      return tab;
    };
    return { cutter, open };
  }

  /** Cuts all of a network's connections, and lets them come back after something. */
  async function drop(cutter, tabs, how, meanwhile) {
    await cutter.cut({ how });
    for (const tab of tabs) await tab.waitForFunction(() => !socket.connected);
    await meanwhile();
    cutter.admit();
    for (const tab of tabs) await tab.waitForFunction(() => socket.connected);
  }

  /** Fails unless a page has got these events, and none of them twice. */
  async function has(tab, entries) {
    const ids = entries.map(({ id }) => id);
    await tab.waitForFunction((last) => got.some(({ id }) => id === last), ids.at(-1));
    assert.deepEqual(await tab.evaluate(() => got.map(({ id }) => id)), ids);
  }

  for (const [name, list] of Object.entries(transports)) {
    test(`a page that drops misses nothing and doubles nothing, over ${name}`, async (t) => {
      const { cutter, open } = await network(t);
      const tab = await open(name, list);
      if (name === "upgrade") await tab.waitForFunction(() => socket.io.engine.transport.name === "websocket");
      const id = await tab.evaluate(() => socket.id);
      const entries = [];
      const publish = async () => entries.push(...(await ledger.several(name, 3)));
      const ways = ["reset", "half-open", "end"];
      for (const how of ways) {
        await publish();
        await drop(cutter, [tab], how, publish);
      }
      await publish();
      await has(tab, entries);
      assert.deepEqual(await tab.evaluate(() => connects), [{ id, recovered: false }, ...ways.map(() => ({ id, recovered: true }))]);
    });
  }

  test("two tabs recover each its own", async (t) => {
    const { cutter, open } = await network(t);
    const tabs = [await open("tab.0", transports.websocket), await open("tab.1", transports.upgrade)];
    const ids = await Promise.all(tabs.map((tab) => tab.evaluate(() => socket.id)));
    const entries = [[], []];
    const publish = async () => {
      for (const [i, list] of entries.entries()) list.push(await ledger.publish(`tab.${i}`));
    };
    await publish();
    await drop(cutter, tabs, "half-open", publish);
    await publish();
    for (const [i, tab] of tabs.entries()) {
      await has(tab, entries[i]);
      assert.deepEqual(await tab.evaluate(() => connects), [
        { id: ids[i], recovered: false },
        { id: ids[i], recovered: true },
      ]);
    }
  });

  test("a page that is reloaded is a new socket, without what it missed", async (t) => {
    const { cutter, open } = await network(t);
    const tab = await open("reload", transports.websocket);
    const id = await tab.evaluate(() => socket.id);
    await ledger.publish("reload");
    await tab.reload();
    await ledger.publish("reload");
    await tab.evaluate(follow, { origin: cutter.origin, app, channel: "reload", list: transports.websocket });
    const next = await ledger.publish("reload");
    await has(tab, [next]);
    const connects = await tab.evaluate(() => window.connects);
    assert.equal(connects.length, 1);
    assert.equal(connects[0].recovered, false);
    assert.notEqual(connects[0].id, id);
  });

  test("a handler that throws gets the event again, and no later one is lost", async (t) => {
    const { cutter, open } = await network(t);
    const tab = await open("throws", transports.websocket);
    const errors = [];
    tab.on("pageerror", (err) => errors.push(err.message));
    await tab.evaluate(() => {
      let thrown = false;
      socket.on("m", ({ n }) => {
        if (n === 2 && !thrown) {
          thrown = true;
          throw new Error("a mistake");
        }
      });
    });
    const [first, second] = await ledger.several("throws", 2);
    await tab.waitForFunction(() => got.length === 2);
    let later;
    await drop(cutter, [tab], "reset", async () => (later = await ledger.several("throws", 2)));
    await has(tab, [first, second, second, ...later]);
    assert.deepEqual(errors, ["a mistake"]);
    assert.equal(await tab.evaluate(() => socket.recovered), true);
  });
});

/* global io, socket, got, connects -- what follows runs in the page */

async function follow({ origin, app, channel, list }) {
  window.got = [];
  window.connects = [];
  window.socket = io(origin, {
    transports: list,
    auth: { appId: app.id, subscribeKey: app.subscribe_key, recover: true },
    reconnectionDelay: 20,
    reconnectionDelayMax: 100,
  });
  socket.on("connect", () => connects.push({ id: socket.id, recovered: socket.recovered }));
  socket.on("m", (data, id) => got.push({ data, id }));
  await new Promise((resolve, reject) => {
    socket.on("connect_error", (err) => err.data && reject(err));
    socket.emit("subscribe", channel, resolve);
  });
}
