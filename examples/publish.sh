#!/bin/sh
# Publishes one event with curl. Reads REALTIME_URL (or REALTIME_SOCKET_URL),
# REALTIME_APP_ID and REALTIME_PUBLISH_KEY from the environment.
set -eu

url=${REALTIME_URL:-${REALTIME_SOCKET_URL:?Set REALTIME_URL to the origin of the gateway, for example https://realtime.example.com}}
url=${url%/}

answer=$(curl -sS --max-redirs 0 -w ' %{http_code} %{redirect_url}' \
-X POST "$url/publish" \
-H "Content-Type: application/json" \
-H "X-App-Id: $REALTIME_APP_ID" \
-H "Authorization: Bearer $REALTIME_PUBLISH_KEY" \
-d '{"channel":"orders.42","event":"order.updated","data":{"id":42}}')

# The event is published only if the answer has the message's id: another
# server, or another path, may answer 200 as well.
case $answer in
  '{"id":"'[0-9A-Za-z_-]*' 200 ') printf '%s\n' "$answer" ;;
  *)
    printf 'Not published: %s/publish answered: %s\n' "$url" "$answer" >&2
    exit 1
    ;;
esac
