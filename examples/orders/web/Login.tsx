import { type FormEvent, useState } from "react";
import type { User } from "../shared/api.ts";
import { post } from "./api.ts";

export function Login(props: { error: string; onLogin: (user: User) => void }) {
  const [error, setError] = useState(props.error);

  function logIn(submitted: FormEvent<HTMLFormElement>): void {
    submitted.preventDefault();
    const fields = Object.fromEntries(new FormData(submitted.currentTarget));
    post<User>("/api/login", fields).then(props.onLogin, (err: Error) => setError(err.message));
  }

  return (
    <form onSubmit={logIn}>
      <h1>Log in</h1>
      <label>
        User <input name="user" required autoComplete="username" placeholder="alice, bob or sam" />
      </label>
      <label>
        Password <input name="password" type="password" required autoComplete="current-password" placeholder="demo-alice, …" />
      </label>
      <button>Log in</button>
      <p role="alert">{error}</p>
    </form>
  );
}
