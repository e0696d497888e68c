// The adapters for more than one machine, each as its README has it.

/** Returns the adapter of a kind, connected; undefined is Socket.IO's own, in memory. */
export async function adapterFor(kind, url) {
  if (kind === undefined) return undefined;
  const { createClient } = await import("redis");
  const client = await createClient({ url }).connect();
  if (kind === "streams") {
    const { createAdapter } = await import("@socket.io/redis-streams-adapter");
    return createAdapter(client);
  }
  if (kind === "sharded") {
    const { createShardedAdapter } = await import("@socket.io/redis-adapter");
    return createShardedAdapter(client, await client.duplicate().connect());
  }
  throw new Error(`no adapter is called ${kind}`);
}
