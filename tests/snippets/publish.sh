curl -X POST "__BASE__/publish" \
-H "Content-Type: application/json" \
-H "X-App-Id: YOUR_APP_ID" \
-H "Authorization: Bearer YOUR_PUBLISH_KEY" \
-d '{"channel":"orders.42","event":"order.updated","data":{"id":42}}'
