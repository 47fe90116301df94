package demo

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// screen writes the demo for people. Colours only where asked.
type screen struct {
	w      io.Writer
	colour bool
	failed int
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.w, format, args...) }

// title begins a chapter.
func (s *screen) title(text string) { s.printf("\n%s\n", s.paint(bold, text)) }

func (s *screen) note(format string, args ...any) {
	s.printf("  %s\n", s.paint(dim, fmt.Sprintf(format, args...)))
}

// check shows whether something that the demo promises came true.
func (s *screen) check(ok bool, format string, args ...any) {
	mark := s.paint(green, "✓")
	if !ok {
		mark = s.paint(red, "✗")
		s.failed++
	}
	s.printf("  %s %s\n", mark, fmt.Sprintf(format, args...))
}

// block shows a text as it is.
func (s *screen) block(text string) {
	for line := range strings.Lines(text) {
		s.printf("  %s %s\n", s.paint(dim, "│"), strings.TrimRight(line, "\n"))
	}
}

// bars shows how connections spread.
func (s *screen) bars(count map[string]int) {
	total := 0
	for _, n := range count {
		total += n
	}
	if total == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		share := float64(count[name]) / float64(total)
		s.printf("    %-4s %s %4d  %4.1f %%\n", name, s.paint(cyan, fmt.Sprintf("%-40s", strings.Repeat("█", int(share*40+0.5)))), count[name], share*100)
	}
}

// ms shows a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
