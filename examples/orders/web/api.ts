// Requests to the backend. The session cookie goes with them.

/** An answer that is not a success. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Whether the backend has refused a request because nobody is logged in. */
export const isLoggedOut = (err: unknown): boolean => err instanceof Refused && err.status === 401;

export const get = <T>(path: string): Promise<T> => request<T>("GET", path);

export const post = <T>(path: string, body: object = {}): Promise<T> => request<T>("POST", path, body);

async function request<T>(method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(path, {
    method,
    ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
  });
  if (!response.ok) {
    const answer = (await response.json().catch(() => ({}))) as { error?: string };
    throw new Refused(response.status, answer.error ?? `${path}: ${response.status}`);
  }
  return (response.status === 204 ? undefined : await response.json()) as T;
}
