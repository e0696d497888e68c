// Demo users. In production, this is your login: hashed passwords, or a provider.
import type { User } from "../shared/api.ts";

const users: (User & { password: string })[] = [
  { id: "alice", name: "Alice", role: "customer", password: "demo-alice" },
  { id: "bob", name: "Bob", role: "customer", password: "demo-bob" },
  { id: "sam", name: "Sam", role: "agent", password: "demo-sam" },
];

/** Returns the user with this id and password, or undefined. */
export function checkPassword(id: unknown, password: unknown): User | undefined {
  const found = users.find((user) => user.id === id && user.password === password);
  return found && { id: found.id, name: found.name, role: found.role };
}
