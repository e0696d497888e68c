// Stock clients whose machine dies, or that come to another one: what they have missed
// arrives there, once and in order, or they are told that they begin again.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import jwt from "jsonwebtoken";
import { Caddy } from "./lib/caddy.mjs";
import { Follower, Ledger } from "./lib/follower.mjs";
import { Redis } from "./lib/redis.mjs";
import { Relay } from "./lib/relay.mjs";
import { once, until } from "./lib/wait.mjs";

describe("recovery on another machine", () => {
  let redis, app, key, ledger, home;

  const start = (url = redis.url) => Caddy.start({ keystore: "", global: `redis ${url}\n\t\trecovery 2m` });
  const knows = (caddy) => until("the app and its key are known", async () => {
    const { status, json } = await caddy.admin("GET", `/realtime/apps/${app.id}`);
    return status === 200 && json.keys?.some(({ kind }) => kind === "sign");
  });
  /** The socket IDs that a machine knows itself. */
  const connections = async (caddy) => (await caddy.admin("GET", `/realtime/connections/${app.id}`)).json.connections.map(({ id }) => id);
  /** A machine, and a client on it that has got some events. */
  const away = async (t, channels, { url, ...options } = {}) => {
    const caddy = await start(url);
    t.after(() => caddy.close());
    await knows(caddy);
    const client = await Follower.start(t, new Ledger(caddy, app), channels, options);
    client.ledger = ledger;
    for (const channel of channels) {
      client.channels.set(channel, ledger.entries.length);
      await ledger.several(channel, 3);
    }
    await client.settles();
    return { caddy, client };
  };
  /** Moves a client to the machine that stays. */
  const move = (client, cut) => {
    client.cutter.port = home.port;
    return client.recovers(cut);
  };

  before(async () => {
    redis = await Redis.start();
    home = await start();
    app = await home.app();
    key = await home.signingKey(app);
    await knows(home);
    ledger = new Ledger(home, app);
  });
  after(async () => {
    await home.close();
    await redis.close();
  });

  for (const transport of ["websocket", "polling"]) {
    test(`a machine that is killed: its client misses nothing (${transport})`, async (t) => {
      const { caddy, client } = await away(t, [`killed.${transport}`, `killed.${transport}.2`], { transport });
      const meanwhile = async () => {
        await caddy.signal("SIGKILL");
        for (const channel of client.channels.keys()) await ledger.several(channel, 5);
      };
      await move(client, { meanwhile });
      await client.settles();
      await client.recovers(); // and once more, where it is now
      await client.settles();
      assert.deepEqual((await connections(home)).filter((id) => id === client.id), [client.id]);
    });
  }

  test("a client that comes to another machine while its own is alive", async (t) => {
    const { caddy, client } = await away(t, ["moved", "moved.2"]);
    for (const how of ["reset", "half-open"]) {
      await move(client, { how, meanwhile: () => ledger.several("moved", 5) });
      await client.settles();
      await until("it is on one machine", async () => (await connections(home)).filter((id) => id === client.id).length === 1);
      client.cutter.port = caddy.port; // and back again
      await client.recovers({ how, meanwhile: () => ledger.several("moved.2", 5) });
      await client.settles();
    }
    await client.subscribe("moved.3");
    await ledger.several("moved.3", 2);
    client.socket.emit("unsubscribe", "moved.2");
    await until("it has left", async () => (await ledger.publish("nobody")) && !(await home.admin("GET", `/realtime/connections/${app.id}/${client.id}`)).json.channels.includes("moved.2"));
    client.channels.delete("moved.2");
    client.got = client.got.filter(({ data }) => data.channel !== "moved.2");
    await move(client, {
      meanwhile: async () => {
        await caddy.signal("SIGKILL");
        await ledger.several("moved.2", 2);
      },
    });
    await client.settles();
  });

  test("a machine that ends as planned", async (t) => {
    const { caddy, client } = await away(t, ["planned"]);
    await move(client, {
      meanwhile: async () => {
        await caddy.signal("SIGTERM");
        await ledger.several("planned", 5);
      },
    });
    await client.settles();
  });

  test("a machine that is suspended, and goes on after its client has left", async (t) => {
    const { caddy, client } = await away(t, ["suspended"]);
    caddy.signal("SIGSTOP");
    await move(client, { meanwhile: () => ledger.several("suspended", 5) });
    await client.settles();
    caddy.signal("SIGCONT");
    await client.subscribe("suspended.2");
    await ledger.publish("suspended.2");
    await client.settles();
    await client.recovers();
    await client.settles();
    await until("the socket is only here", async () => (await connections(home)).filter((id) => id === client.id).length === 1);
  });

  /** A client whose machine is cut off from Redis, so that another one has taken its session. */
  const taken = async (t, channel, events = 3) => {
    const relay = await Relay.start(redis.port);
    const { caddy, client } = await away(t, [channel], { url: relay.origin.replace("http", "redis") });
    t.after(() => relay.close());
    relay.hold();
    await move(client, { meanwhile: () => ledger.several(channel, events) });
    if (events > 0) await client.settles();
    const back = async () => {
      relay.appear();
      await until("Redis is back", async () => (await caddy.publish(app, { channel: "nobody", event: "m" })).status === 200);
      client.cutter.port = caddy.port;
    };
    return { caddy, client, back, relay };
  };

  test("a machine that is cut off from Redis: its client leaves it, changes its channels and returns", async (t) => {
    const { client, back } = await taken(t, "cut");
    await client.subscribe("cut.2");
    await ledger.publish("cut.2");
    await client.settles();
    await back();
    await client.recovers({
      meanwhile: async () => {
        await ledger.several("cut.2", 2); // before what the machine knows of
        await ledger.several("cut", 2);
      },
    });
    await client.settles();
    assert.equal(client.connects.length, 3);
  });

  test("a machine that is cut off from Redis: its client returns while it is", async (t) => {
    const { caddy, client, relay } = await taken(t, "early", 0);
    await client.subscribe("early.2");
    client.cutter.port = caddy.port;
    await client.recovers({ meanwhile: () => ledger.publish("early.2") });
    await ledger.publish("early");
    relay.appear();
    await until("it is told", () => client.connects.length > 3);
    await client.isNew(client.connects[0].id);
  });

  test("a machine that is cut off from Redis: its client is disconnected elsewhere, and returns", async (t) => {
    const { caddy, client, back } = await taken(t, "ended");
    const lost = once(client.socket, "disconnect");
    assert.equal((await home.admin("DELETE", `/realtime/connections/${app.id}/${client.id}`)).status, 204);
    await lost;
    await back();
    const { id } = client.connects.at(-1);
    const other = await caddy.subscriber(app, ["ended"]);
    const heard = once(other, "m");
    await ledger.publish("ended");
    await heard; // the machine knows all that the client has got
    other.disconnect();
    client.socket.connect();
    await once(client.socket, "connect");
    await client.isNew(id);
  });

  test("events of a replay that was on its way", async (t) => {
    await ledger.several("replayed", 20);
    const { caddy, client } = await away(t, ["plain"]);
    const from = ledger.entries.length;
    const answer = await client.subscribe("replayed", { rewind: 20 });
    assert.equal(answer.replayed, 20);
    client.channels.set("replayed", from);
    await until("the replay", () => client.got.filter(({ data }) => data.channel === "replayed").length === 20);
    client.got = client.got.filter(({ data }) => data.channel === "plain");
    await ledger.publish("replayed");
    await client.settles();
    await move(client, {
      meanwhile: async () => {
        await caddy.signal("SIGKILL");
        await ledger.several("replayed", 3);
      },
    });
    await client.settles();
  });

  test("nobody gets another user's session, who still has it", async (t) => {
    const token = (sub) => jwt.sign({ exp: Math.floor(Date.now() / 1000) + 600, sub }, key, { algorithm: "HS256" });
    const { caddy, client } = await away(t, ["theirs"], { auth: { token: token("ann") } });
    const thief = await Follower.start(t, ledger, [], { auth: { token: token("bob"), pid: client.pid, offset: client.ids.at(-1) } });
    assert.ok(!thief.socket.recovered && thief.id !== client.id);
    await ledger.publish("theirs");
    assert.deepEqual(thief.got, []);
    await move(client, {
      meanwhile: async () => {
        await caddy.signal("SIGKILL");
        const again = await Follower.start(t, ledger, [], { auth: { token: token("bob"), pid: client.pid, offset: client.ids.at(-1) } });
        assert.ok(!again.socket.recovered);
      },
    });
    await client.settles();
  });

  for (const [what, path] of [["an operator disconnects its socket", (id) => `connections/${app.id}/${id}`], ["a backend disconnects its user", () => `users/${app.id}/kim/connections`]]) {
    test(`a client begins again if ${what} while its connection is half open`, async (t) => {
      const token = jwt.sign({ exp: Math.floor(Date.now() / 1000) + 600, sub: "kim" }, key, { algorithm: "HS256" });
      const { client } = await away(t, ["ended.half-open"], { auth: { token } });
      const { id } = client;
      client.cutter.port = home.port;
      await client.drop({
        how: "half-open",
        meanwhile: async () => {
          // Machines that other tests have killed do not answer until their lease ends.
          await until("it is done on all machines", async () => {
            const { status, text } = await home.admin("DELETE", `/realtime/${path(id)}`);
            assert.ok([200, 204, 503].includes(status), text);
            return status !== 503;
          }, 60_000);
        },
      });
      assert.ok(!client.socket.recovered);
      assert.notEqual(client.id, id);
    });
  }

  test("a client that has lost its right meanwhile begins again", async (t) => {
    const channel = "private-taken";
    const token = () => jwt.sign({ exp: Math.floor(Date.now() / 1000) + 600, sub: "eve", channels: [channel] }, key, { algorithm: "HS256" });
    const { caddy, client } = await away(t, [channel], { auth: { token: token() } });
    client.auth.token = jwt.sign({ exp: Math.floor(Date.now() / 1000) + 600, sub: "eve", channels: ["private-other"] }, key, { algorithm: "HS256" });
    client.cutter.port = home.port;
    await client.drop({ meanwhile: () => Promise.all([caddy.signal("SIGKILL"), ledger.publish(channel)]) });
    assert.ok(!client.socket.recovered);
  });
});
