package redis

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"github.com/seed-c079cc48/caddy-realtime/hub"
	"github.com/seed-c079cc48/caddy-realtime/internal/limit"
)

// appendLimit appends the arguments of publish.lua that say how much may be published.
func appendLimit(args []string, t hub.Terms) []string {
	if t.Limit > 0 && t.Window > 0 {
		return append(args, strconv.Itoa(t.Limit), strconv.FormatInt(microseconds(t.Window), 10))
	}
	return append(args, "", "")
}

// appendKey appends the arguments of publish.lua about the idempotency key.
func appendKey(args []string, all []*hub.Message, t hub.Terms) []string {
	if t.Key.Value == "" {
		return append(args, "")
	}
	return append(args, keyName(t.Key.Value), string(t.Key.Body[:]), string(hub.AppendCounts(nil, all)))
}

// keyName stands for an idempotency key, which is chosen by clients and can be long.
func keyName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// microseconds rounds up: a window must not be shorter.
func microseconds(d time.Duration) int64 {
	return int64((d + time.Microsecond - 1) / time.Microsecond)
}

// forget removes the app's position, its limit and its idempotency keys.
func (a *app) forget(ctx context.Context) error {
	client, err := a.broker.connection()
	if err != nil {
		return err
	}
	gone := []string{a.positionKey(), a.limitKey(), factsKey(a.base), senderKey(a.base), writersKey(a.base)}
	for len(gone) > 0 {
		err := patiently(ctx, func() error { return client.Do(ctx, client.B().Unlink().Key(gone...).Build()).Error() })
		if err != nil {
			return err
		}
		claims, err := client.Do(ctx, client.B().Lpop().Key(a.claimsKey()).Count(1000).Build()).AsStrSlice()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		gone = gone[:0]
		for _, claim := range claims {
			name, _, _ := strings.Cut(claim, " ")
			gone = append(gone, a.claimKey(name))
		}
	}
	return nil
}

// readRate reads the state of the limit, if there is one, from the answer of publish.lua,
// and returns the rest.
func readRate(answer string, t hub.Terms) (r limit.Result, rest string, err error) {
	if t.Limit <= 0 || t.Window <= 0 {
		return limit.Result{OK: true}, answer, nil
	}
	words := strings.SplitN(answer, " ", 4)
	if len(words) != 4 {
		return r, "", errPosition
	}
	var numbers [3]int64
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(words[i], 10, 64); err != nil {
			return r, "", errPosition
		}
	}
	return limit.Result{
		OK: true, Limit: t.Limit, Remaining: int(numbers[0]),
		Reset: time.Duration(numbers[1]) * time.Microsecond, RetryAfter: time.Duration(numbers[2]) * time.Microsecond,
	}, words[3], nil
}
