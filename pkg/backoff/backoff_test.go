package backoff

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// almostOne is the largest value a random source may yield.
const almostOne = 1 - 1.0/(1<<53)

func TestNextGrowsToItsLimit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		base, limit time.Duration
		want        []time.Duration // the bounds of successive attempts
	}{
		{"defaults", 0, 0, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond, Max, Max}},
		{"own limit", time.Second, 3 * time.Second, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}},
		{"limit above the bound", 4 * time.Second, time.Hour, []time.Duration{4 * time.Second, Max, Max}},
		{"base above the bound", time.Minute, 0, []time.Duration{Max, Max}},
		{"negative", -1, -1, []time.Duration{DefaultBase, 2 * DefaultBase}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := Backoff{Base: test.base, Limit: test.limit, Rand: func() float64 { return almostOne }}
			for i, want := range test.want {
				if got := b.Next(); want-got > time.Microsecond || got > want {
					t.Errorf("attempt %d: paused %s, want just below %s", i, got, want)
				}
			}
			if b.Attempts() != len(test.want) {
				t.Errorf("%d attempts counted, want %d", b.Attempts(), len(test.want))
			}
		})
	}
}

func TestNextSpreadsFromZero(t *testing.T) {
	t.Parallel()
	source := rand.New(rand.NewPCG(1, 2))
	b := Backoff{Rand: source.Float64}
	for range 20 {
		b.Next()
	}
	var below, above int
	for range 1000 {
		switch pause := b.Next(); {
		case pause < 0 || pause >= Max:
			t.Fatalf("paused %s, outside [0, %s)", pause, Max)
		case pause < Max/2:
			below++
		default:
			above++
		}
	}
	if below < 450 || above < 450 {
		t.Errorf("%d pauses below the middle and %d above it: not uniform", below, above)
	}
}

func TestNextSurvivesAYearOfFailures(t *testing.T) {
	t.Parallel()
	b := Backoff{Rand: func() float64 { return almostOne }}
	for range 100_000 {
		if pause := b.Next(); pause < 0 || pause > Max {
			t.Fatalf("attempt %d paused %s", b.Attempts(), pause)
		}
	}
}

func TestResetStartsOver(t *testing.T) {
	t.Parallel()
	b := Backoff{Rand: func() float64 { return 0.5 }}
	for range 8 {
		b.Next()
	}
	b.Reset()
	if got := b.Next(); got != DefaultBase/2 {
		t.Errorf("paused %s after a reset, want %s", got, DefaultBase/2)
	}
}

func TestWaitSleepsForNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Rand: func() float64 { return 0.5 }}
		for _, want := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
			start := time.Now()
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if slept := time.Since(start); slept != want {
				t.Errorf("slept %s, want %s", slept, want)
			}
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b := Backoff{Base: Max, Rand: func() float64 { return almostOne }}
		start := time.Now()
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait returned %v, want the context's error", err)
		}
		if slept := time.Since(start); slept != time.Second {
			t.Errorf("slept %s, want 1s", slept)
		}
		attempts := b.Attempts()
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || b.Attempts() != attempts {
			t.Errorf("Wait on an ended context returned %v after %d attempts", err, b.Attempts()-attempts)
		}
	})
}
