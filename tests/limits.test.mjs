// Limits, each against the binary, with the stock client where it meets one:
// what docs/operating.md's "Limits" says that a client gets.
import assert from "node:assert/strict";
import http from "node:http";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import jwt from "jsonwebtoken";
import { Caddy, transports } from "./lib/caddy.mjs";
import { Metrics } from "./lib/metrics.mjs";
import { once, until } from "./lib/wait.mjs";

/** Runs a test against a Caddy of its own. */
const withCaddy = (options, run) => async () => {
  const caddy = await Caddy.start(options);
  try {
    await run(caddy, await caddy.app());
  } finally {
    await caddy.close();
  }
};

/** Makes connections come from another address of this machine. */
const from = (localAddress) => new http.Agent({ localAddress, family: 4, keepAlive: false });

/** A handshake over polling, which is left alone then. */
const handshake = (caddy, agent = from("127.0.0.1"), headers = {}) =>
  new Promise((resolve, reject) => {
    http
      .get(`${caddy.origin}/socket.io/?EIO=4&transport=polling`, { agent, headers }, (res) => {
        let text = "";
        res.on("data", (chunk) => (text += chunk));
        res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, text }));
      })
      .on("error", reject);
  });

/** The code of an answer, and whether it says when to come back. */
const refusal = ({ status, headers, text }) => [status, JSON.parse(text).error.code, Number(headers["retry-after"]) > 0];

const connected = async (socket) => {
  await once(socket, "connect");
  return socket;
};

describe("max_connections", () => {
  test(
    "by default leaves descriptors for the rest: the site and the admin endpoint answer when it is reached",
    withCaddy({ descriptors: 400 }, async (caddy, app) => {
      const agent = new http.Agent({ maxSockets: Infinity });
      const sockets = [];
      for (let i = 0; i < 360; i++) sockets.push(caddy.socket(app, { agent, reconnection: false }));
      await until("all but a tenth are connected", () => sockets.every((socket) => socket.connected));
      assert.deepEqual(refusal(await handshake(caddy)), [503, "unavailable", true]);
      const waiting = caddy.socket(app);
      const [err] = await once(waiting, "connect_error");
      assert.equal(err.message, "websocket error");
      assert.equal(caddy.logged(/too many open files/).length, 0);
      assert.match(caddy.logged(/max_connections is reached/)[0], /raise max_connections.*"max_connections":360/);
      await caddy.published(await caddy.app("made meanwhile"), { channel: "a", event: "e" });
      assert.equal((await caddy.admin("GET", "/realtime/health")).status, 200);
      assert.ok((await Metrics.scrape(caddy)).value("refused_total", { attempt: "connect", code: "unavailable" }) >= 2);

      sockets[0].disconnect(); // its place goes to the one that waits
      await connected(waiting);
    }),
  );

  test(
    "of 0 is none",
    withCaddy({ descriptors: 100, global: "max_connections 0" }, async (caddy) => {
      for (let i = 0; i < 150; i++) assert.equal((await handshake(caddy)).status, 200);
    }),
  );
});

describe("max_connecting", () => {
  for (const [name, list] of Object.entries(transports)) {
    test(
      `an address that holds its share keeps no other from connecting over ${name}`,
      withCaddy({ global: "max_connecting 8\nconnect_timeout 1m" }, async (caddy, app) => {
        const hostile = from("127.0.0.2");
        const statuses = [];
        for (let i = 0; i < 12; i++) statuses.push((await handshake(caddy, hostile)).status);
        assert.deepEqual(statuses, [200, 200, ...Array(10).fill(503)]);
        assert.deepEqual(refusal(await handshake(caddy, hostile)), [503, "unavailable", true]);
        const metrics = await Metrics.scrape(caddy);
        assert.equal(metrics.value("connecting"), 2);
        assert.equal(metrics.value("connecting_refused_total"), 11);
        const lines = caddy.logged(/too many connecting from one address/);
        assert.equal(lines.length, 1);
        assert.match(lines[0], /raise max_connecting.*"client_ip":"127\.0\.0\.2","share":2,"max_connecting":8/);

        await connected(caddy.socket(app, { agent: from("127.0.0.3"), transports: list, reconnection: false }));
        assert.equal((await Metrics.scrape(caddy)).value("connecting_refused_total"), 11);
      }),
    );
  }

  test(
    "has its share again once its clients are connected or gone",
    withCaddy({ global: "max_connecting 4" }, async (caddy, app) => {
      const agent = from("127.0.0.2");
      for (let i = 0; i < 3; i++) await connected(caddy.socket(app, { agent, reconnection: false }));
      const { host, port } = new URL(caddy.origin);
      const silent = connect({ port, host: "127.0.0.1", localAddress: "127.0.0.2" });
      silent.write(
        `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
      );
      await once(silent, "data");
      assert.equal((await handshake(caddy, agent)).status, 503);
      silent.destroy();
      await until("its place is free", async () => (await Metrics.scrape(caddy)).value("connecting") === 0);
      assert.equal((await handshake(caddy, agent)).status, 200);
    }),
  );
});

describe("max_connections_per_ip", () => {
  for (const [name, list] of Object.entries(transports)) {
    test(
      `tells a stock client over ${name} why, and no other address`,
      withCaddy({ global: "max_connections_per_ip 2" }, async (caddy, app) => {
        const socket = (agent) => caddy.socket(app, { agent, transports: list, reconnectionDelay: 10 });
        const here = from("127.0.0.1");
        const [one] = await Promise.all([connected(socket(here)), connected(socket(here))]);
        const third = socket(here);
        const [err] = await once(third, "connect_error");
        assert.equal(err.data.code, "too_many_connections");
        assert.match(err.message, /Your address has 2 connections.*max_connections_per_ip/);
        assert.equal(third.active, false); // it does not come back by itself
        await connected(socket(from("127.0.0.2")));
        assert.equal(caddy.logged(/their address has reached/).length, 1);

        one.disconnect();
        await until("there is room", async () => (await Metrics.scrape(caddy)).value("connections") === 2);
        third.connect();
        await connected(third);
      }),
    );
  }

  test(
    "does not hold open what is over it without bound",
    withCaddy({ global: "max_connections_per_ip 3" }, async (caddy) => {
      for (let i = 0; i < 6; i++) assert.equal((await handshake(caddy)).status, 200);
      assert.deepEqual(refusal(await handshake(caddy)), [429, "too_many_connections", true]);
      assert.equal((await handshake(caddy, from("127.0.0.2"))).status, 200);
    }),
  );

  for (const [name, options, another] of [
    ["counts the address that a trusted proxy tells", "servers {\n\t\ttrusted_proxies static private_ranges\n\t\ttrusted_proxies_strict\n\t}", 200],
    ["does not believe an address that a stranger tells", "", 429],
  ]) {
    test(
      name,
      withCaddy({ options, global: "max_connections_per_ip 1" }, async (caddy) => {
        const via = async (address) => (await handshake(caddy, undefined, { "X-Forwarded-For": address })).status;
        assert.deepEqual([await via("203.0.113.1"), await via("203.0.113.1"), await via("203.0.113.1")], [200, 200, 429]);
        assert.equal(await via("203.0.113.2"), another);
      }),
    );
  }

  test(
    "changes at a reload for who comes then, and nobody is thrown out",
    withCaddy({ global: "max_connections_per_ip 1" }, async (caddy, app) => {
      const agent = from("127.0.0.1");
      const lost = [];
      const socket = () => caddy.socket(app, { agent }).on("disconnect", (reason) => lost.push(reason));
      const reload = async (n) => {
        caddy.configure({ global: `max_connections_per_ip ${n}` });
        assert.equal((await caddy.reload()).code, 0);
      };
      await connected(socket());
      await once(socket(), "connect_error");
      await reload(3);
      await Promise.all([connected(socket()), connected(socket())]);
      await reload(2);
      const [err] = await once(socket(), "connect_error");
      assert.match(err.message, /has 2 connections/);
      await reload(0);
      await Promise.all([connected(socket()), connected(socket())]);
      assert.deepEqual(lost, []);
    }),
  );
});

describe("connect_rate", () => {
  test(
    "of one address: who waits Retry-After is let in, and no other address waits",
    withCaddy({ global: "connect_rate 3 2s" }, async (caddy) => {
      for (let i = 0; i < 3; i++) assert.equal((await handshake(caddy)).status, 200);
      const refused = await handshake(caddy);
      assert.deepEqual(refusal(refused), [429, "rate_limited", true]);
      assert.equal((await handshake(caddy, from("127.0.0.2"))).status, 200);
      await sleep(Number(refused.headers["retry-after"]) * 1000); // as it says
      assert.equal((await handshake(caddy)).status, 200);
      assert.match(caddy.logged(/opens connections too fast/)[0], /raise connect_rate/);
    }),
  );

  test(
    "lets stock clients in one after the other, by themselves",
    withCaddy({ global: "connect_rate 2 1s" }, async (caddy, app) => {
      const agent = from("127.0.0.1");
      const sockets = Array.from({ length: 6 }, () => caddy.socket(app, { agent, timeout: 2_000 }));
      await until("all are in", () => sockets.every((socket) => socket.connected));
    }),
  );
});

describe("message_rate", () => {
  for (const [name, list] of Object.entries({ websocket: ["websocket"], polling: ["polling"] })) {
    test(
      `over ${name}: rate_limited, then cut off; the client comes back by itself, and others notice nothing`,
      withCaddy({ global: "message_rate 100 1h\n\t\tmax_channels 5" }, async (caddy, app) => {
        const other = await caddy.subscriber(app, "orders", { transports: list });
        const lost = [];
        other.on("disconnect", (reason) => lost.push(reason));
        const socket = await caddy.subscriber(app, "orders", { transports: list });
        const { id } = socket;
        for (let i = 0; i < 100; i++) socket.emit("noise");
        const refused = once(socket, "subscribe_error");
        const { error } = await socket.timeout(5_000).emitWithAck("subscribe", "more");
        assert.equal(error.code, "rate_limited");
        assert.match(error.message, /more than 100 packets.*message_rate/);
        assert.equal((await refused)[0].code, "rate_limited");
        assert.equal((await caddy.published(app, { channel: "more", event: "e" })).subscribers, 0);

        const end = once(socket, "disconnect");
        for (let i = 0; i < 120; i++) socket.emit("noise");
        const [reason, details] = await end;
        if (name === "websocket") assert.equal(details.context.code, 1008);
        else assert.ok(["transport close", "transport error"].includes(reason), reason);
        await connected(socket);
        assert.notEqual(socket.id, id);
        assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", "more"), { channel: "more" });
        assert.deepEqual(lost, []);
        assert.equal((await Metrics.scrape(caddy)).value("cut_off_total", { reason: "flood" }), 1);
        assert.equal(caddy.logged(/client cut off: it sends too many packets/).length, 1);
      }),
    );
  }

  test(
    "is never less than a client needs that comes back to all its channels",
    withCaddy({ global: "message_rate 1 1h" }, async (caddy, app) => {
      const channels = Array.from({ length: 100 }, (_, i) => `c${i}`);
      for (const list of Object.values(transports)) await caddy.subscriber(app, channels, { transports: list });
    }),
  );

  test(
    "changes at a reload for who is connected",
    withCaddy({ global: "message_rate 0" }, async (caddy, app) => {
      const socket = await caddy.subscriber(app, "orders");
      for (let i = 0; i < 5_000; i++) socket.emit("noise");
      assert.deepEqual(await socket.timeout(5_000).emitWithAck("subscribe", "a"), { channel: "a" });
      caddy.configure({ global: "message_rate 1 1h\n\t\tmax_channels 5" });
      assert.equal((await caddy.reload()).code, 0);
      for (let i = 0; i < 20; i++) socket.emit("noise");
      assert.equal((await socket.timeout(5_000).emitWithAck("subscribe", "b")).error.code, "rate_limited");
    }),
  );
});

describe("auth_failures", () => {
  /** How long a wrong key from an address waits for its answer, in ms. */
  const wrong = (caddy, app, localAddress, key = "pk_live_wrong") =>
    new Promise((resolve, reject) => {
      const begin = performance.now();
      const headers = { "Content-Type": "application/json", "X-App-Id": app.id, Authorization: `Bearer ${key}` };
      http
        .request(`${caddy.origin}/publish`, { method: "POST", headers, agent: from(localAddress) }, (res) => {
          res.resume().on("end", () => resolve({ status: res.statusCode, took: performance.now() - begin }));
        })
        .on("error", reject)
        .end('{"channel":"a","event":"e"}');
    });

  test(
    "slow one address down, not its right keys and not the others",
    withCaddy({ global: "auth_failures 3 1m" }, async (caddy, app) => {
      const socket = (auth) => caddy.socket(null, { auth, agent: from("127.0.0.1"), reconnection: false });
      for (let i = 0; i < 3; i++) assert.ok((await wrong(caddy, app, "127.0.0.1")).took < 900);
      assert.ok((await wrong(caddy, app, "127.0.0.1")).took >= 1_000);
      const begin = performance.now();
      const [err] = await once(socket({ appId: app.id, subscribeKey: "sub_live_wrong" }), "connect_error");
      assert.equal(err.data.code, "invalid_key");
      assert.ok(performance.now() - begin >= 1_000);

      const { status, took } = await wrong(caddy, app, "127.0.0.1", app.publish_key);
      assert.ok(status === 200 && took < 900, `${status} after ${took} ms`);
      assert.ok((await wrong(caddy, app, "127.0.0.2")).took < 900);
    }),
  );

  test(
    "slow down a client that guesses tokens after it has connected, and nobody else",
    withCaddy({ global: "auth_failures 3 1m" }, async (caddy, app) => {
      assert.equal((await caddy.admin("POST", `/realtime/keys/${app.id}`, { kind: "sign" })).status, 201);
      const connected = async (localAddress) => {
        const socket = caddy.socket(app, { agent: from(localAddress) });
        await once(socket, "connect");
        return socket;
      };
      const guess = jwt.sign({ exp: Math.floor(Date.now() / 1000) + 60 }, "another secret");
      const guesses = [["authenticate", { token: guess }], ["subscribe", "private-a", { token: guess }]];
      const took = async (socket, args) => {
        const begin = performance.now();
        const { error } = await socket.timeout(20_000).emitWithAck(...args);
        assert.equal(error?.code, args[0] === "subscribe" && args.length === 2 ? undefined : "invalid_token");
        return performance.now() - begin;
      };
      const socket = await connected("127.0.0.1");
      for (let i = 0; i < 3; i++) assert.ok((await took(socket, guesses[i % 2])) < 900);
      for (const args of guesses) assert.ok((await took(socket, args)) >= 1_000);
      assert.ok((await took(socket, ["subscribe", "news"])) < 900); // it waits for nothing by then
      assert.ok((await took(await connected("127.0.0.2"), guesses[0])) < 900);
    }),
  );

  test(
    "of 0 never hold an answer",
    withCaddy({ global: "auth_failures 0" }, async (caddy, app) => {
      for (let i = 0; i < 40; i++) assert.ok((await wrong(caddy, app, "127.0.0.1")).took < 900);
    }),
  );
});

describe("sizes and times", () => {
  /** Sends bytes, and more every 100 ms; what came back when the server has ended it, and when. */
  const drip = async (caddy, head, more) => {
    const begin = performance.now();
    const conn = connect(caddy.port, "localhost").on("error", () => {});
    let text = "";
    conn.on("data", (chunk) => (text += chunk));
    const ended = new Promise((resolve) => conn.on("close", resolve));
    conn.write(head);
    const timer = setInterval(() => conn.write(more), 100);
    await ended;
    clearInterval(timer);
    return { text, took: performance.now() - begin };
  };

  test(
    "body_timeout: a publish and a POST of polling that drip are ended",
    withCaddy({ global: "body_timeout 1s" }, async (caddy, app) => {
      const publish = await drip(
        caddy,
        `POST /publish HTTP/1.1\r\nHost: localhost:${caddy.port}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n` +
          `X-App-Id: ${app.id}\r\nAuthorization: Bearer ${app.publish_key}\r\n\r\n{`,
        " ",
      );
      assert.match(publish.text, /^HTTP\/1.1 400 [^]*did not arrive completely within 1s/);
      const { sid } = JSON.parse((await handshake(caddy)).text.slice(1));
      const post = await drip(
        caddy,
        `POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nHost: localhost:${caddy.port}\r\nContent-Length: 1000\r\n\r\n4`,
        "a",
      );
      assert.match(post.text, /^HTTP\/1.1 400 /);
      for (const { took } of [publish, post]) assert.ok(took >= 1_000 && took < 5_000, `${took} ms`);
    }),
  );

  test(
    "body_timeout: a body that nobody waits for is cut off, too, whatever the request is answered with",
    withCaddy({ global: "body_timeout 1s", site: "realtime {\n docs_path /docs\n}\nrealtime_portal" }, async (caddy) => {
      const polling = "/socket.io/?EIO=4&transport=polling";
      const preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
      const unknown = "Content-Type: application/json\r\nX-App-Id: a\r\nAuthorization: Bearer b\r\n";
      const asked = "Expect: 100-continue\r\n";
      for (const [line, headers, status] of [
        ["OPTIONS /publish", "", 204],
        ["OPTIONS /publish", preflight, 204],
        [`OPTIONS ${polling}`, preflight, 204],
        ["POST /publish/", "", 308],
        [`POST /Socket.IO/?EIO=4`, "", 308],
        ["GET /docs", "", 200],
        ["POST /docs", "", 405],
        ["GET /realtime/", "", 403],
        ["POST /realtime", "", 308],
        ["POST /publish", unknown, 401],
        ["POST /publish", unknown + asked, 401],
        ["GET /publish", asked, 405],
        ["POST /publish", unknown + "Content-Encoding: br\r\n" + asked, 415],
        [`POST ${polling}&sid=unknown`, "", 400],
      ]) {
        const head = `${line} HTTP/1.1\r\nHost: localhost:${caddy.port}\r\nContent-Length: 1000\r\n${headers}\r\n`;
        const { text, took } = await drip(caddy, head, " ");
        assert.match(text, new RegExp(`^HTTP/1.1 ${status} `), head);
        assert.ok(took < 5_000, `${took} ms: ${head}`);
      }
    }),
  );

  test(
    "max_packet: a larger message is closed with 1009, a larger POST gets 413, and the handshake says it",
    withCaddy({ global: "max_packet 2KiB" }, async (caddy, app) => {
      const answer = await handshake(caddy);
      const { sid, maxPayload } = JSON.parse(answer.text.slice(1));
      assert.equal(maxPayload, 2048);
      const post = await caddy.request("POST", `/socket.io/?EIO=4&transport=polling&sid=${sid}`, { body: "4".repeat(2049) });
      assert.deepEqual([post.status, post.json.error.code], [413, "payload_too_large"]);
      const socket = await caddy.subscriber(app, "orders", { reconnection: false });
      const closed = once(socket, "disconnect");
      socket.emit("noise", "x".repeat(2048));
      assert.equal((await closed)[1].context.code, 1009);
      await caddy.subscriber(app, `orders.${"x".repeat(193)}`); // the longest
    }),
  );

  test(
    "Caddy's read_header ends a header that drips, and no websocket, poll or publish",
    withCaddy({ options: "servers {\n\t\ttimeouts {\n\t\t\tread_header 1s\n\t\t}\n\t}" }, async (caddy, app) => {
      const sockets = await Promise.all(
        Object.values(transports).map((list) => caddy.subscriber(app, "orders", { transports: list })),
      );
      const lost = [];
      for (const socket of sockets) socket.on("disconnect", (reason) => lost.push(reason));
      for (const head of ["POST /publish HTTP/1.1\r\nX-A: ", "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nX-A: "]) {
        const { took } = await drip(caddy, head, "a");
        assert.ok(took >= 1_000 && took < 5_000, `${took} ms`);
      }
      const heard = Promise.all(sockets.map((socket) => once(socket, "e")));
      await caddy.published(app, { channel: "orders", event: "e" });
      await heard;
      assert.deepEqual(lost, []);
    }),
  );

  for (const [name, options, fits, over] of [
    ["by default of 16 KiB", "", 15 << 10, 21 << 10],
    ["that is set", "servers {\n\t\tmax_header_size 4KiB\n\t}", 3 << 10, 9 << 10],
  ]) {
    test(
      `Caddy's max_header_size ${name}: larger headers get 431, and the next request is served`,
      withCaddy({ options }, async (caddy, app) => {
        for (const path of ["/publish", "/socket.io/?EIO=4&transport=polling"]) {
          const get = (size) => caddy.request("GET", path, { headers: { "X-A": "a".repeat(size) }, documented: false });
          assert.notEqual((await get(fits)).status, 431);
          assert.equal((await get(over)).status, 431);
        }
        await caddy.subscriber(app, "orders");
        assert.equal((await caddy.published(app, { channel: "orders", event: "e" })).subscribers, 1);
      }),
    );
  }
});
