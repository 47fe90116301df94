// Package bench measures FiberLB: how long a change takes to reach traffic,
// what a connection costs beside peers in the same run, and what it all needs.
package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// sample is a list of durations.
type sample []time.Duration

// quantile gives the smallest duration that at least the share q of all do not exceed.
func (s sample) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// histogram draws the sample in buckets that double.
func (s sample) histogram() string {
	if len(s) == 0 {
		return ""
	}
	counts := map[time.Duration]int{}
	for _, d := range s {
		bound := 250 * time.Microsecond
		for bound < d {
			bound *= 2
		}
		counts[bound]++
	}
	var b strings.Builder
	for bound := 250 * time.Microsecond; bound/2 < s.quantile(1); bound *= 2 {
		n := counts[bound]
		fmt.Fprintf(&b, "  <= %8s %6d %s\n", bound, n, strings.Repeat("#", (n*60+len(s)-1)/len(s)))
	}
	return b.String()
}

func (s sample) String() string {
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  max %s  (n=%d)", s.quantile(0.5), s.quantile(0.9), s.quantile(0.99), s.quantile(1), len(s))
}
