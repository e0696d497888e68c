// Publishes one event from a Node backend. Reads REALTIME_URL, REALTIME_APP_ID
// and REALTIME_PUBLISH_KEY from the environment.
const answer = await fetch(`${process.env.REALTIME_URL}/publish`, {
  method: "POST",
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
console.log(answer.status, await answer.text());
if (!answer.ok) process.exitCode = 1;
