// What the backend and the page tell each other.

export interface User {
  id: string;
  name: string;
  role: "customer" | "agent";
}

export interface Order {
  id: number;
  customer: string;
  item: string;
  status: "placed" | "shipped";

  /** Rises with each change, so that the page can drop what is older than what it shows. */
  version: number;
}

/** What the page needs to connect to the gateway. */
export interface Credentials {
  appId: string;
  token: string;
}

/** What others see of a member of a presence channel. The backend signs it. */
export interface MemberInfo {
  name: string;
  role: User["role"];
}

/** The channel of a customer's orders. Its token lists exactly this one. */
export const ordersChannel = (customer: string): string => `private-orders.${customer}`;

/** The channel whose members are the support agents who are there. */
export const deskChannel = "presence-support";
