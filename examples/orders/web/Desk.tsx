import type { User } from "../shared/api.ts";
import { useDesk } from "./useDesk.ts";

export function Desk({ user, loggedOut }: { user: User; loggedOut: () => void }) {
  const agents = useDesk(user, loggedOut);
  return <p aria-label="Support desk">{agents.length > 0 ? `Support is here: ${agents.join(", ")}` : "Nobody is at the support desk."}</p>;
}
