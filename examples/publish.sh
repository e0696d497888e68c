#!/bin/sh
# Publishes one event with curl. Reads REALTIME_URL (or REALTIME_SOCKET_URL),
# REALTIME_APP_ID and REALTIME_PUBLISH_KEY from the environment.
set -eu

url=${REALTIME_URL:-${REALTIME_SOCKET_URL:?Set REALTIME_URL to the origin of the gateway, for example https://realtime.example.com}}
url=${url%/}

# Chosen once for each publish: a repetition with it is not published twice.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

# curl repeats what was not answered, and what was answered with 429 or 503, after
# its Retry-After.
body=$(mktemp)
trap 'rm -f "$body"' EXIT
status=$(curl -sS --max-redirs 0 -o "$body" -w ' %{http_code} %{redirect_url}' \
--retry 2 --retry-all-errors --retry-max-time 60 --max-time 10 \
-X POST "$url/publish" \
-H "Content-Type: application/json" \
-H "X-App-Id: $REALTIME_APP_ID" \
-H "Authorization: Bearer $REALTIME_PUBLISH_KEY" \
-H "Idempotency-Key: $key" \
-d '{"channel":"orders.42","event":"order.updated","data":{"id":42}}')

answer=$(cat "$body")$status

# The event is published only if the answer has the message's id: another
# server, or another path, may answer 200 as well.
case $answer in
  '{"id":"'[0-9A-Za-z_-]*' 200 ') printf '%s\n' "$answer" ;;
  *)
    printf 'Not published: %s/publish answered: %s\n' "$url" "$answer" >&2
    exit 1
    ;;
esac
