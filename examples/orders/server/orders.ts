// The orders, in memory. In production, they are in your database.
import type { Order, User } from "../shared/api.ts";

const orders: Order[] = [];

/** The orders that a user may see: agents see all, customers their own. */
export function ordersOf(user: User): Order[] {
  return orders.filter((order) => user.role === "agent" || order.customer === user.id);
}

export function placeOrder(customer: User, item: string): Order {
  const order: Order = { id: orders.length + 1, customer: customer.id, item, status: "placed", version: 1 };
  orders.push(order);
  return order;
}

/** Returns the order, or undefined if there is none with this id. */
export function shipOrder(id: number): Order | undefined {
  const order = orders.find((each) => each.id === id);
  if (order?.status === "placed") {
    order.status = "shipped";
    order.version++;
  }
  return order;
}
