package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/seed-c079cc48/caddy-realtime/keystore"
)

// Keystores is the namespace of the modules that store apps and keys.
const Keystores = "realtime.keystores"

// CheckModule returns an error that lists the available modules if name is not
// one of them.
func CheckModule(setting, namespace, name string) error {
	if _, err := caddy.GetModule(namespace + "." + name); err == nil {
		return nil
	}
	var known []string
	for _, module := range caddy.GetModules(namespace) {
		known = append(known, module.ID.Name())
	}
	cure := ""
	if name == "redis" {
		cure = ". Build it in: xcaddy build --with github.com/seed-c079cc48/caddy-realtime --with github.com/seed-c079cc48/caddy-realtime/redis"
	}
	return fmt.Errorf("unknown %s %q; this Caddy was built with: %s%s", setting, name, strings.Join(known, ", "), cure)
}

func keystoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy <keystore> <location> <keystore> <location>",
		Short: "Copies all apps from one keystore into another, for example into Redis",
		Long: `
Copies all apps, with their keys, rules, webhooks and revoked users, and when keys
were last used, from the first keystore into the second, reads everything back,
and compares. The first one is only read. The second one must be empty, or have
apps of the first only, as it has after a copy that was interrupted.

Stop all gateways that use one of them first, and run the command as the user who
runs Caddy. Locations are as in the Caddyfile, and can have placeholders, so that
a password need not be in the command line:

  caddy realtime keystore copy badger /var/lib/caddy/realtime redis 'redis://user:{env.REDIS_PASSWORD}@10.0.0.5:6379'
  caddy realtime keystore copy redis redis://10.0.0.5:6379 badger /var/lib/caddy/back
`,
		Args: copyArgs,
		RunE: runE(copyKeystore),
	}
	cmd.Flags().String("prefix", "", "The prefix of the keystore in Redis, if it is not the default")
	cmd.Flags().Bool("dry-run", false, "Only say what would be copied")
	return group("keystore", "Copies the keystore", cmd)
}

const copyExample = "caddy realtime keystore copy badger /var/lib/caddy/realtime redis redis://10.0.0.5:6379"

// copyArgs checks the arguments, and repeats none of them, because a URL can have a
// password.
func copyArgs(_ *cobra.Command, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("%d arguments, not 4: the source's keystore and location, then the destination's, for example: %s", len(args), copyExample)
	}
	return nil
}

func copyKeystore(cmd *cobra.Command, fl caddycmd.Flags, args []string) error {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: cmd.Context()})
	defer cancel()
	from, err := loadKeystore(ctx, args[0], args[1], fl.String("prefix"))
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	to, err := loadKeystore(ctx, args[2], args[3], fl.String("prefix"))
	if err != nil {
		return fmt.Errorf("the destination: %w", err)
	}
	if fl.String("prefix") != "" && args[0] != "redis" && args[2] != "redis" {
		return errors.New("--prefix is for a keystore in Redis, and none of the two is; remove it")
	}
	if from.Identity() == to.Identity() {
		return fmt.Errorf("source and destination are the same keystore, %s", from.Identity())
	}
	c := &adminClient{flags: fl, raw: fl.Bool("json"), out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr()}
	return c.copy(cmd.Context(), from, to, fl.Bool("dry-run"))
}

// keystoreName is what a module's name can be; anything else may be a URL that is in the
// wrong place.
var keystoreName = regexp.MustCompile(`^[a-z0-9_]+$`)

// loadKeystore loads a module from the words of its line in the Caddyfile.
func loadKeystore(ctx caddy.Context, name, location, prefix string) (keystore.Opener, error) {
	if !keystoreName.MatchString(name) {
		return nil, errors.New("a keystore's name was expected where something else is. For example: " + copyExample)
	}
	if err := CheckModule("keystore", Keystores, name); err != nil {
		return nil, err
	}
	if name == "badger" && strings.Contains(location, "://") {
		return nil, errors.New("badger takes a directory, not a URL. For example: " + copyExample)
	}
	tokens := []caddyfile.Token{{Text: name, Line: 1}, {Text: location, Line: 1}}
	if name == "redis" && prefix != "" {
		tokens = append(
			tokens, caddyfile.Token{Text: "{", Line: 1}, caddyfile.Token{Text: "prefix", Line: 2},
			caddyfile.Token{Text: prefix, Line: 2}, caddyfile.Token{Text: "}", Line: 3},
		)
	}
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	module, err := caddyfile.UnmarshalModule(d, Keystores+"."+name)
	if err != nil {
		return nil, err
	}
	loaded, err := ctx.LoadModuleByID(Keystores+"."+name, caddyconfig.JSON(module, nil))
	if err != nil {
		return nil, err
	}
	opener, ok := loaded.(keystore.Opener)
	if !ok {
		return nil, fmt.Errorf("the module %s.%s is of type %T, which is not a keystore", Keystores, name, loaded)
	}
	return opener, nil
}

// openToCopy opens a keystore.
func openToCopy(opener keystore.Opener, create bool) (keystore.Store, error) {
	log := caddy.Log().Named("realtime.keystore").WithOptions(zap.IncreaseLevel(zap.WarnLevel))
	open := opener.Open
	if o, ok := opener.(keystore.CopyOpener); ok {
		open = func(log *zap.Logger) (keystore.Store, error) { return o.OpenToCopy(log, create) }
	}
	store, err := open(log)
	if err != nil {
		return nil, err
	}
	if shared, ok := store.(keystore.Shared); ok {
		shared.Watch(func(string) {}) // it must be called first; Copy compares at the end
	}
	return store, nil
}

// copy copies one keystore into another, and prints what was copied.
func (c *adminClient) copy(ctx context.Context, opener, into keystore.Opener, dry bool) (err error) {
	from, err := openToCopy(opener, false)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := openToCopy(into, !dry)
	switch {
	case dry && errors.Is(err, fs.ErrNotExist): // it would be created
		to = nil
	case err != nil:
		return fmt.Errorf("the destination: %w", err)
	default:
		defer func() { err = errors.Join(err, to.Close()) }()
	}
	plan, err := keystore.PlanCopy(ctx, from, to)
	if err != nil {
		return err
	}
	if !dry {
		if err := plan.Copy(ctx, from, to); err != nil {
			return err
		}
	}
	return c.printCopy(plan, into.Identity(), dry)
}

func (c *adminClient) printCopy(plan *keystore.CopyPlan, identity string, dry bool) error {
	if c.raw {
		return c.printJSON(map[string]any{"dry_run": dry, "copied": plan.Missing, "present": plan.Present})
	}
	row := func(what string, n keystore.Counts) []string {
		return []string{what, strconv.Itoa(n.Apps), strconv.Itoa(n.Keys), strconv.Itoa(n.Rules), strconv.Itoa(n.Webhooks), strconv.Itoa(n.RevokedUsers)}
	}
	done := "copied"
	if dry {
		done = "to copy"
	}
	err := c.table([]string{"", "APPS", "KEYS", "RULES", "WEBHOOKS", "REVOKED USERS"}, row(done, plan.Missing), row("already there", plan.Present))
	if dry {
		c.note("Nothing was changed. Without --dry-run, this is copied into %s.", identity)
	} else {
		c.note("%s has everything that the source has: it was read back and compared.", identity)
	}
	return err
}
