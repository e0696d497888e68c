// Which support agents are there, by the presence of their pages.
import { useEffect, useState } from "react";
import { type MemberInfo, type User, deskChannel } from "../shared/api.ts";
import { connect } from "./connect.ts";

interface Member {
  id: string;
  info?: MemberInfo;
}

interface Members {
  members: Member[];
}

/** Agents are members of the channel, customers watch it: see server/tokens.ts. */
export function useDesk(user: User, checkLogin: () => void): string[] {
  const [members, setMembers] = useState<Member[]>([]);

  useEffect(() => {
    const tokenPath = user.role === "agent" ? "/api/token" : "/api/watcher-token";
    const { socket, close } = connect(tokenPath, checkLogin);
    socket.on("connect", () => {
      if (!socket.recovered) socket.emit("subscribe", deskChannel);
    });
    socket.on("subscribed", ({ presence }: { presence: Members }) => setMembers(presence.members));
    socket.on("realtime:presence", ({ members }: Members) => setMembers(members)); // after a recovery
    socket.on("realtime:joined", (joined: Member) => setMembers((now) => [...now.filter(({ id }) => id !== joined.id), joined]));
    socket.on("realtime:left", (left: Member) => setMembers((now) => now.filter(({ id }) => id !== left.id)));
    socket.on("disconnect", () => setMembers([])); // better nobody than somebody who has left
    return close;
  }, [user.role, checkLogin]);

  // The backend signed info, so no customer can pose as an agent.
  return members.flatMap(({ info }) => (info?.role === "agent" ? [info.name] : []));
}
