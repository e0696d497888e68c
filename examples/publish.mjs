// Publishes one event from a Node backend. Reads REALTIME_URL (or
// REALTIME_SOCKET_URL), REALTIME_APP_ID and REALTIME_PUBLISH_KEY from the
// environment.
const url = (process.env.REALTIME_URL || process.env.REALTIME_SOCKET_URL || "").replace(/\/+$/, "");
if (!url) throw new Error("Set REALTIME_URL to the gateway's origin, for example https://realtime.example.com.");

// Chosen once for each publish: a repetition with it is not published twice.
const key = crypto.randomUUID();

async function send() {
  const answer = await fetch(`${url}/publish`, {
    method: "POST",
    redirect: "manual", // the key is for this server only
    signal: AbortSignal.timeout(10_000),
    headers: {
      "Content-Type": "application/json",
      "X-App-Id": process.env.REALTIME_APP_ID,
      Authorization: `Bearer ${process.env.REALTIME_PUBLISH_KEY}`,
      "Idempotency-Key": key,
    },
    body: JSON.stringify({
      channel: "orders.42",
      event: "order.updated",
      data: { id: 42 },
    }),
  });
  return { answer, text: await answer.text() };
}

const { answer, text } = await sendUntilAnswered();
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

/**
 * Sends up to three times: again if there was no whole answer, or if it is a 409 or
 * a 503, which say when. Within a request of a user, leave the repeats to a queue.
 */
async function sendUntilAnswered() {
  for (let attempt = 1; ; attempt++) {
    const sent = await send().catch((err) => ({ err }));
    const again = sent.err || [409, 503].includes(sent.answer.status);
    if (!again || attempt === 3) {
      if (sent.err) throw sent.err;
      return sent;
    }
    const seconds = Math.min(Number(sent.answer?.headers.get("Retry-After")) || attempt, 30);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

function parse(json) {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
