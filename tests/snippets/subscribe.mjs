import { io } from "socket.io-client";
const socket = io("YOUR_REALTIME_ORIGIN", {
transports: ["websocket", "polling"],
auth: {
appId: "YOUR_APP_ID",
subscribeKey: "YOUR_SUBSCRIBE_KEY",
},
});
socket.emit("subscribe", "orders.42");
socket.on("subscribed", (p) => console.log("Joined", p.channel));
socket.on("order.updated", (data) => console.log(data));
