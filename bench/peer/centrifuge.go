package peer

import (
	"context"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"
)

// centrifugeServer is centrifuge with its defaults, one node, everybody let
// in.
func centrifugeServer(string) (http.Handler, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	return serveCentrifuge(node)
}

// centrifugeOverRedis is a node with centrifuge's broker in Redis, with its
// defaults. It publishes with the options.
func centrifugeOverRedis(options ...centrifuge.PublishOption) handler {
	return func(redis string) (http.Handler, error) {
		node, err := centrifuge.New(centrifuge.Config{})
		if err != nil {
			return nil, err
		}
		shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: redis})
		if err != nil {
			return nil, err
		}
		broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
		if err != nil {
			return nil, err
		}
		node.SetBroker(broker)
		return serveCentrifuge(node, options...)
	}
}

// withHistory keeps as many messages of a channel as ours does by default, for
// as long.
func withHistory() centrifuge.PublishOption { return centrifuge.WithHistory(100, 2*time.Minute) }

func serveCentrifuge(node *centrifuge.Node, options ...centrifuge.PublishOption) (http.Handler, error) {
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
			reply(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
	mux.HandleFunc("POST /publish", publish(func(p publication) error {
		_, err := node.Publish(p.Channel, p.Data, options...)
		return err
	}))
	return mux, nil
}
