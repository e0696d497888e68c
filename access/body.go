package access

import (
	"mime"
	"net/http"
	"strings"

	"github.com/seed-c079cc48/caddy-realtime/internal/apierr"
	"github.com/seed-c079cc48/caddy-realtime/internal/text"
)

// CheckBodyType refuses anything but uncompressed JSON in UTF-8.
func CheckBodyType(r *http.Request) error {
	coding, err := OnlyHeader(r, "Content-Encoding")
	if err != nil {
		return err
	}
	if coding != "" && !strings.EqualFold(coding, "identity") {
		return apierr.UnsupportedMediaType("The body's Content-Encoding is %s. Send it uncompressed.", text.Quote(coding))
	}
	contentType, err := OnlyHeader(r, "Content-Type")
	switch {
	case err != nil:
		return err
	case contentType == "application/json": // nearly all clients send this
		return nil
	case contentType == "":
		return apierr.UnsupportedMediaType("The Content-Type is missing. Send Content-Type: application/json.")
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/json" {
		return apierr.UnsupportedMediaType("The Content-Type is %s. Send Content-Type: application/json.", text.Quote(contentType))
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return apierr.UnsupportedMediaType("The body's charset is %s. Send JSON in UTF-8.", text.Quote(charset))
	}
	return nil
}
