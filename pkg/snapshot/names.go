package snapshot

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxNameBytes bounds the full name of a resource: five parts of 63 bytes with what stands between them, and room.
const maxNameBytes = 1024

// String is the word for the kind, as it stands in messages.
func (k Kind) String() string {
	switch k {
	case KindHealthCheck:
		return "health check"
	case KindPool:
		return "pool"
	case KindListener:
		return "listener"
	case KindCertificate:
		return "certificate"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// String names the resource in messages: `pool projects/…/pools/web`.
func (r Ref) String() string { return r.Kind.String() + " " + r.Name }

// Compare orders references by kind, then by name.
func (r Ref) Compare(o Ref) int {
	if c := cmp.Compare(r.Kind, o.Kind); c != 0 {
		return c
	}
	return strings.Compare(r.Name, o.Name)
}

// String is the version as people read it: revision and the first digits of the digest.
func (v Version) String() string { return fmt.Sprintf("%d/%x", v.Revision, v.Digest[:6]) }

// checkName tells whether a name is one that a resource may have. It checks what any schema must hold to, so that names of later
// kinds pass: text, of bounded length, without white space or control characters.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("name is empty")
	case len(name) > maxNameBytes:
		return fmt.Errorf("name of %d bytes is longer than %d", len(name), maxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("name %q has white space or control characters", name)
	}
	return nil
}
