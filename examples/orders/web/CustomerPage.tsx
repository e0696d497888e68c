import { type FormEvent, useState } from "react";
import type { User } from "../shared/api.ts";
import { post } from "./api.ts";
import { Desk } from "./Desk.tsx";
import { OrderList } from "./OrderList.tsx";
import { useOrders } from "./useOrders.ts";

export function CustomerPage({ user, checkLogin }: { user: User; checkLogin: () => void }) {
  const { orders, status } = useOrders(user, checkLogin);
  const [error, setError] = useState("");

  // The new order is not shown here: it arrives as an event, on all of the user's pages.
  function place(submitted: FormEvent<HTMLFormElement>): void {
    submitted.preventDefault();
    const form = submitted.currentTarget;
    post("/api/orders", Object.fromEntries(new FormData(form))).then(
      () => {
        form.reset();
        setError("");
      },
      (err: Error) => setError(err.message),
    );
  }

  return (
    <main>
      <Desk user={user} checkLogin={checkLogin} />
      <form onSubmit={place}>
        <label>
          Item <input name="item" required maxLength={200} />
        </label>
        <button>Order</button>
      </form>
      <p role="alert">{error}</p>
      <p role="status">{status}</p>
      <OrderList orders={orders} />
    </main>
  );
}
