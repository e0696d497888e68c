// A stock client that keeps account of numbered events. The page and cluster.mjs use it.

/**
 * Connects, subscribes to "numbers", and calls changed() after each change of the state
 * that it returns. io is the stock client's function.
 */
export function watch(io, url, auth, transports, changed) {
  const state = { connected: false, machine: "", received: 0, lost: 0, doubled: 0, recovered: 0, began: 0, last: undefined };
  let position;
  const socket = io(url, { transports, auth: { ...auth, recover: true }, reconnectionDelay: 200, reconnectionDelayMax: 1000 });

  socket.on("connect", () => {
    state.connected = true;
    state.machine = socket.io.engine.id.slice(0, 8); // a session's ID begins with its machine's
    if (socket.recovered) state.recovered++;
    else {
      if (position) state.began++;
      socket.emit("subscribe", "numbers", position ? { since: position } : {});
    }
    changed();
  });
  socket.on("disconnect", () => {
    Object.assign(state, { connected: false, machine: "" });
    changed();
  });
  socket.on("subscribed", ({ id }) => (position ??= id));
  socket.on("number", (n, id) => {
    position = id;
    state.received++;
    if (state.last !== undefined && n > state.last + 1) state.lost += n - state.last - 1;
    if (n <= state.last) state.doubled++;
    else state.last = n;
    changed();
  });
  return { state, socket };
}
