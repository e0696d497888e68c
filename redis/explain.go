package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

const tooManyClients = "max number of clients reached"

// unknownProtocol is in the client's error for an answer that is not Redis'.
const unknownProtocol = "received unknown message type"

const missingRight = "the user lacks a right; docs/configuration.md has the line that allows all that is needed: ACL SETUSER"

// cures are what to do about Redis' errors, by how their texts begin.
var cures = []struct{ prefix, cure string }{
	{"WRONGPASS", "it refuses the user or the password; correct them in the URL"},
	{"NOAUTH", "it requires a password; put it into the URL: redis://user:password@host:6379, or redis://:password@host:6379 for that of requirepass"},
	{"NOPERM", missingRight},
	{"ACL failure in script", missingRight},
	{"can't run this command", missingRight}, // in a script of Redis 7.0
	{"READONLY", "it is a replica; name the primary in the URL, or Sentinel: ?master_set=<name>"},
	{"OOM", "its memory is full; raise maxmemory"},
	{"MISCONF", "it cannot write to its disk; free some space, see its log"},
	{"BUSY", "another application's script keeps it from answering; wait for its end, or end it with SCRIPT KILL or FUNCTION KILL"},
	{"WRONGTYPE", "another application uses a key of that name; choose another prefix"},
	{tooManyClients, "it has no free connection; raise maxclients, or close some"},
	{"LOADING", "it is starting; wait until it has read its data"},
	{"CLUSTERDOWN", "the cluster is not complete; see CLUSTER INFO"},
	{"TRYAGAIN", "the cluster moves a slot; wait until that is done, see CLUSTER NODES"},
	{"MASTERDOWN", "it is a replica without its primary"},
	{"SELECT is not allowed in cluster mode", "Cluster has the database 0 only; remove the number from the URL, and choose another prefix instead"},
	{"DB index is out of range", "it has no database of that number; choose a lower one, or raise its databases"},
	{"No such master with that name", "the sentinels watch no primary of that name; correct master_set, see SENTINEL MASTERS"},
	{"unknown command 'SENTINEL'", "it is no sentinel; name the sentinels in the URL, or remove master_set"},
	{"unknown command 'EVAL'", "it is a sentinel; add ?master_set=<name> to the URL"},
	{"cluster support disabled", "it is no node of Cluster; remove addr from the URL, or add master_set=<name> if it names sentinels"},
	{"acl_check_cmd", "Redis 7.0 or Valkey is needed; upgrade it"}, // unknown to scripts of earlier versions
}

// temporary are errors of a server that is there but serves nobody now. One that cannot
// write to its disk refuses even a PING.
var temporary = []string{"LOADING", "BUSY", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", tooManyClients}

// explain turns an error of the client into one that names the server and the cure. Such
// an error is not explained twice.
func (s *Server) explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*serverError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*versionError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*rightsError](err); ok {
		return err
	}
	at := strings.Join(s.option.InitAddress, ", ")
	if answer := answerOf(err); answer != "" {
		for _, c := range cures {
			if strings.Contains(answer, c.prefix) { // a script's error begins with ERR
				// A script's hash and line, and a command's arguments, tell an operator nothing.
				why, _, _ := strings.Cut(answer, " script: ")
				why, _, _ = strings.Cut(why, ", with args beginning")
				return &serverError{err: err, text: fmt.Sprintf("redis at %s: %s: %s", at, s.accessCure(c.prefix, c.cure), strings.TrimSuffix(why, "."))}
			}
		}
		return &serverError{err: err, text: fmt.Sprintf("redis at %s: %s", at, answer)}
	}
	if cure, wrong := tlsCure(err); cure != "" {
		return &serverError{err, fmt.Sprintf("redis at %s: %s: %v", at, cure, err), wrong}
	}
	switch {
	case errors.Is(err, rueidis.ErrNoSlot):
		return &serverError{err: err, text: fmt.Sprintf("redis at %s: the cluster is not complete; see CLUSTER INFO: %v", at, err)}
	case strings.Contains(err.Error(), unknownProtocol):
		return &serverError{err, fmt.Sprintf("redis at %s: what answers there is not Redis; correct host and port in the URL: %v", at, err), true}
	case errors.Is(err, errFormer):
		return &serverError{err: err, text: fmt.Sprintf("redis at %s: %v; it is made again", at, err)}
	case errors.Is(err, errUnconfirmed):
		return &serverError{err: err, text: fmt.Sprintf("redis at %s: no replica has the change after %s, and a failover can lose it: start a replica, see INFO replication, or remove durability replica", at, replicaTime)}
	case errors.Is(err, context.DeadlineExceeded):
		return &serverError{err: err, text: fmt.Sprintf("redis at %s does not answer; check that it runs: %v", at, err)}
	case errors.Is(err, context.Canceled):
		return &serverError{err: err, text: fmt.Sprintf("redis at %s: %v", at, err)}
	}
	return &serverError{err: err, text: fmt.Sprintf("redis at %s cannot be reached; check that it runs, and that this machine may connect to it: %v", at, err)}
}

// accessCure returns the cure for a password that is missing or wrong where the URL says
// more about it than the answer, otherwise the usual one.
func (s *Server) accessCure(prefix, usual string) string {
	switch {
	case prefix != "NOAUTH" && prefix != "WRONGPASS":
		return usual
	case s.option.Sentinel.MasterSet != "":
		return "it refuses the user or the password, or a sentinel does; the servers' stand before the @ of the URL, the sentinels' are sentinel_user and sentinel_password"
	case s.option.Username != "" && s.option.Password == "":
		return "it refuses a user without a password; for a password without a user, write redis://:password@host:6379"
	}
	return usual
}

// A serverError has the client's error, and a text with the cure.
type serverError struct {
	err   error
	text  string
	wrong bool // the configuration is, although nothing was answered
}

func (e *serverError) Error() string { return e.text }
func (e *serverError) Unwrap() error { return e.err }

// answerOf returns the text of an error that Redis answered, "" for others.
func answerOf(err error) string {
	var answer *rueidis.RedisError
	if !errors.As(err, &answer) || answer.IsNil() {
		return ""
	}
	return answer.Error()
}

// unreachable reports whether an explained error means that Redis is away, rather than
// that the configuration is wrong, or what it keeps.
func unreachable(err error) bool {
	explained, ok := errors.AsType[*serverError](err)
	if !ok || explained.wrong {
		return false
	}
	answer := answerOf(err)
	return answer == "" || slices.ContainsFunc(temporary, func(prefix string) bool { return strings.HasPrefix(answer, prefix) })
}
