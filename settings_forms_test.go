package realtime

import (
	"cmp"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/seed-c079cc48/caddy-realtime/access"
)

// forms are the two ways to write a setting's value.
type forms struct{ caddyfile, json string }

// settingForms are the bounds of a setting. Values that do not apply are empty.
type settingForms struct {
	def, none, min, max forms
	under, over         forms  // rejected in both forms
	with                string // other settings that make the bound reachable
	withJSON            string
}

func durationForms() settingForms {
	return settingForms{
		min: forms{"10ms", "10000000"}, max: forms{"1d", "86400000000000"},
		under: forms{"9ms", "9000000"}, over: forms{"25h", "90000000000000"},
	}
}

func (f settingForms) byDefault(caddyfile, json string) settingForms {
	f.def = forms{caddyfile, json}
	return f
}

func rateForms(of string) settingForms {
	rate := func(n, window string) forms {
		return forms{n + " " + window, `{"` + of + `":` + n + `,"window":"` + window + `"}`}
	}
	return settingForms{
		none: forms{"0", `{"` + of + `":0}`},
		min:  rate("1", "10ms"), max: rate("1000000", "24h"),
		under: rate("-1", "1s"), over: rate("1000001", "1s"),
	}
}

// globalForms has a row for each setting of the global option.
func globalForms() map[string]settingForms {
	return map[string]settingForms{
		"broker":        {min: forms{"memory", `{"type":"memory"}`}, under: forms{"carrier_pigeon", `{"type":"carrier_pigeon"}`}},
		"keystore":      {min: forms{"badger /x", `{"type":"badger","path":"/x"}`}, under: forms{"redis /x", `{"type":"redis","path":"/x"}`}},
		"rate_limit":    rateForms("publishes").byDefault("600 1m", `{"publishes":600,"window":"1m"}`),
		"connect_rate":  rateForms("count").byDefault("0", `{"count":0}`),
		"message_rate":  rateForms("count").byDefault("1000 10s", `{"count":1000,"window":"10s"}`),
		"auth_failures": rateForms("count").byDefault("30 1m", `{"count":30,"window":"1m"}`),
		"history": {
			def: forms{"100 2m", `{"count":100,"window":"2m"}`}, none: forms{"0", `{"count":0}`},
			min: forms{"1 10ms", `{"count":1,"window":"10ms"}`}, max: forms{"10000 24h", `{"count":10000,"window":"24h"}`},
			under: forms{"-1 1s", `{"count":-1,"window":"1s"}`}, over: forms{"10001 1s", `{"count":10001,"window":"1s"}`},
		},
		"history_memory": {
			def: forms{"64MiB", "67108864"}, min: forms{"1B", "1"}, max: forms{"1GiB", "1073741824"},
			under: forms{"-1", "-1"}, over: forms{"1073741825", "1073741825"},
		},
		"recovery": {
			def: forms{"2m", `"2m"`}, none: forms{"0s", "0"}, min: forms{"10ms", "10000000"}, max: forms{"1d", "86400000000000"},
			under: forms{"9ms", "9000000"}, over: forms{"25h", "90000000000000"},
		},
		"presence_grace": {
			def: forms{"5s", `"5s"`}, none: forms{"0s", "0"}, min: forms{"10ms", "10000000"}, max: forms{"1d", "86400000000000"},
			under: forms{"9ms", "9000000"}, over: forms{"25h", "90000000000000"},
		},
		"webhook_targets": {
			def: forms{"public", `"public"`}, max: forms{"any", `"any"`}, under: forms{"private", `"private"`}, over: forms{"all", `"all"`},
		},
		"node_address":  {min: forms{"http://10.0.1.7:9001", `"http://10.0.1.7:9001"`}, under: forms{"https://10.0.1.7:9001", `"https://10.0.1.7:9001"`}, over: forms{"http://10.0.1.7", `"http://10.0.1.7"`}},
		"recovery_file": {none: forms{"off", `"off"`}, min: forms{"/x", `"/x"`}},
		"max_body": {
			def: forms{"1MiB", "1048576"}, min: forms{"1B", "1"}, max: forms{"1GiB", "1073741824"},
			under: forms{"-1", "-1"}, over: forms{"1073741825", "1073741825"}, with: "max_queue 1GiB", withJSON: `"max_queue":1073741824`,
		},
		"max_queue": {
			def: forms{"1MiB", "1048576"}, min: forms{"1B", "1"}, max: forms{"1GiB", "1073741824"},
			under: forms{"-1", "-1"}, over: forms{"1073741825", "1073741825"}, with: "max_body 1", withJSON: `"max_body":1`,
		},
		"max_packet": {
			def: forms{"64KiB", "65536"}, min: forms{"1KiB", "1024"}, max: forms{"16MiB", "16777216"},
			under: forms{"1023", "1023"}, over: forms{"16777217", "16777217"},
		},
		"max_channels":   {def: forms{"100", "100"}, min: forms{"1", "1"}, max: forms{"1000000", "1000000"}, under: forms{"-1", "-1"}, over: forms{"1000001", "1000001"}},
		"max_connecting": {def: forms{"5000", "5000"}, min: forms{"1", "1"}, max: forms{"1000000", "1000000"}, under: forms{"-1", "-1"}, over: forms{"1000001", "1000001"}},
		"max_connections": {
			def: forms{strconv.Itoa(defaultMaxConnections()), strconv.Itoa(defaultMaxConnections())}, none: forms{"0", "0"},
			min: forms{"1", "1"}, max: forms{"1000000", "1000000"}, under: forms{"-1", "-1"}, over: forms{"1000001", "1000001"},
		},
		"max_connections_per_ip": {
			def: forms{"0", "0"}, none: forms{"0", "0"},
			min: forms{"1", "1"}, max: forms{"1000000", "1000000"}, under: forms{"-1", "-1"}, over: forms{"1000001", "1000001"},
		},
		"body_timeout":    durationForms().byDefault("10s", `"10s"`),
		"ping_interval":   durationForms().byDefault("25s", `"25s"`),
		"ping_timeout":    durationForms().byDefault("20s", `"20s"`),
		"connect_timeout": durationForms().byDefault("10s", `"10s"`),
		"write_timeout":   durationForms().byDefault("10s", `"10s"`),
		"drain": {
			def: forms{"15s", `"15s"`}, none: forms{"0s", "0"}, min: forms{"1ns", "1"},
			max: forms{"1d", "86400000000000"}, over: forms{"25h", "90000000000000"},
		},
	}
}

func pathForms(def string) settingForms {
	return settingForms{def: forms{def, strconv.Quote(def)}, min: forms{"/a", `"/a"`}, max: forms{"/a/b/c.d", `"/a/b/c.d"`}, under: forms{"a", `"a"`}, over: forms{"/a*", `"/a*"`}}
}

// siteForms has a row for each setting of the directive realtime.
func siteForms() map[string]settingForms {
	optional := pathForms("")
	optional.def = forms{}
	return map[string]settingForms{
		"publish_path": pathForms("/publish"),
		"socket_path":  pathForms("/socket.io"),
		"api_path":     optional,
		"docs_path":    optional,
		"origins": {
			def: forms{"*", `["*"]`}, min: forms{"null", `["null"]`}, max: forms{"https://a.example https://*.b.example:8443", `["https://a.example","https://*.b.example:8443"]`},
			under: forms{"a.example", `["a.example"]`}, over: forms{"* https://a.example", `["*","https://a.example"]`},
		},
	}
}

// TestCaddyfileAndJSONSayTheSame compares every setting's JSON form with its Caddyfile
// form: default, none, minimum and maximum, and rejected values. It then repeats this
// with placeholders for the values.
func TestCaddyfileAndJSONSayTheSame(t *testing.T) {
	rows := globalForms()
	for _, name := range settingNames(reflect.TypeFor[App]()) {
		row, ok := rows[name]
		if !ok {
			t.Errorf("the global option's %s has no row", name)
			continue
		}
		t.Run(name, func(t *testing.T) { checkForms(t, name, row, loadGlobal) })
	}
	rows = siteForms()
	for _, name := range settingNames(reflect.TypeFor[Handler]()) {
		row, ok := rows[name]
		if !ok {
			t.Errorf("the directive's %s has no row", name)
			continue
		}
		t.Run(name, func(t *testing.T) { checkForms(t, name, row, loadSite) })
	}
	for _, name := range settingNames(reflect.TypeFor[Portal]()) {
		if name != "path" {
			t.Errorf("realtime_portal's %s has no row", name)
		}
	}
	t.Run("portal path", func(t *testing.T) { checkForms(t, "path", pathForms("/realtime"), loadPortal) })
}

// settingNames returns the JSON names of a module's settings.
func settingNames(module reflect.Type) []string {
	var names []string
	for _, field := range reflect.VisibleFields(module) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// A loader loads a configuration from a Caddyfile's block, or from JSON if the block is
// empty. It returns the configuration in force.
type loader func(caddyfile, json string) (any, error)

func checkForms(t *testing.T, name string, row settingForms, load loader) {
	t.Helper()
	comma := func(a, b string) string { return strings.Trim(a+","+b, ",") }
	for what, f := range map[string]forms{"default": row.def, "none": row.none, "least": row.min, "most": row.max} {
		if f == (forms{}) {
			continue
		}
		fromJSON, err := load("", "{"+comma(`"`+name+`":`+f.json, row.withJSON)+"}")
		if err != nil {
			t.Errorf("%s, JSON %s: %v", what, f.json, err)
			continue
		}
		fromCaddyfile, err := load("x {\n"+name+" "+f.caddyfile+"\n"+row.with+"\n}", "")
		if err != nil || !reflect.DeepEqual(fromJSON, fromCaddyfile) {
			t.Errorf("%s, Caddyfile %s: %+v, %v, want %+v as JSON %s has it", what, f.caddyfile, fromCaddyfile, err, fromJSON, f.json)
		}
		if what == "default" {
			unset, err := load("", "{"+row.withJSON+"}")
			if err != nil || !reflect.DeepEqual(fromJSON, unset) {
				t.Errorf("not set: %+v, %v, want %+v", unset, err, fromJSON)
			}
		}
		// Repeat with placeholders for the values.
		line, text := name, f.json
		for i, value := range strings.Fields(f.caddyfile) {
			variable := "REALTIME_TEST_" + strconv.Itoa(i)
			t.Setenv(variable, value)
			line += " {env." + variable + "}"
			quoted := strconv.Quote("{env." + variable + "}")
			switch {
			case !strings.ContainsAny(f.json, "{["):
				text = quoted
			case strings.Contains(text, strconv.Quote(value)):
				text = strings.Replace(text, strconv.Quote(value), quoted, 1)
			default:
				text = strings.Replace(text, ":"+value, ":"+quoted, 1)
			}
		}
		if got, err := load("x {\n"+line+"\n"+row.with+"\n}", ""); err != nil || !reflect.DeepEqual(got, fromJSON) {
			t.Errorf("%s, Caddyfile %s: %+v, %v, want %+v", what, line, got, err, fromJSON)
		}
		if got, err := load("", "{"+comma(`"`+name+`":`+text, row.withJSON)+"}"); err != nil || !reflect.DeepEqual(got, fromJSON) {
			t.Errorf("%s, JSON %s: %+v, %v, want %+v", what, text, got, err, fromJSON)
		}
	}
	for _, f := range []forms{row.under, row.over} {
		if f == (forms{}) {
			continue
		}
		if got, err := load("", "{"+comma(`"`+name+`":`+f.json, row.withJSON)+"}"); err == nil {
			t.Errorf("JSON %s is %+v", f.json, got)
		}
		if got, err := load("x {\n"+name+" "+f.caddyfile+"\n"+row.with+"\n}", ""); err == nil {
			t.Errorf("Caddyfile %s is %+v", f.caddyfile, got)
		}
	}
}

// unmarshal reads a module like Caddy, which converts a Caddyfile to JSON first.
func unmarshal(module, again caddyfile.Unmarshaler, block, text string) error {
	if block == "" {
		return caddy.StrictUnmarshalJSON([]byte(text), again)
	}
	tokens, err := caddyfile.Tokenize([]byte(block), "Caddyfile")
	if err != nil {
		return err
	}
	if err := module.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
		return err
	}
	adapted, err := json.Marshal(module)
	if err != nil {
		return err
	}
	return caddy.StrictUnmarshalJSON(adapted, again)
}

// emptyConfig is a context of a configuration without apps.
var emptyConfig = sync.OnceValues(func() (caddy.Context, error) {
	return caddy.ProvisionContext(&caddy.Config{})
})

func loadGlobal(block, text string) (any, error) {
	app := new(App)
	if err := unmarshal(new(App), app, block, text); err != nil {
		return nil, err
	}
	config, err := emptyConfig()
	if err != nil {
		return nil, err
	}
	ctx, cancel := caddy.NewContext(config)
	defer cancel()
	if err := app.Provision(ctx); err != nil {
		return nil, err
	}
	if err := app.Validate(); err != nil {
		return nil, err
	}
	return []any{app.runtimeKey(), app.Settings}, nil
}

func loadSite(block, text string) (any, error) {
	h := new(Handler)
	if err := unmarshal(new(Handler), h, block, text); err != nil {
		return nil, err
	}
	if err := h.replace(); err != nil {
		return nil, err
	}
	if err := h.validate(); err != nil {
		return nil, err
	}
	_, err := access.ParseOrigins(h.Origins)
	origins := strings.Join(h.Origins, " ")
	if origins == "*" { // the same as no origins
		origins = ""
	}
	return []any{cmp.Or(h.PublishPath, defaultPublishPath), cmp.Or(h.SocketPath, defaultSocketPath), h.DocsPath, origins}, err
}

func loadPortal(block, text string) (any, error) {
	p := new(Portal)
	if err := unmarshal(new(Portal), p, block, text); err != nil {
		return nil, err
	}
	return p.Path, p.setPath()
}

func TestPlaceholdersAreReplacedWhenTheConfigurationIsLoaded(t *testing.T) {
	t.Setenv("REALTIME_TEST_RATE", "600 1m")
	t.Setenv("REALTIME_TEST_NONE", "0")
	t.Setenv("REALTIME_TEST_WORD", "many")
	t.Setenv("REALTIME_TEST_LARGE", "2GiB")
	t.Setenv("REALTIME_TEST_BLANK", " ")
	t.Setenv("REALTIME_TEST_LIST", "https://a.example, https://b.example")
	t.Setenv("REALTIME_TEST_HOST", "a.example")
	t.Setenv("REALTIME_TEST_BRACES", "/{http.request.host}")
	for _, c := range []struct{ name, block, says string }{
		{"whole rate", "rate_limit {env.REALTIME_TEST_RATE}", ""},
		{"no rate", "rate_limit {env.REALTIME_TEST_NONE}", ""},
		{"rate of words", "rate_limit {env.REALTIME_TEST_WORD} 1m", `"many" is not a number of publishes`},
		{"too large", "max_body {env.REALTIME_TEST_LARGE}", "max_body is 2.0 GiB; it must be from"},
		{"not set", "max_body {env.REALTIME_TEST_NOT_SET}", "max_body: evaluated placeholder {env.REALTIME_TEST_NOT_SET} is empty"},
		{"queue against body", "max_body 2MiB\nmax_queue {env.REALTIME_TEST_SMALL}", "max_queue: evaluated placeholder"},
	} {
		_, err := loadGlobal("realtime {\n"+c.block+"\n}", "")
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
	for _, c := range []struct{ name, block, says string }{
		{"several origins", "origins {env.REALTIME_TEST_LIST}", ""},
		{"part of an origin", "origins https://{env.REALTIME_TEST_HOST}:8443", ""},
		{"no origin", "origins {env.REALTIME_TEST_BLANK}", "has no origin; set it, or write * for any"},
		{"origin without scheme", "origins {env.REALTIME_TEST_HOST}", "write https://a.example"},
		{"placeholder of a placeholder", "docs_path {env.REALTIME_TEST_BRACES}", "without wildcards or placeholders"},
		{"same paths", "docs_path /{env.REALTIME_TEST_WORD}\npublish_path /many", "are both /many"},
	} {
		_, err := loadSite("realtime {\n"+c.block+"\n}", "")
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
	for text, says := range map[string]string{
		`{"max_body":"{http.request.host}"}`: "max_body: {http.request.host} has no value when the configuration is loaded",
		`{"rate_limit":{"count":"{env.X}"}}`: `rate_limit has no field "count"; its fields are publishes and window`,
		`{"max_body":{"a":"{env.X}"}}`:       "max_body",
		`{"max_bodies":"{env.X}"}`:           `unknown field "max_bodies"`,
		`{"max_body":"1MiB"}`:                "cannot unmarshal string",
		`{"connect_rate":{"count":"{env.REALTIME_TEST_NONE}","window":60000000000}}`: "",
	} {
		_, err := loadGlobal("", text)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

// Secrets in the environment stay out of the adapted JSON, which Caddy writes to disk
// and shows on the admin endpoint.
func TestAdaptedConfigurationHasPlaceholdersAndNotTheirValues(t *testing.T) {
	t.Setenv("REALTIME_TEST_SECRET", "5")
	adapted, err := adapt("{\n\trealtime {\n\t\tmax_channels {env.REALTIME_TEST_SECRET}\n\t\trate_limit {env.REALTIME_TEST_SECRET} 1m\n\t}\n}\n" +
		"example.com {\n\trealtime {\n\t\tdocs_path /{env.REALTIME_TEST_SECRET}\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"max_channels":"{env.REALTIME_TEST_SECRET}"`, `"rate_limit":"{env.REALTIME_TEST_SECRET} 1m"`, `"docs_path":"/{env.REALTIME_TEST_SECRET}"`} {
		if !strings.Contains(string(adapted), want) {
			t.Errorf("%s lacks %s", adapted, want)
		}
	}
}

func TestDrainOfOlderConfigurationsStaysNone(t *testing.T) {
	for _, text := range []string{`{"drain":-1}`, `{"drain":0}`, `{"drain":"0s"}`} {
		app := new(App)
		if err := caddy.StrictUnmarshalJSON([]byte(text), app); err != nil {
			t.Fatal(err)
		}
		app.setDefaults()
		if err := app.Validate(); err != nil || time.Duration(*app.Drain) > 0 {
			t.Errorf("%s: a drain of %s, %v", text, time.Duration(*app.Drain), err)
		}
	}
}
