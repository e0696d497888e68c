import type { Order } from "../shared/api.ts";

export function OrderList({ orders, onShip }: { orders: Order[]; onShip?: (order: Order) => void }) {
  return (
    <ul aria-label="Orders">
      {orders.map((order) => (
        <li key={order.id}>
          <span>
            {order.id}. {order.item}
          </span>
          {onShip && <span>{order.customer}</span>}
          <span>{order.status}</span>
          {onShip && order.status === "placed" && <button onClick={() => onShip(order)}>Ship</button>}
        </li>
      ))}
    </ul>
  );
}
