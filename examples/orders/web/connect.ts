// A connection to the gateway that lasts as long as the user is logged in.
import { type Socket, io } from "socket.io-client";
import type { Credentials } from "../shared/api.ts";
import { get, isLoggedOut } from "./api.ts";

export interface Connection {
  socket: Socket;
  close: () => void;
}

/**
 * Connects with tokens that the backend gives at tokenPath. checkLogin is called if it says
 * that nobody is logged in.
 */
export function connect(tokenPath: string, checkLogin: () => void): Connection {
  let closed = false;
  let timer: number | undefined;
  const again = (): void => {
    window.clearTimeout(timer);
    if (closed) return;
    timer = window.setTimeout(() => socket.connect(), 1000 + 2000 * Math.random());
  };

  const socket = io({
    transports: ["websocket", "polling"],
    // A function: the client calls it at each connect, so a token is never older than that.
    auth: (send) => {
      get<Credentials>(tokenPath).then((credentials) => send({ ...credentials, recover: true }), failed);
    },
  });

  function failed(err: unknown): void {
    if (isLoggedOut(err)) checkLogin();
    socket.disconnect();
    again(); // the backend restarts, for example
  }

  // Renewing a token keeps the connection. If that fails, the gateway ends it soon after
  // the token has expired, and the client comes back through auth.
  socket.on("realtime:token_expiring", () => {
    get<Credentials>(tokenPath).then(({ token }) => socket.emit("authenticate", { token }), console.error);
  });

  // The client comes back by itself when the network fails, but not when the gateway
  // ended the connection, as it does when the user logs out somewhere else. Whether the
  // user may come back is for the backend to say, when it is asked for a token.
  socket.on("disconnect", (reason) => {
    if (reason === "io server disconnect") again();
  });

  // Refused: token_revoked, for example, if the token is of the second of a logout.
  socket.on("connect_error", (err) => {
    if (socket.active) return; // the network, and the client tries again
    console.error("refused by the gateway:", err.message);
    again();
  });

  return {
    socket,
    close: () => {
      closed = true;
      window.clearTimeout(timer);
      socket.off();
      socket.disconnect();
    },
  };
}
