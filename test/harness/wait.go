package harness

import (
	"context"
	"testing"
	"time"
)

const (
	// Patience is how long anything may take that should take moments: only a broken process exceeds it, not a busy machine.
	Patience = 20 * time.Second
	// poll is how often a condition of another process is looked at, which has no way to tell.
	poll = 5 * time.Millisecond
)

// Until waits for a condition outside this process and returns how long it took to hold. It fails the test with the
// condition's last error, which says what is still wrong, when Patience is over.
func Until(t testing.TB, what string, condition func() error) time.Duration {
	t.Helper()
	return UntilWithin(t, Patience, what, condition)
}

// UntilWithin is Until with a limit that the test is about.
func UntilWithin(t testing.TB, limit time.Duration, what string, condition func() error) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return time.Since(began)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
	}
}

// Throughout looks at a condition again and again for a while and fails the test as soon as it does not hold: for what must
// not happen, which no other sign would end.
func Throughout(t testing.TB, d time.Duration, what string, condition func() error) {
	t.Helper()
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if err := condition(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		}
	}
}
