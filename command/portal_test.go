package command

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// The admin endpoint can answer a form before the proxy has seen its end.
func TestPortalProxyPassesOnAllOfAnAnswerToAForm(t *testing.T) {
	page := bytes.Repeat([]byte("portal"), 1<<15)
	begun := make(chan struct{})
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		w.Header().Set("Content-Length", strconv.Itoa(len(page)))
		err := c.EnableFullDuplex()
		if err == nil {
			_, err = w.Write(page[:len(page)/2])
		}
		if err == nil {
			err = c.Flush()
		}
		begun <- struct{}{}
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err == nil {
			_, err = w.Write(page[len(page)/2:])
		}
		if err != nil {
			t.Errorf("the endpoint: %v", err)
		}
	}))
	defer admin.Close()
	proxy := httptest.NewUnstartedServer(nil)
	p, err := newPortalProxy(admin.Listener.Addr().String(), proxy.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	proxy.Config.Handler = p
	proxy.Config.BaseContext = func(net.Listener) context.Context { return t.Context() }
	proxy.Start()
	defer proxy.Close()

	for range 50 {
		body, form := io.Pipe()
		go func() {
			_, _ = io.WriteString(form, "do=save&")
			<-begun
			_, _ = io.WriteString(form, "name=a+form")
			_ = form.Close()
		}()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.link()+"app/x", body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = int64(len("do=save&name=a+form"))
		res, err := proxy.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if e := res.Body.Close(); err != nil || e != nil || !bytes.Equal(got, page) {
			t.Fatalf("%s with %d bytes of %d: %v, %v", res.Status, len(got), len(page), err, e)
		}
	}
}
