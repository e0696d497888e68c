import { useCallback, useEffect, useState } from "react";
import type { Order, User } from "../shared/api.ts";
import { get, post } from "./api.ts";
import { Desk } from "./Desk.tsx";
import { OrderList } from "./OrderList.tsx";

/** All orders, as of the last time that the agent asked for them. */
export function AgentPage({ user, checkLogin }: { user: User; checkLogin: () => void }) {
  const [orders, setOrders] = useState<Order[]>([]);
  const [error, setError] = useState("");

  const refresh = useCallback(() => {
    get<Order[]>("/api/orders").then(setOrders, (err: Error) => setError(err.message));
  }, []);
  useEffect(refresh, [refresh]);

  const ship = (order: Order): void => {
    post(`/api/orders/${order.id}/ship`).then(refresh, (err: Error) => setError(err.message));
  };

  return (
    <main>
      <Desk user={user} checkLogin={checkLogin} />
      <button onClick={refresh}>Refresh</button>
      <p role="alert">{error}</p>
      <OrderList orders={orders} onShip={ship} />
    </main>
  );
}
