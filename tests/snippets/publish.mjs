await fetch(`${process.env.REALTIME_URL}/publish`, {
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
