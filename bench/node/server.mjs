// The Socket.IO server in Node that a user would write instead: join what is
// asked for, emit what is posted. With "streams" or "sharded" and the URL of a
// Redis it shares its rooms through that adapter.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { adapterFor } from "./adapters.mjs";

const [address, kind, url] = process.argv.slice(2);
const [host, port] = address.split(":");

const server = createServer((req, res) => {
  if (req.method !== "POST" || req.url !== "/publish") {
    res.writeHead(404).end();
    return;
  }
  let body = "";
  req.setEncoding("utf8");
  req.on("data", (chunk) => (body += chunk));
  req.on("end", () => {
    const { channel, event, data } = JSON.parse(body);
    io.to(channel).emit(event, data);
    res.writeHead(200, { "Content-Type": "application/json", "Content-Length": 11 }).end('{"ok":true}');
  });
});

const io = new Server(server, { adapter: await adapterFor(kind, url) });
io.on("connection", (socket) => {
  socket.on("subscribe", (channel) => {
    socket.join(channel);
    socket.emit("subscribed", { channel });
  });
});

server.listen(Number(port), host);
