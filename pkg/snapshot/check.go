package snapshot

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// decoder keeps the first fault, so that a message reads as a list of fields. What its methods return after a fault
// is of no use.
type decoder struct {
	err error

	// The element of a list that is being read, for messages; list is empty outside.
	list  string
	index int
}

func (d *decoder) enter(list string, index int) { d.list, d.index = list, index }

func (d *decoder) leave() { d.list = "" }

func (d *decoder) check(ok bool, format string, args ...any) {
	if !ok {
		d.fail(fmt.Errorf(format, args...))
	}
}

func (d *decoder) fail(err error) {
	switch {
	case d.err != nil:
	case d.list != "":
		d.err = fmt.Errorf("%s[%d]: %w", d.list, d.index, err)
	default:
		d.err = err
	}
}

// enum passes numbers of an enumeration. A lowest number of 0 lets the field be unset.
func (d *decoder) enum(field string, n, lowest, highest int32) int32 {
	switch {
	case n == 0 && lowest > 0:
		d.check(false, "%s is not set", field)
	case n < lowest || n > highest:
		d.fail(unknown(field, n))
	}
	return n
}

func (d *decoder) number(field string, n, lowest, highest uint32) uint32 {
	if n < lowest || n > highest {
		d.check(false, "%s %d is not in %d-%d", field, n, lowest, highest)
	}
	return n
}

func (d *decoder) duration(field string, ms int64, lowest, highest time.Duration) time.Duration {
	if ms < lowest.Milliseconds() || ms > highest.Milliseconds() {
		d.check(false, "%s of %d ms is not in %v-%v", field, ms, lowest, highest)
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

func (d *decoder) address(field, text string) netip.Addr {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() {
		d.check(false, "%s %q is no host's", field, text)
	}
	return addr
}

func (d *decoder) optionalName(field, name string) string {
	if name == "" {
		return ""
	}
	if err := checkName(name); err != nil {
		d.check(false, "%s: %v", field, err)
	}
	return name
}

// isVisible tells whether the text could stand in a request's first line or in a header: bounded, no white space, no
// control characters.
func isVisible(s string) bool {
	return len(s) <= 8<<10 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// isToken tells whether the text is a token of letters, as every registered method is (RFC 9110 section 9).
func isToken(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' })
}
