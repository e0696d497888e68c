import type { User } from "../shared/api.ts";
import { useDesk } from "./useDesk.ts";

export function Desk({ user, checkLogin }: { user: User; checkLogin: () => void }) {
  const agents = useDesk(user, checkLogin);
  return <p aria-label="Support desk">{agents.length > 0 ? `Support is here: ${agents.join(", ")}` : "Nobody is at the support desk."}</p>;
}
