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
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
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
			t.Fatalf("%s: not within %s: %v", what, Patience, err)
		}
	}
}
