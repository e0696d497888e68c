// caddy realtime listen against servers that try to make it take memory: its
// peak is bounded, and the error says what was too much.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import net from "node:net";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { bin } from "./lib/caddy.mjs";
import { once, until } from "./lib/wait.mjs";

const MiB = 2 ** 20;

// What a process that listens may take at its peak. An idle one takes some 50
// MiB, most of it Caddy's own.
const bound = 112 * MiB;

const cleanups = [];
after(() => cleanups.forEach((cleanup) => cleanup()));

/** An open websocket's frame of a server. */
function frame(payload, opcode = 0x81) {
  const body = Buffer.from(payload);
  const head = Buffer.alloc(body.length < 126 ? 2 : 10);
  head[0] = opcode;
  head[1] = body.length < 126 ? body.length : 127;
  if (head.length > 2) head.writeBigUInt64BE(BigInt(body.length), 2);
  return Buffer.concat([head, body]);
}

/** Writes it again and again until the other side has gone. */
async function forever(socket, bytes) {
  while (!socket.destroyed) {
    if (!socket.write(bytes)) await Promise.race(["drain", "close"].map((event) => new Promise((done) => socket.once(event, done))));
  }
}

/** A server that does this with the first request of each connection. */
async function hostile(behave) {
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}); // it hangs up
    socket.once("data", (request) => behave(socket, request.toString()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** The same, once the connection is accepted and the first subscribe is sent. */
const gateway = (behave, { subscribed = true } = {}) =>
  hostile((socket, request) => {
    const key = request.match(/sec-websocket-key: *(.*)\r/i)[1];
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    socket.write(frame('0{"sid":"s","upgrades":[],"pingInterval":60000,"pingTimeout":60000,"maxPayload":1000000}'));
    socket.write(frame('40{"sid":"t"}'));
    if (subscribed) socket.write(frame('431[{"channel":"a"}]'));
    socket.resume();
    return behave(socket);
  });

// Runs each line's command, and prints its exit code, its peak in bytes, how
// much it wrote and the beginning of that. Only a parent can ask for the peak of
// a process that has ended.
const measure = `
import json, os, subprocess, sys, threading
for line in sys.stdin:
    command = json.loads(line)
    child = subprocess.Popen(command["args"], env=command["env"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(30, child.kill)
    timer.start()
    output, size = b"", 0
    while chunk := child.stdout.read1(1 << 20):
        output, size = (output + chunk)[:10000], size + len(chunk)
    _, status, usage = os.wait4(child.pid, 0)
    timer.cancel()
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "peak": usage.ru_maxrss * 1024, "size": size, "output": output.decode(errors="replace")}), flush=True)
`;
let meter;
before(() => {
  meter = spawn("python3", ["-c", measure], { stdio: ["pipe", "pipe", "inherit"] });
  meter.results = createInterface({ input: meter.stdout });
  cleanups.push(() => meter.stdin.end());
});

const environment = (origin) => ({ ...process.env, REALTIME_URL: "", REALTIME_SOCKET_URL: origin, REALTIME_APP_ID: "app_1", REALTIME_SUBSCRIBE_KEY: "sub_live_1" });

/** Listens until the command ends: its exit code, peak, the size of its output, and that. */
async function listen(origin, ...args) {
  meter.stdin.write(`${JSON.stringify({ args: [bin, "realtime", "listen", "a", ...args], env: environment(origin) })}\n`);
  const [line] = await once(meter.results, "line", 60_000);
  return JSON.parse(line);
}

const opens = "HTTP/1.1 101 Switching Protocols\r\n";
const refuses = "HTTP/1.1 400 Bad Request\r\n";
const endless = (head, more) => hostile((socket) => {
  socket.write(head);
  return forever(socket, Buffer.from(more.repeat(65_536 / more.length)));
});

describe("a server cannot make caddy realtime listen take much memory with", () => {
  const tooLarge = /more than this client accepts at once.*set --max-message above its max_body/;
  const servers = {
    "a status line without end": [() => endless("HTTP/1.1 101 ", "x"), /its answer is over 128 KiB/],
    "a header line without end": [() => endless(`${opens}X: `, "x"), /its answer is over 128 KiB/],
    "headers without end": [() => endless(opens, "X-Y: z\r\n"), /its answer is over 128 KiB/],
    "a refusal's header line without end": [() => endless(`${refuses}X: `, "x"), /400 Bad Request/],
    "a refusal's headers without end": [() => endless(refuses, "X-Y: z\r\n"), /400 Bad Request/],
    "a refusal's body without end": [() => endless(`${refuses}\r\n`, "x"), /400 Bad Request/],
    "a frame of 60 MiB": [() => gateway((socket) => {
      const head = Buffer.from([0x81, 127, ...Buffer.alloc(8)]);
      head.writeBigUInt64BE(BigInt(60 * MiB), 2);
      socket.write(Buffer.concat([head, Buffer.from('42["e","')]));
      return forever(socket, Buffer.alloc(65_536, "\x7f"));
    }), tooLarge],
    "fragments without end": [() => gateway((socket) => {
      socket.write(frame('42["e","', 0x01));
      return forever(socket, frame("x".repeat(1_000), 0x00));
    }), tooLarge],
    "fragments without bytes, then some": [() => gateway((socket) => {
      socket.write(frame('42["e","', 0x01));
      for (let i = 0; i < 1_000; i++) socket.write(frame("", 0x00));
      return forever(socket, frame("x".repeat(1_000), 0x00));
    }), tooLarge],
    "an event of a million arguments": [() => gateway((socket) => socket.write(frame(`42["e"${",1".repeat(MiB)}]`))), /more than two arguments/],
    "an acknowledgement of a million answers": [() => gateway((socket) => socket.write(frame(`431[{}${",{}".repeat(MiB)}]`)), { subscribed: false }), /no answer to subscribe/],
    "small events before the answer to a subscribe": [() => gateway((socket) => forever(socket, Buffer.concat(Array(5_000).fill(frame('42["e"]')))), { subscribed: false }), tooLarge],
  };
  for (const [name, [start, says]] of Object.entries(servers)) {
    test(name, async () => {
      const { code, peak, output } = await listen(await start());
      assert.match(output, says);
      assert.equal(code, 1);
assert.ok(peak < bound, `it took ${peak / MiB} MiB`);
    });
  }

  for (const args of [[], ["--json"]]) {
    test(`messages of the largest size that are all escapes ${args}`, async () => {
      const text = "\x7f".repeat(4 * MiB - 20);
      const count = 2;
      const origin = await gateway((socket) => forever(socket, frame(`42["e","${text}"]`)));
      const { code, peak, size } = await listen(origin, "--count", String(count), ...args);
      assert.equal(code, 0);
      assert.ok(size > count * 6 * text.length, `it wrote ${size} bytes`);
assert.ok(peak < bound, `it took ${peak / MiB} MiB`);
    });
  }

  test("events without end while nobody reads its output", async () => {
    let socket;
    const origin = await gateway((it) => {
      socket = it;
      return forever(it, Buffer.concat(Array(5_000).fill(frame('42["e"]'))));
    });
    const child = spawn(bin, ["realtime", "listen", "a"], { stdio: ["ignore", "pipe", "ignore"], env: environment(origin) });
    cleanups.push(() => child.kill("SIGKILL"));
    let sent = -1;
    await until("the connection is full", async () => {
      const before = sent;
      sent = socket ? socket.bytesWritten - socket.writableLength : -1;
      await sleep(500);
      return sent > 0 && sent === before;
    }, 60_000);
    const peak = 1024 * readFileSync(`/proc/${child.pid}/status`, "utf8").match(/VmHWM:\s*(\d+)/)[1];
assert.ok(peak < bound, `it took ${peak / MiB} MiB`);
    child.stdout.destroy(); // ends the write that is stuck
    await once(child, "close");
  });
});

test("caddy realtime listen takes messages up to --max-message", async () => {
  const origin = await gateway((socket) => socket.write(frame(`42["e","${"x".repeat(6 * MiB)}"]`)));
  const { code, size } = await listen(origin, "--count", "1", "--max-message", "8MiB");
  assert.equal(code, 0);
  assert.ok(size > 6 * MiB);
});
