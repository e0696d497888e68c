// Stock clients, one for each transport: node subscriber.mjs <origin> <app> <key>.
// Prints what they see, a line of JSON each: transport, what, value.
import { createRequire } from "node:module";

const { io } = createRequire(new URL("../package.json", import.meta.url))("socket.io-client");
const [origin, appId, subscribeKey] = process.argv.slice(2);

for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
  const name = transports.join("+");
  const say = (what, value) => console.log(JSON.stringify([name, what, value ?? null]));
  const socket = io(origin, { forceNew: true, transports, auth: { appId, subscribeKey } });
  socket.on("connect", () => socket.emit("subscribe", "c"));
  socket.on("subscribed", () => say("subscribed"));
  socket.on("e", (data) => say("e", data));
  socket.on("disconnect", (reason) => say("disconnect", reason));
}
