// What a client believes of who is in a channel.
import assert from "node:assert/strict";

/**
 * Follows what a stock socket is told of a channel's presence: members is a map of ids to
 * infos, events are "+id" and "-id", also of what it missed while it was disconnected. Who
 * joins is not there yet, and who leaves is, but for what comes between a recovery and the
 * list that follows it.
 */
export function believe(socket, channel) {
  const belief = { members: new Map(), events: [] };
  let stale = false;
  const reset = ({ members }) => {
    const now = new Map(members.map(({ id, info }) => [id, info]));
    if (stale) {
      belief.events.push(...[...belief.members.keys()].filter((id) => !now.has(id)).map((id) => `-${id}`));
      belief.events.push(...[...now.keys()].filter((id) => !belief.members.has(id)).map((id) => `+${id}`));
    }
    stale = false;
    belief.members = now;
  };
  socket.on("disconnect", () => (stale = true));
  socket.on("subscribed", (answer) => answer.channel === channel && answer.presence && reset(answer.presence));
  socket.on("realtime:presence", (what) => what.channel === channel && reset(what));
  socket.on("realtime:joined", ({ channel: of, id, info }) => {
    if (of !== channel) return;
    const known = belief.members.has(id);
    assert.ok(stale || !known, `${id} joined and was there`);
    if (!known) belief.events.push(`+${id}`);
    belief.members.set(id, info);
  });
  socket.on("realtime:left", ({ channel: of, id }) => {
    if (of !== channel) return;
    const known = belief.members.delete(id);
    assert.ok(stale || known, `${id} left and was not there`);
    if (known) belief.events.push(`-${id}`);
  });
  return belief;
}
