package redis

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-c079cc48/caddy-realtime/cluster"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestEachMachineAnswers(t *testing.T) {
	all := ofNodes(t, startRedis(t).url(), time.Hour, "a", "b", "c")
	for _, from := range all {
		for _, to := range all {
			for _, body := range []string{"", "\x00\xff body", strings.Repeat("x", 100_000)} {
				answer, err := ask(from, to, "who:is it", body)
				if err != nil || answer != to.id+" who:is it "+body {
					t.Errorf("%d bytes, %v", len(answer), err)
				}
			}
		}
		answers, err := from.AskAll(t.Context(), "who", nil)
		if err != nil || len(answers) != 2 {
			t.Fatal(answers, err)
		}
		for _, a := range answers {
			if a.Machine == from.id || string(a.Body) != a.Machine+" who " {
				t.Error(a)
			}
		}
	}
}

func TestLargeQuestionsAndAnswersArrive(t *testing.T) {
	t.Parallel()
	all := ofNodes(t, startRedis(t).url(), time.Hour, "a", "b")
	all[1].answers = func(_ context.Context, _ string, body []byte) ([]byte, error) { return body, nil }
	body := bytes.Repeat([]byte("x"), maxQuestion)
	until(t, "16 MB arrive", func() bool { // a busy machine can lose its connection meanwhile
		ctx, cancel := context.WithTimeout(t.Context(), patience/3)
		defer cancel()
		answer, err := all[0].Ask(ctx, all[1].id, "echo", body)
		return err == nil && bytes.Equal(answer, body)
	})
}

func TestTooLargeQuestionsAndAnswersAreRefused(t *testing.T) {
	t.Parallel()
	all := ofNodes(t, startRedis(t).url(), time.Hour, "a", "b")
	all[1].answers = func(context.Context, string, []byte) ([]byte, error) { return make([]byte, maxQuestion+1), nil }
	for _, size := range []int{0, maxQuestion + 1} {
		_, err := ask(all[0], all[1], "list", strings.Repeat("x", size))
		if err == nil || !strings.Contains(err.Error(), "16 MB") || !strings.Contains(err.Error(), "list") {
			t.Error(err)
		}
	}
}

func TestErrorsAndPanicsComeBackAsErrors(t *testing.T) {
	all := ofNodes(t, startRedis(t).url(), time.Hour, "a", "b")
	core, logs := observer.New(zap.ErrorLevel)
	for _, n := range all {
		n.log = zap.New(core)
		n.answers = func(_ context.Context, question string, _ []byte) ([]byte, error) {
			if question == "panic" {
				panic("at the disco")
			}
			return nil, errors.New("there is no " + question)
		}
	}
	for i, to := range all {
		if _, err := ask(all[0], to, "tea", ""); err == nil || err.Error() != "there is no tea" {
			t.Error(err)
		}
		if _, err := ask(all[0], to, "panic", ""); err == nil || strings.Contains(err.Error(), "disco") || !strings.Contains(err.Error(), to.id) {
			t.Error(err)
		}
		if n := len(logs.FilterField(zap.Any("panic", "at the disco")).All()); n != i+1 {
			t.Errorf("%d log lines of %d panics", n, i+1)
		}
	}
	_, err := all[0].AskAll(t.Context(), "tea", nil)
	if err == nil || !strings.Contains(err.Error(), all[1].id+": there is no tea") {
		t.Error(err)
	}
}

func TestOnlyTheFirstQuestionToASilentMachineTakesLong(t *testing.T) {
	all := ofNodes(t, startRedis(t).url(), time.Hour, "a", "b", "c")
	goOn := make(chan struct{})
	var done atomic.Int64
	all[1].answers = func(context.Context, string, []byte) ([]byte, error) {
		<-goOn // as if it were suspended
		done.Add(1)
		return []byte("late"), nil
	}
	const patient = 3 * time.Second
	askAll := func() (answers []cluster.Answer, took time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		defer cancel()
		began := time.Now()
		answers, err := all[0].AskAll(ctx, "who", nil)
		if len(answers) < 2 && !errors.Is(err, cluster.ErrNoAnswer) {
			t.Error(answers, err)
		}
		return answers, time.Since(began)
	}
	if answers, took := askAll(); len(answers) != 1 || took < patient {
		t.Error(answers, took)
	}
	for range 3 {
		if answers, took := askAll(); len(answers) != 1 || answers[0].Machine != all[2].id || took >= patient {
			t.Error(answers, took)
		}
	}
	// It goes on in time for the last three: it does what it was asked, and is waited for again.
	close(goOn)
	until(t, "it has done what it was asked", func() bool { return done.Load() >= 3 })
	until(t, "it is heard of", func() bool { return !all[0].member().isSilent(all[1].id) })
	if answers, _ := askAll(); len(answers) != 2 {
		t.Error(answers)
	}
	// What is known of it ends with it.
	all[1].answers = nil
	all[1].die()
	askAll()
	all[0].member().abandon(all[1].id)
	if all[0].member().isSilent(all[1].id) {
		t.Error("a machine that is gone is remembered")
	}
}

func TestSlowMachineIsNamedAndTheOthersAnswer(t *testing.T) {
	t.Parallel()
	all := ofNodes(t, startRedis(t).url(), time.Hour, "a", "b", "c")
	ended := make(chan struct{}, 3)
	all[1].answers = func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		<-ctx.Done()
		ended <- struct{}{}
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	answers, err := all[0].AskAll(ctx, "who", nil)
	if len(answers) != 1 || answers[0].Machine != all[2].id || !errors.Is(err, cluster.ErrNoAnswer) ||
		!strings.Contains(err.Error(), all[1].id) || strings.Contains(err.Error(), all[2].id) {
		t.Error(answers, err)
	}
	<-ended // at the same time

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := all[0].Ask(ctx, all[1].id, "who", nil); !errors.Is(err, cluster.ErrNoAnswer) {
		t.Error(err)
	}
	<-ended // because nobody waits, long before a minute is over
}

func TestClosingABrokerEndsItsQuestions(t *testing.T) {
	for closing := range 2 { // the machine that asks, and the one that is asked
		all := ofNodes(t, startRedis(t).url(), time.Hour, "a", "b")
		asked := make(chan struct{})
		all[1].answers = func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
			close(asked)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ended := make(chan error, 1)
		go func() {
			_, err := all[0].Ask(context.Background(), all[1].id, "who", nil)
			ended <- err
		}()
		<-asked
		began := time.Now()
		if err := all[closing].Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil || time.Since(began) > askTimeout/2 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	}
}

func TestQuestionToAMachineThatDiesEnds(t *testing.T) {
	t.Parallel()
	all := ofNodes(t, startRedis(t).url(), shortLease, "a", "b", "c")
	asked := make(chan struct{})
	all[1].answers = func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	go func() {
		<-asked
		all[1].die()
	}()
	answers, err := all[0].AskAll(t.Context(), "who", nil)
	if err != nil || len(answers) != 1 || answers[0].Machine != all[2].id {
		t.Error(answers, err)
	}
}

func TestQuestionWaitsForAMachineThatSubscribesAgain(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	all := ofNodes(t, s.url(), time.Hour, "a", "b")
	for range 5 {
		if n, err := s.do("CLIENT", "KILL", "TYPE", "pubsub").AsInt64(); err != nil || n == 0 {
			t.Errorf("%d connections killed, %v", n, err)
		}
		until(t, "the question is answered", func() bool { _, err := ask(all[0], all[1], "who", ""); return err == nil })
	}
}

func TestBusyMachineSaysSo(t *testing.T) {
	all := ofNodes(t, startRedis(t).url(), time.Hour, "a", "b")
	var running atomic.Int32
	release := make(chan struct{})
	all[1].answers = func(context.Context, string, []byte) ([]byte, error) {
		running.Add(1)
		<-release
		return nil, nil
	}
	var asking sync.WaitGroup
	for range maxAnswers {
		asking.Go(func() {
			if _, err := ask(all[0], all[1], "slow", ""); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "all are being answered", func() bool { return running.Load() == maxAnswers })
	if _, err := ask(all[0], all[1], "one more", ""); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Error(err)
	}
	close(release)
	asking.Wait()
	if _, err := ask(all[0], all[1], "later", ""); err != nil {
		t.Error(err)
	}
}

func TestAnotherVersionIsIgnoredAndLoggedOnce(t *testing.T) {
	s := startRedis(t)
	all := ofNodes(t, s.url(), time.Hour, "a", "b")
	core, logs := observer.New(zap.WarnLevel)
	all[1].log = zap.New(core)
	inbox := all[1].member().inboxName(all[1].id)
	question := letter{kind: letterQuestion, id: 1, from: all[0].id, question: "who", timeout: time.Second}
	for _, text := range []string{"", "\x02q", "\x01", "\x01q", "\x01q\x80", "\x01q\x01\xffabc", "\x01?" + question.encode()[2:]} {
		s.do("SPUBLISH", inbox, text)
	}
	if _, err := ask(all[0], all[1], "who", ""); err != nil {
		t.Error(err)
	}
	if n := logs.FilterMessage("questions of another machine are ignored").Len(); n != 1 {
		t.Errorf("%d log lines", n)
	}
}

func FuzzLetter(f *testing.F) {
	for _, l := range []letter{{kind: letterNews}, {kind: letterQuestion, id: 300, from: "abcdefgh", question: "who", timeout: time.Hour, body: []byte("x")}} {
		f.Add(l.encode())
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := readLetter(text)
		if err != nil {
			return
		}
		if l.timeout < 0 {
			l.timeout = 0
		}
		again, err := readLetter(l.encode())
		if err != nil || again.question != l.question || again.from != l.from || again.id != l.id || again.timeout != l.timeout || !bytes.Equal(again.body, l.body) {
			t.Errorf("%+v became %+v, %v", l, again, err)
		}
	})
}
