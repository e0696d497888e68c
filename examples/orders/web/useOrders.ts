// A customer's orders, kept current by events.
import { useEffect, useState } from "react";
import { type Order, type User, ordersChannel } from "../shared/api.ts";
import { get } from "./api.ts";
import { connect } from "./connect.ts";

export interface Orders {
  orders: Order[];
  status: string;
}

export function useOrders(user: User, checkLogin: () => void): Orders {
  const [orders, setOrders] = useState<Order[]>([]);
  const [status, setStatus] = useState("Connecting…");

  useEffect(() => {
    const channel = ordersChannel(user.id);
    const { socket, close } = connect("/api/token", checkLogin);
    const show = (changed: Order[]): void => setOrders((shown) => merge(shown, changed));

    socket.on("connect", () => {
      // A recovered socket is in its channel and has got what it missed.
      if (socket.recovered) setStatus("Live, nothing was missed.");
      else socket.emit("subscribe", channel);
    });
    // From here on, events say what changes. What was before, the backend says.
    socket.on("subscribed", () => {
      get<Order[]>("/api/orders").then(
        (all) => {
          show(all);
          setStatus("Live.");
        },
        (err: Error) => setStatus(`The orders cannot be read: ${err.message}`),
      );
    });
    socket.on("order", (order: Order) => show([order]));
    socket.on("subscribe_error", (err: { code: string; message: string }) => {
      setStatus(`${err.code}: ${err.message}`);
      checkLogin(); // the token is another user's if one has logged in in another tab
    });
    socket.on("unsubscribed", (why: { code: string; message: string }) => setStatus(`${why.code}: ${why.message}`));
    socket.on("disconnect", () => setStatus("Disconnected, coming back…"));
    return close;
  }, [user.id, checkLogin]);

  return { orders, status };
}

/** Adds orders to those that are shown. An event can overtake the answer of the backend, so the higher version wins. */
function merge(shown: Order[], changed: Order[]): Order[] {
  const byId = new Map(shown.map((order) => [order.id, order]));
  for (const order of changed) {
    if (order.version > (byId.get(order.id)?.version ?? 0)) byId.set(order.id, order);
  }
  return [...byId.values()].sort((a, b) => b.id - a.id);
}
