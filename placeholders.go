package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
)

// hasPlaceholder reports whether a value is resolved only when the configuration
// is loaded.
func hasPlaceholder(values ...string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "{") })
}

// checkPlaceholders rejects placeholders that have no value when a configuration
// is loaded, for example those of a request. It does not resolve any, so
// `caddy adapt` needs neither the variables nor the files of the server.
func checkPlaceholders(name string, values []string) error {
	for _, v := range values {
		for rest := strings.ReplaceAll(v, `\{`, ""); ; {
			_, after, found := strings.Cut(rest, "{")
			if !found {
				break
			}
			key, _, _ := strings.Cut(after, "}")
			if !slices.ContainsFunc([]string{"env.", "file.", "system.", "time.now"}, func(known string) bool { return strings.HasPrefix(key, known) }) {
				return errPlaceholder(name, key)
			}
			rest = after
		}
	}
	return nil
}

func errPlaceholder(name, key string) error {
	return fmt.Errorf("%s: {%s} has no value when the configuration is loaded; a setting takes {env.NAME}, {file./path}, {system.…} and {time.now…}, not what a request has", name, key)
}

// replaceSetting returns a setting's value with its placeholders replaced.
func replaceSetting(name, value string) (string, error) {
	if err := checkPlaceholders(name, []string{value}); err != nil {
		return "", err
	}
	replaced, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return replaced, nil
}

// postpone stores the line of a setting that has placeholders.
func (a *App) postpone(name string, args []string) error {
	setting, ok := findSetting(name)
	if !ok {
		return a.set(name, args) // which knows what to say
	}
	most := 1
	if setting.rate {
		most = 2
	}
	if len(args) > most {
		return fmt.Errorf("%s has an extra value, %q", name, args[most])
	}
	if err := checkPlaceholders(name, args); err != nil {
		return err
	}
	text, err := json.Marshal(strings.Join(args, " "))
	if a.postponed == nil {
		a.postponed = make(map[string]json.RawMessage)
	}
	a.postponed[name] = text
	return err
}

// replace replaces the app's placeholders, and sets what had to wait for it.
func (a *App) replace() error {
	for _, setting := range settingTable() {
		name := setting.name
		value, ok := a.postponed[name]
		if !ok {
			continue
		}
		args, err := settingArgs(setting, value)
		if err != nil {
			return err
		}
		if err := a.set(name, args); err != nil {
			return err
		}
	}
	a.postponed = nil
	return nil
}

// settingArgs returns what a postponed setting would have on its line, were
// its values known.
func settingArgs(setting setting, value json.RawMessage) ([]string, error) {
	name := setting.name
	var text string
	if json.Unmarshal(value, &text) == nil {
		text, err := replaceSetting(name, text)
		if err != nil || !setting.rate {
			return []string{text}, err
		}
		return strings.Fields(text), nil
	}
	// A rate with placeholders in its fields.
	of := "count"
	if name == "rate_limit" {
		of = "publishes"
	}
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return nil, fmt.Errorf("%s cannot be %s", name, value)
	}
	var args []string
	for _, field := range []string{of, "window"} {
		v, ok := fields[field]
		if !ok {
			continue
		}
		delete(fields, field)
		written := fmt.Sprint(v)
		if _, isNumber := v.(json.Number); isNumber && field == "window" {
			written += "ns" // as caddy.Duration reads numbers
		}
		text, err := replaceSetting(name+"'s "+field, written)
		if err != nil {
			return nil, err
		}
		args = append(args, text)
	}
	for field := range fields {
		return nil, fmt.Errorf("%s has no field %q; its fields are %s and window", name, field, of)
	}
	if len(args) == 2 && args[0] == "0" {
		args = args[:1] // no limit, whatever the window
	}
	return args, nil
}

// plainApp is an App with the default JSON encoding.
type plainApp App

// UnmarshalJSON postpones settings with placeholders until Provision.
func (a *App) UnmarshalJSON(text []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	for name, value := range fields {
		if _, ok := findSetting(name); !ok || !textHasPlaceholder(value) {
			continue
		}
		if a.postponed == nil {
			a.postponed = make(map[string]json.RawMessage)
		}
		a.postponed[name] = value
		delete(fields, name)
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return caddy.StrictUnmarshalJSON(rest, (*plainApp)(a))
}

// textHasPlaceholder reports whether a JSON value is a string with a
// placeholder, or an object with such a string.
func textHasPlaceholder(value json.RawMessage) bool {
	var decoded any
	if json.Unmarshal(value, &decoded) != nil {
		return false
	}
	switch v := decoded.(type) {
	case string:
		return hasPlaceholder(v)
	case map[string]any:
		for _, field := range v {
			if text, ok := field.(string); ok && hasPlaceholder(text) {
				return true
			}
		}
	}
	return false
}

// MarshalJSON writes placeholders unresolved: their values can be secrets.
func (a *App) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal((*plainApp)(a))
	if err != nil || len(a.postponed) == 0 {
		return text, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	maps.Copy(fields, a.postponed)
	return json.Marshal(fields)
}

// hasPlaceholder reports whether any setting of the site has a placeholder.
func (h *Handler) hasPlaceholder() bool {
	return hasPlaceholder(h.PublishPath, h.SocketPath, h.DocsPath, h.APIPath) || hasPlaceholder(h.Origins...)
}

// replace replaces the handler's placeholders. A placeholder in origins can
// resolve to several, separated by spaces or commas.
func (h *Handler) replace() error {
	var errs [5]error
	h.PublishPath, errs[0] = replaceSetting("publish_path", h.PublishPath)
	h.SocketPath, errs[1] = replaceSetting("socket_path", h.SocketPath)
	h.DocsPath, errs[2] = replaceSetting("docs_path", h.DocsPath)
	h.APIPath, errs[4] = replaceSetting("api_path", h.APIPath)
	var list []string
	for _, origin := range h.Origins {
		if !hasPlaceholder(origin) {
			list = append(list, origin)
			continue
		}
		text, err := replaceSetting("origins", origin)
		several := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		if err == nil && len(several) == 0 { // an empty list would allow any origin
			err = fmt.Errorf("origins: %s has no origin; set it, or write * for any", origin)
		}
		errs[3] = errors.Join(errs[3], err)
		list = append(list, several...)
	}
	h.Origins = list
	return errors.Join(errs[:]...)
}
