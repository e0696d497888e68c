// What a client believes of who is in a channel.
import assert from "node:assert/strict";

/**
 * Follows what a stock socket is told of a channel's presence: members is a map of ids to
 * infos, events are "+id" and "-id". Who joins is not there yet, and who leaves is, but for
 * what comes between a recovery and the list that follows it.
 */
export function believe(socket, channel) {
  const belief = { members: new Map(), events: [] };
  let stale = false;
  const reset = ({ members }) => {
    stale = false;
    belief.members = new Map(members.map(({ id, info }) => [id, info]));
  };
  socket.on("disconnect", () => (stale = true));
  socket.on("subscribed", (answer) => answer.channel === channel && answer.presence && reset(answer.presence));
  socket.on("realtime:presence", (what) => what.channel === channel && reset(what));
  socket.on("realtime:joined", ({ channel: of, id, info }) => {
    if (of !== channel) return;
    belief.events.push(`+${id}`);
    assert.ok(stale || !belief.members.has(id), `${id} joined and was there`);
    belief.members.set(id, info);
  });
  socket.on("realtime:left", ({ channel: of, id }) => {
    if (of !== channel) return;
    belief.events.push(`-${id}`);
    assert.ok(belief.members.delete(id) || stale, `${id} left and was not there`);
  });
  return belief;
}
