#!/bin/sh
# Publishes several events in one request: all of them or none. Reads the same
# variables as publish.sh. For a file of events, see "caddy realtime publish --file".
set -eu

url=${REALTIME_URL:-${REALTIME_SOCKET_URL:?Set REALTIME_URL to the origin of the gateway, for example https://realtime.example.com}}
url=${url%/}

# Chosen once for each publish: a repetition with it is not published twice.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

body=$(mktemp)
trap 'rm -f "$body"' EXIT
status=$(curl -sS --max-redirs 0 -o "$body" -w ' %{http_code} %{redirect_url}' \
--retry 2 --retry-all-errors --retry-max-time 60 --max-time 10 \
-X POST "$url/publish" \
-H "Content-Type: application/json" \
-H "X-App-Id: $REALTIME_APP_ID" \
-H "Authorization: Bearer $REALTIME_PUBLISH_KEY" \
-H "Idempotency-Key: $key" \
-d '{"messages":[
  {"channel":"orders.42","event":"order.updated","data":{"id":42}},
  {"channel":"orders","event":"order.updated","data":{"id":42},"history":false}
]}')
answer=$(cat "$body")$status

# The events are published only if the answer has their ids.
case $answer in
  '{"results":[{"id":"'[0-9A-Za-z_-]*' 200 ') printf '%s\n' "$answer" ;;
  *)
    printf 'Not published: %s/publish answered: %s\n' "$url" "$answer" >&2
    exit 1
    ;;
esac
