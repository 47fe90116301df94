// Package backoff owns the pause between two attempts at something that may fail: exponential growth with full jitter, never
// more than five seconds, so that a fleet whose controller restarted neither storms it nor stays away from it.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Defaults of a zero Backoff. Max is also the upper bound for every Backoff: reconnects never wait longer than that.
const (
	DefaultBase = 100 * time.Millisecond
	Max         = 5 * time.Second
)

// Backoff counts the attempts of one retrying loop. The zero value is ready to use. It belongs to one goroutine.
type Backoff struct {
	// Base bounds the first pause; every further attempt doubles the bound. Zero or less means DefaultBase.
	Base time.Duration
	// Limit is where the bound stops growing. Zero or less, or more than Max, means Max.
	Limit time.Duration
	// Rand yields uniform numbers in [0, 1). Nil means the process's own source; tests hand in theirs.
	Rand func() float64

	attempt int
}

// Next counts one attempt and returns the pause before the next: uniform in [0, min(Limit, Base·2^attempt)), which is the
// "full jitter" of Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
func (b *Backoff) Next() time.Duration {
	limit := b.Limit
	if limit <= 0 || limit > Max {
		limit = Max
	}
	bound := b.Base
	if bound <= 0 {
		bound = DefaultBase
	}
	// Doubling step by step, since a shift by the attempt would overflow after an hour of failures.
	for range b.attempt {
		if bound >= limit {
			break
		}
		bound *= 2
	}
	b.attempt++

	random := b.Rand
	if random == nil {
		random = rand.Float64
	}
	return time.Duration(random() * float64(min(bound, limit)))
}

// Reset forgets the attempts so far. Call it when an attempt succeeded for real, not when it merely began.
func (b *Backoff) Reset() { b.attempt = 0 }

// Attempts is how often Next or Wait was called since the last Reset.
func (b *Backoff) Attempts() int { return b.attempt }

// Wait sleeps for Next, and returns ctx's error as soon as ctx ends.
func (b *Backoff) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(b.Next())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
