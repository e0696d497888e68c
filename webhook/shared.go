package webhook

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// A Shared keeps what happens in the apps for all machines, and says which machine
// sends an app's webhooks. What changes only over all machines, whether a channel is
// occupied and who is a member of it, it adds itself: it is a cluster.Presence, too. Errors mean that it is away, unless they are ErrFenced.
type Shared interface {
	// AppendFacts adds facts after those of all machines: all or none. number is one more
	// with each call of a machine for an app; a repetition of the last call changes
	// nothing. Where calls before it were lost, StateReset comes first.
	AppendFacts(ctx context.Context, app, machine string, number uint64, facts []Fact) error

	// ReadFacts returns up to count facts after a position. index is how many facts
	// there were up to it, or UnknownIndex.
	ReadFacts(ctx context.Context, app string, after FactID, index uint64, count int) (Page, error)

	// Lead takes or renews the lease of an app's sender. An owner is a machine's ID
	// and what distinguishes its leases.
	Lead(ctx context.Context, app, owner string, lease time.Duration, known Known) (Leader, error)

	// Resign ends the lease, if it is the owner's.
	Resign(ctx context.Context, app, owner string) error

	// Records returns what is kept of an app's hooks, by their IDs.
	Records(ctx context.Context, app string) (map[string]string, error)

	// SaveRecord keeps a hook's record; "" deletes it. It is ErrFenced if the lease is
	// not the owner's any longer, or the epoch has ended.
	SaveRecord(ctx context.Context, app, owner, epoch, hook, record string) error

	// EndWriter says that a machine adds nothing more to an app. If it did not end
	// properly, all hooks get StateReset.
	EndWriter(ctx context.Context, app, machine string, properly bool) error
}

// ErrFenced is the error of a machine that is not the sender any longer.
var ErrFenced = errors.New("another machine sends the webhooks of this app")

// A Fact is something that happened in an app, on any machine. Besides the types of
// Types, there are StateReset and Test.
type Fact struct {
	ID    FactID
	Event Event  // its time is that of the ID
	Hook  string // of a Test
}

// A FactID is the place of a fact among those of its app, and its time by the clock
// of Shared. The zero value is before all.
type FactID struct {
	Milli uint64 // Unix time
	Seq   uint64
}

// ParseFactID reads what String returns.
func ParseFactID(text string) (id FactID, err error) {
	milli, seq, _ := strings.Cut(text, "-")
	var errs [2]error
	id.Milli, errs[0] = strconv.ParseUint(milli, 10, 64)
	id.Seq, errs[1] = strconv.ParseUint(seq, 10, 64)
	return id, errors.Join(errs[:]...)
}

func (id FactID) String() string {
	return strconv.FormatUint(id.Milli, 10) + "-" + strconv.FormatUint(id.Seq, 10)
}

// Compare returns -1, 0 or 1.
func (id FactID) Compare(other FactID) int {
	return cmp.Or(cmp.Compare(id.Milli, other.Milli), cmp.Compare(id.Seq, other.Seq))
}

// Time returns when it happened.
func (id FactID) Time() time.Time { return time.UnixMilli(int64(id.Milli)) }

// before returns the greatest ID that is less.
func (id FactID) before() FactID {
	switch {
	case id.Seq > 0:
		id.Seq--
	case id.Milli > 0:
		id.Milli, id.Seq = id.Milli-1, ^uint64(0)
	}
	return id
}

// MarshalText implements encoding.TextMarshaler.
func (id FactID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *FactID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseFactID(string(text))
	return err
}

// UnknownIndex is the index of a position that was not read yet.
const UnknownIndex = ^uint64(0)

// A Page is a part of an app's facts.
type Page struct {
	Facts []Fact
	Index uint64    // of the first of them: more than that of the position if facts after it are gone
	Now   time.Time // by the clock of Shared, after all facts that there are
}

// Known is what a sender knows of an app: less in Shared means that it lost data, and so
// does a last fact that is not there, although older ones are.
type Known struct {
	Epoch string
	Saved uint64 // the number of records that it saved
	Added uint64
	Last  FactID
}

// A Leader is who sends an app's webhooks.
type Leader struct {
	Owner   string
	Left    time.Duration // of the lease
	Epoch   string        // changes when data was lost
	Since   time.Time     // when the epoch began
	Saved   uint64
	Added   uint64 // facts, in total
	Last    FactID // the last of them
	Now     time.Time
	Writers []string // machines that have added facts, and have not ended
}
