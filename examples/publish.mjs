// Publishes one event from a Node backend. Reads REALTIME_URL (or
// REALTIME_SOCKET_URL), REALTIME_APP_ID and REALTIME_PUBLISH_KEY from the
// environment.
const url = (process.env.REALTIME_URL || process.env.REALTIME_SOCKET_URL || "").replace(/\/+$/, "");
if (!url) throw new Error("Set REALTIME_URL to the gateway's origin, for example https://realtime.example.com.");

const answer = await fetch(`${url}/publish`, {
  method: "POST",
  redirect: "manual", // the key is for this server only
  headers: {
    "Content-Type": "application/json",
    "X-App-Id": process.env.REALTIME_APP_ID,
    Authorization: `Bearer ${process.env.REALTIME_PUBLISH_KEY}`,
  },
  body: JSON.stringify({
    channel: "orders.42",
    event: "order.updated",
    data: { id: 42 },
  }),
});
const text = await answer.text();
console.log(answer.status, text);

// The event is published only if the answer has the message's id: another
// server, or another path, may answer 200 as well.
const message = parse(text);
if (answer.status !== 200 || typeof message?.id !== "string" || !message.id) {
  const location = answer.headers.get("Location");
  console.error(`Not published: ${url}/publish answered ${answer.status}${location ? ` and points to ${location}` : ""}.`);
  if (!message?.error) console.error("This is not the answer of a realtime gateway. Check REALTIME_URL.");
  process.exitCode = 1;
}

function parse(json) {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
