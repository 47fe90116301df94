package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// String is the hash as hexadecimal text.
func (h Hash) String() string { return fmt.Sprintf("%x", h[:]) }

// Digest accumulates the digest of a set: the sum modulo 2^256 of SHA-256(kind, name, hash) over its resources, kind as one
// byte, all three concatenated (only the name varies in length, so the input is unambiguous). A sum does not depend on
// order and can be taken back, so a change costs what it changes. The zero value is the digest of the empty set.
type Digest struct {
	word [4]uint64 // least significant first
}

// Add counts the resource in.
func (d *Digest) Add(r *Resource) {
	e := element(r)
	var carry uint64
	for i := range d.word {
		d.word[i], carry = bits.Add64(d.word[i], e[i], carry)
	}
}

// Remove takes back one Add of an equal resource.
func (d *Digest) Remove(r *Resource) {
	e := element(r)
	var borrow uint64
	for i := range d.word {
		d.word[i], borrow = bits.Sub64(d.word[i], e[i], borrow)
	}
}

// Sum is the digest, big endian.
func (d *Digest) Sum() Hash {
	var h Hash
	for i, w := range d.word {
		binary.BigEndian.PutUint64(h[24-8*i:], w)
	}
	return h
}

func element(r *Resource) [4]uint64 {
	var space [256]byte
	b := append(space[:0], byte(r.Kind))
	b = append(b, r.Name...)
	b = append(b, r.Hash[:]...)
	sum := sha256.Sum256(b)
	var e [4]uint64
	for i := range e {
		e[i] = binary.BigEndian.Uint64(sum[24-8*i:])
	}
	return e
}
