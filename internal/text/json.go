package text

import (
	"bytes"
	"encoding/json"
)

// JSON is [json.Marshal] without escapes for HTML: people read it, and data
// stays as it was given.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
