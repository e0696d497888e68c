package peer

import (
	"encoding/json"
	"net/http"

	"github.com/zishang520/socket.io/servers/socket/v3"
)

// zishang is the Socket.IO server of zishang520 as it comes.
func zishang(string) (http.Handler, error) {
	io := socket.NewServer(nil, nil)
	err := io.On("connection", func(clients ...any) {
		client, ok := clients[0].(*socket.Socket)
		if !ok {
			return
		}
		_ = client.On("subscribe", func(args ...any) {
			if channel, ok := args[0].(string); ok {
				client.Join(socket.Room(channel))
				_ = client.Emit("subscribed", map[string]string{"channel": channel})
			}
		})
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", io.ServeHandler(nil))
	mux.HandleFunc("POST /publish", publish(func(p publication) error {
		var data any
		if err := json.Unmarshal(p.Data, &data); err != nil {
			return err
		}
		return io.To(socket.Room(p.Channel)).Emit(p.Event, data)
	}))
	return mux, nil
}
