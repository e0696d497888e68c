package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// Commands that the broker and the keystore cannot do without, each with arguments with
// which it is checked: KEY and CHANNEL are names that begin with the prefix. EVAL is not
// among them, because the check itself needs it. The keystore can do without PUBLISH and
// SUBSCRIBE, and both without INFO and CONFIG GET.
var (
	brokerCommands = []string{
		"PING", "EVALSHA x 1 KEY", "TIME", "GET KEY", "SET KEY x", "GETRANGE KEY 0 1", "DEL KEY", "UNLINK KEY", "PTTL KEY", "PEXPIRE KEY 1",
		"HMGET KEY e o", "HSET KEY e x", "HGET KEY e", "HGETALL KEY", "HDEL KEY e", "HINCRBY KEY e 1", "HLEN KEY",
		"SADD KEY x", "SREM KEY x", "SMEMBERS KEY",
		"LINDEX KEY 0", "LLEN KEY", "LPOP KEY", "LSET KEY 0 x", "LTRIM KEY 0 1", "RPUSH KEY x", "XADD KEY 1-0 m x", "XRANGE KEY - +", "XREVRANGE KEY + -", "XINFO STREAM KEY",
		"SPUBLISH CHANNEL x", "SSUBSCRIBE CHANNEL", "SUNSUBSCRIBE CHANNEL",
	}
	keystoreCommands = []string{
		"PING", "EVALSHA x 1 KEY", "TIME", "GET KEY", "SET KEY x", "DEL KEY", "EXISTS KEY", "INCR KEY", "HGETALL KEY", "HSET KEY e x",
		"ZADD KEY 1 x", "ZREM KEY x", "ZSCORE KEY x", "ZRANGE KEY 0 -1", "ZRANGEBYSCORE KEY 0 1",
	}
)

// scriptRights returns which of the commands in ARGV the user may not run.
const scriptRights = `
local denied = {}
for i, command in ipairs(ARGV) do
	local words = {}
	for word in string.gmatch(command, '%S+') do words[#words + 1] = word end
	denied[#denied + 1] = not redis.acl_check_cmd(unpack(words)) and words[1] or nil
end
return denied
`

// A rightsError is that of a user who may not run some commands.
type rightsError struct{ text string }

func (e *rightsError) Error() string { return e.text }

// checkRights returns an error that names the commands that the user lacks.
func (s *Server) checkRights(ctx context.Context, client rueidis.Client, commands []string) error {
	commands = slices.Clip(commands)
	if client.Mode() == rueidis.ClientModeCluster {
		commands = append(commands, "ASKING") // for keys of a slot that is being moved
	}
	if s.Durability != "" {
		commands = append(commands, "WAIT 1 1")
	}
	names := strings.NewReplacer("KEY", s.Prefix+":{x}", "CHANNEL", s.Prefix+":{x}")
	args := make([]string, 0, len(commands))
	for _, command := range commands {
		args = append(args, names.Replace(command))
	}
	denied, err := client.Do(ctx, client.B().Eval().Script(scriptRights).Numkeys(0).Arg(args...).Build()).AsStrSlice()
	if err != nil {
		return s.explain(err)
	}
	if len(denied) == 0 {
		return nil
	}
	user := s.option.Username
	if user == "" {
		user = "default"
	}
	return &rightsError{fmt.Sprintf("redis at %s: the user %s may not run %s on keys and channels that begin with %s; allow it: ACL SETUSER %s ~%s:* &%s:* +%s",
		strings.Join(s.option.InitAddress, ", "), user, strings.Join(denied, ", "), s.Prefix,
		user, s.Prefix, s.Prefix, strings.ToLower(strings.Join(denied, " +")))}
}
