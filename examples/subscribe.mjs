// Prints the events of one channel. Reads REALTIME_URL (or
// REALTIME_SOCKET_URL), REALTIME_APP_ID and REALTIME_SUBSCRIBE_KEY from the
// environment.
import { io } from "socket.io-client";

const url = process.env.REALTIME_URL || process.env.REALTIME_SOCKET_URL;
if (!url) throw new Error("Set REALTIME_URL to the gateway's origin, for example https://realtime.example.com.");

const socket = io(url, {
  transports: ["websocket", "polling"],
  auth: {
    appId: process.env.REALTIME_APP_ID,
    subscribeKey: process.env.REALTIME_SUBSCRIBE_KEY,
  },
});

// At every connect: a socket that reconnects is in no channel yet.
socket.on("connect", () => {
  socket.emit("subscribe", "orders.42");
});
socket.on("subscribed", (p) => console.log("Joined", p.channel));
socket.on("order.updated", (data) => console.log(data));

// Why a connection or a channel was refused, in words and as a code.
socket.on("connect_error", (err) => console.error(err.message, err.data ?? ""));
socket.on("subscribe_error", (p) => console.error(p.message, p));
