//go:build !race

package harness

// raced tells whether this test, and so the binaries it runs, has the race detector.
const raced = false
