#!/bin/sh
# Publishes one event with curl. Reads REALTIME_URL, REALTIME_APP_ID and
# REALTIME_PUBLISH_KEY from the environment.
set -eu

curl -X POST "$REALTIME_URL/publish" \
-H "Content-Type: application/json" \
-H "X-App-Id: $REALTIME_APP_ID" \
-H "Authorization: Bearer $REALTIME_PUBLISH_KEY" \
-d '{"channel":"orders.42","event":"order.updated","data":{"id":42}}'
