// Three gateways with one Redis: operators and backends see and change all of them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { Caddy } from "./lib/caddy.mjs";
import { Redis } from "./lib/redis.mjs";
import { once, until } from "./lib/wait.mjs";

const now = () => Math.floor(Date.now() / 1000);

describe("three gateways with one Redis", () => {
  let redis, app, key;
  const machines = [];

  const get = async (caddy, path) => {
    const answer = await caddy.admin("GET", path);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };
  const connections = async (caddy) => (await get(caddy, `/realtime/apps/${app.id}`)).connections;
  const sorted = (list) => [...list].sort();

  /** A socket of a user on a machine, subscribed to channels. */
  const socketOf = async (caddy, user, ...channels) => {
    const token = user && jwt.sign({ exp: now() + 600, sub: user }, key, { algorithm: "HS256" });
    return caddy.subscriber(app, channels, { auth: { appId: app.id, subscribeKey: app.subscribe_key, token } });
  };

  before(async () => {
    redis = await Redis.start();
    for (let i = 0; i < 3; i++) machines.push(await Caddy.start({ keystore: "", global: `redis ${redis.url}`, site: "realtime {\n\tapi_path /realtime-api\n}" }));
    app = await machines[0].app();
    key = await machines[0].signingKey(app);
    for (const caddy of machines) {
      await until("the app and its key are known", async () => {
        const { json } = await caddy.admin("GET", `/realtime/apps/${app.id}`);
        return json.keys?.some(({ kind }) => kind === "sign");
      });
      await until("the machines know each other", async () => (await get(caddy, "/realtime/machines")).machines.length === 3);
    }
  });
  after(async () => {
    await Promise.all(machines.map((caddy) => caddy.close()));
    await redis.close();
  });

  test("lists and numbers are those of all", async () => {
    const sockets = [];
    for (const [i, caddy] of machines.entries()) {
      sockets.push(await socketOf(caddy, "ann", "all", `only.${i}`), await socketOf(caddy, `user ${i}`, "all"), await socketOf(caddy, "", "all"));
    }
    const ids = sorted(sockets.map(({ id }) => id));
    const subscribeKey = (await get(machines[0], `/realtime/keys/${app.id}`)).keys.find(({ kind }) => kind === "subscribe").id;
    for (const caddy of machines) {
      await until("all connections are counted", async () => (await connections(caddy)) === 9);
      assert.deepEqual((await get(caddy, `/realtime/connections/${app.id}`)).connections.map(({ id }) => id), ids);
      assert.deepEqual((await get(caddy, `/realtime/connections/${app.id}?channel=only.1`)).connections.map(({ id }) => id), [sockets[3].id]);
      for (const { id } of sockets) assert.equal((await get(caddy, `/realtime/connections/${app.id}/${id}`)).key, subscribeKey);
      assert.deepEqual((await get(caddy, `/realtime/channels/${app.id}`)).channels, [
        { channel: "all", subscribers: 9 }, ...[0, 1, 2].map((i) => ({ channel: `only.${i}`, subscribers: 1 }))]);
      assert.equal((await get(caddy, `/realtime/channels/${app.id}/all`)).subscribers, 9);
      assert.deepEqual((await get(caddy, `/realtime/users/${app.id}`)).users, [
        { user: "ann", sockets: 3 }, ...[0, 1, 2].map((i) => ({ user: `user ${i}`, sockets: 1 }))]);
      const ann = await get(caddy, `/realtime/users/${app.id}/ann`);
      assert.equal(ann.sockets, 3);
      assert.deepEqual(ann.connections.map(({ id }) => id), sorted([0, 3, 6].map((i) => sockets[i].id)));
      await until("each machine's connections are counted", async () =>
        (await get(caddy, "/realtime/machines")).machines.every(({ connections }) => connections === 3));
    }

    // Page by page, without one twice or missing.
    for (const [path, name, value] of [["connections", "connections", "id"], ["channels", "channels", "channel"], ["users", "users", "user"]]) {
      const whole = (await get(machines[1], `/realtime/${path}/${app.id}`))[name].map((entry) => entry[value]);
      for (const limit of [1, 2, 3, whole.length]) {
        const all = [];
        let after = "";
        do {
          const page = await get(machines[1], `/realtime/${path}/${app.id}?limit=${limit}${after && `&after=${encodeURIComponent(after)}`}`);
          assert.ok(page[name].length <= limit && page[name].length > 0);
          all.push(...page[name].map((entry) => entry[value]));
          after = page.next;
        } while (after);
        assert.deepEqual(all, whole);
      }
    }

    const page = await machines[2].request("GET", `/realtime/app/${app.id}`, { origin: machines[2].adminOrigin, documented: false });
    for (const { id } of sockets) assert.ok(page.text.includes(id), "the portal lists the sockets of all");
    assert.ok(!page.text.includes("do not answer"));
    const { code, output } = await machines[0].command("realtime", "machines", "--address", machines[0].adminOrigin.replace("http://", ""));
    assert.equal(code, 0, output);
    for (const { id } of (await get(machines[1], "/realtime/machines")).machines) assert.match(output, new RegExp(`${id} +3 `));
    for (const socket of sockets) socket.disconnect();
    for (const caddy of machines) await until("nobody is left", async () => (await connections(caddy)) === 0);
  });

  test("the metrics of all machines together count each message once, and each delivery", async () => {
    const sockets = [];
    for (const [i, caddy] of machines.entries()) sockets.push(await socketOf(caddy, "", "counted", `mine.${i}`));
    let got = 0;
    for (const socket of sockets) socket.on("e", () => got++);
    const sum = async (family) => {
      let sum = 0;
      for (const caddy of machines) {
        const { text } = await caddy.request("GET", "/metrics", { origin: caddy.adminOrigin, documented: false });
        for (const line of text.split("\n")) if (line.startsWith(`${family} `) || line.startsWith(`${family}{app="${app.id}"}`)) sum += Number(line.split(" ").at(-1));
      }
      return sum;
    };
    const families = ["messages_total", "deliveries_total", "published_bytes_total", "delivered_bytes_total"].flatMap((name) => [`caddy_realtime_${name}`, `caddy_realtime_app_${name}`]);
    const before = await Promise.all(families.map(sum));
    for (const caddy of machines) {
      assert.equal((await caddy.admin("GET", "/realtime/health")).status, 200); // is counted nowhere
      await caddy.published(app, { channel: "counted", event: "e", data: 1234 });
      await caddy.published(app, { channel: "mine.0", event: "e", data: 1234 });
    }
    await until("all is delivered", () => got >= 12);
    const counted = (await Promise.all(families.map(sum))).map((n, i) => n - before[i]);
    assert.deepEqual(counted, [6, 6, 12, 12, 24, 24, 48, 48]);
    for (const socket of sockets) socket.disconnect();
    for (const caddy of machines) await until("nobody is left", async () => (await connections(caddy)) === 0);
  });

  test("disconnecting a user on one machine ends the sockets on all", async () => {
    const sockets = await Promise.all(machines.flatMap((caddy) => [socketOf(caddy, "bob", "a"), socketOf(caddy, "bob", "a"), socketOf(caddy, "eve", "a")]));
    const gone = Promise.all(sockets.filter((_, i) => i % 3 < 2).map((socket) => once(socket, "disconnect")));
    const answer = await machines[0].admin("DELETE", `/realtime/users/${app.id}/bob/connections`);
    assert.deepEqual(answer.json, { user: "bob", disconnected: 6 });
    for (const [reason] of await gone) assert.equal(reason, "io server disconnect");
    for (const socket of sockets.filter((_, i) => i % 3 === 2)) assert.ok(socket.connected);

    // The same by revoking, by a backend, and for a single socket of another machine.
    const eves = Promise.all(sockets.filter((_, i) => i % 3 === 2).map((socket) => once(socket, "disconnect")));
    const revoked = await machines[1].admin("POST", `/realtime/users/${app.id}/eve/revoke`);
    assert.equal(revoked.json.disconnected, 3, revoked.text);
    await eves;
    const backend = (await machines[0].admin("POST", `/realtime/keys/${app.id}`, { kind: "publish", scopes: ["manage"] })).json.key;
    const bob = await socketOf(machines[2], "bob", "a");
    const bobGone = once(bob, "disconnect");
    await until("the key is known", async () => {
      const { status, json } = await machines[1].request("DELETE", "/realtime-api/users/bob/connections", { headers: { "X-App-Id": app.id, Authorization: `Bearer ${backend}` } });
      return status === 200 && json.disconnected === 1;
    });
    await bobGone;
    const one = await socketOf(machines[2], "", "a");
    const oneGone = once(one, "disconnect");
    assert.equal((await machines[0].admin("DELETE", `/realtime/connections/${app.id}/${one.id}`)).status, 204);
    await oneGone;
    assert.equal((await machines[0].admin("DELETE", `/realtime/connections/${app.id}/${one.id}`)).status, 404);
  });

  test("a machine that hangs is named, and after kill -9 the numbers are right again", async () => {
    const [one, other, lost] = machines;
    await socketOf(one, "zoe", "a");
    const away = [];
    for (const user of ["zoe", "yan"]) away.push(await socketOf(lost, user, "a"));
    const gone = away.map((socket) => once(socket, "disconnect"));
    await until("all are counted", async () => (await connections(other)) === 3);
    process.kill(lost.pid, "SIGSTOP");
    try {
      const answer = await one.admin("DELETE", `/realtime/users/${app.id}/zoe/connections`);
      assert.equal(answer.status, 503, answer.text);
      assert.match(answer.json.error.message, /machine [0-9A-Za-z]{8}: .*has not answered.*Try again in 15 seconds: .*If it is only cut off from Redis, its connections stay open/);
      assert.equal(answer.headers["retry-after"], "15");
      assert.equal((await one.admin("GET", `/realtime/connections/${app.id}/${away[0].id}`)).status, 503, "it may be there");
      // Only the first question waits 2 s for it.
      const began = Date.now();
      for (const path of ["connections", "channels", "users"]) await get(one, `/realtime/${path}/${app.id}`);
      await get(one, `/realtime/channels/${app.id}/a`);
      assert.equal((await get(one, "/realtime/machines")).machines.filter((m) => m.connections === null).length, 1);
      assert.equal((await one.admin("POST", `/realtime/users/${app.id}/yan/revoke`)).status, 503);
      assert.ok(Date.now() - began < 8000, `six questions took ${Date.now() - began} ms`);
      // Who reads numbers that lack something is told so.
      for (const page of ["", `app/${app.id}`, `app/${app.id}/users`, `app/${app.id}/webhooks`]) {
        const { text } = await one.request("GET", `/realtime/${page}`, { origin: one.adminOrigin, documented: false });
        assert.match(text, /<p class="refusal">Machines that do not answer: 1 of 3\./, page);
      }
      for (const args of [["app", "list"], ["app", "show", app.id], ["channel", "list", app.id], ["channel", "show", app.id, "a"], ["user", "list", app.id], ["user", "show", app.id, "zoe"]]) {
        const { code, output } = await one.command("realtime", ...args, "--address", one.adminOrigin.replace("http://", ""));
        assert.equal(code, 0, output);
        assert.match(output, /Machines that do not answer: 1 of 3\./, args.join(" "));
      }
    } finally {
      process.kill(lost.pid, "SIGCONT");
    }
    for (const [reason] of await Promise.all(gone)) assert.equal(reason, "io server disconnect"); // it does what it was asked
    await until("the machine answers again", async () => (await get(one, "/realtime/machines")).machines.filter((m) => m.connections !== null).length === 3);

    const left = await socketOf(other, "zoe", "a");
    await socketOf(lost, "zoe", "a");
    await lost.signal("SIGKILL");
    for (const caddy of [one, other]) {
      await until("only the living are counted", async () => {
        const { machines } = await get(caddy, "/realtime/machines");
        return machines.length === 2 && (await connections(caddy)) === 1;
      }, 60_000);
      assert.deepEqual((await get(caddy, `/realtime/connections/${app.id}`)).connections.map(({ id }) => id), [left.id]);
      assert.deepEqual((await caddy.admin("GET", `/realtime/users/${app.id}/zoe`)).json.sockets, 1);
    }
    await until("the loss is in the log", () => one.logged(/a machine has left, or was lost/).length === 1);
    assert.deepEqual((await one.admin("DELETE", `/realtime/users/${app.id}/zoe/connections`)).json, { user: "zoe", disconnected: 1 });
  });

  test("while Redis is away, the portal and the admin endpoint say that it is, and what numbers lack", async () => {
    const [one] = machines;
    await redis.kill();
    const away = new RegExp(`redis at 127.0.0.1:${redis.port} cannot be reached; check that it runs`);
    const portal = (method, path, body) => one.request(method, `/realtime/${path}`, {
      origin: one.adminOrigin, documented: false, body, headers: body && { "Content-Type": "application/x-www-form-urlencoded" } });
    await until("it is noticed that Redis is away", () => one.logged(/redis is away: publishes are refused/).length > 0);
    assert.match((await portal("GET", `app/${app.id}`)).text, /Machines that do not answer: 1 of 2\./);
    for (const [path, form] of [["app/", "do=create&name=x"], [`app/${app.id}`, "do=save&name=x"], [`app/${app.id}`, "do=publish&channel=a&event=e"], [`app/${app.id}/users`, "do=revoke&user=zoe"]]) {
      const { status, text } = await portal("POST", path, form);
      assert.equal(status, 503, text);
      assert.match(text, away, form);
    }
    const answer = await one.admin("DELETE", `/realtime/users/${app.id}/zoe/connections`);
    assert.equal(answer.status, 503, answer.text);
    assert.match(answer.json.error.message, away);
    await redis.boot();
    await until("all goes on", async () => (await one.admin("GET", "/realtime/health")).status === 200);
    assert.equal((await get(one, `/realtime/apps/${app.id}`)).name, app.name);
  });
});
