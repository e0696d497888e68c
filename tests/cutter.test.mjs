// The network that the recovery tests cut is cut where they say.
import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { Cutter, ways } from "./lib/cutter.mjs";
import { once, until } from "./lib/wait.mjs";

describe("a cut", () => {
  let server, cutter;
  const accepted = [];
  before(async () => {
    server = createServer((socket) => {
      socket.got = 0;
      socket.on("data", (chunk) => (socket.got += chunk.length));
      socket.on("error", (err) => (socket.broken = err.code));
      socket.on("close", () => (socket.gone = true));
      accepted.push(socket);
    }).listen(0, "localhost");
    await once(server, "listening");
    cutter = await Cutter.start(server.address().port);
  });
  after(() => {
    cutter.close();
    server.close();
  });

  /** A connection: [the client's side, the server's side]. */
  async function pair() {
    const before = accepted.length;
    const client = connect(new URL(cutter.origin).port, "localhost");
    client.got = 0;
    client.on("data", (chunk) => (client.got += chunk.length));
    client.on("error", (err) => (client.broken = err.code));
    client.on("close", () => (client.gone = true));
    await until("the connection", () => accepted.length > before);
    return [client, accepted.at(-1)];
  }

  for (const how of ways) {
    test(`${how}, comes after that many bytes in either direction`, async () => {
      for (const direction of ["up", "down"]) {
        const [client, peer] = await pair();
        const [from, to] = direction === "up" ? [client, peer] : [peer, client];
        from.write("x".repeat(700));
        await until("what was before", () => to.got === 700);
        const struck = cutter.cut({ how, direction, after: 1_000, refuse: 0 });
        for (let i = 0; i < 10; i++) from.write("x".repeat(300));
        await struck;
        await until("the client is cut", () => client.gone);
        if (how === "half-open" && direction === "up") await until("the bytes before the cut", () => to.got === 1_700);
        if (how === "end") assert.equal(to.got, 1_700);
        assert.ok(to.got <= 1_700, `${to.got} bytes`);
        if (how === "reset") await until("the reset", () => from.broken === "ECONNRESET");
        if (how !== "half-open") await until("the server is cut", () => peer.gone);
        else cutter.release();
      }
    });
  }

  test("half-open, is not seen by the server until it is released", async () => {
    const [client, peer] = await pair();
    await cutter.cut({ how: "half-open", refuse: 0 });
    await until("the client is cut", () => client.gone);
    peer.write("into the void");
    const [next] = await pair(); // whatever the server was to see, it would see before this
    assert.equal(peer.gone, undefined);
    peer.end();
    await cutter.released();
    next.destroy();
  });

  test("refuses new connections until they are admitted", async () => {
    await cutter.cut();
    const client = connect(new URL(cutter.origin).port, "localhost");
    const [err] = await once(client, "error");
    assert.equal(err.code, "ECONNRESET");
    cutter.admit();
    const [next] = await pair();
    next.destroy();
  });
});
