import { useCallback, useEffect, useState } from "react";
import type { User } from "../shared/api.ts";
import { AgentPage } from "./AgentPage.tsx";
import { get, isLoggedOut, post } from "./api.ts";
import { CustomerPage } from "./CustomerPage.tsx";
import { Login } from "./Login.tsx";

export function App() {
  const [user, setUser] = useState<User | null>(); // undefined until the backend has said
  const [error, setError] = useState("");

  // Another tab may have logged out, or in as somebody else.
  const checkLogin = useCallback(() => {
    get<User>("/api/me").then(setUser, (err: Error) => {
      setUser((now) => (isLoggedOut(err) ? null : (now ?? null)));
    });
  }, []);
  useEffect(checkLogin, [checkLogin]);

  async function logOut(): Promise<void> {
    setError("");
    await post("/api/logout").catch((err: Error) => setError(`The log-out is incomplete: ${err.message}`));
    setUser(null);
  }

  if (user === undefined) return null;
  if (user === null) return <Login error={error} onLogin={setUser} />;
  const Page = user.role === "agent" ? AgentPage : CustomerPage;
  return (
    <>
      <header>
        <h1>Orders</h1>
        <span>{user.name}</span>
        <button onClick={() => void logOut()}>Log out</button>
      </header>
      <Page key={user.id} user={user} checkLogin={checkLogin} />
    </>
  );
}
