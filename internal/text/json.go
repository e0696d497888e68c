package text

import (
	"bytes"
	"encoding/json"
)

// JSON is like [json.Marshal] without HTML escapes: people read the result, and data
// stays as given.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
