package field

import "bytes"

// List is the fields of one head or trailer section, in order. The zero List is empty and ready.
type List struct {
	base    []byte // borrowed; entries with fromOwn unset lie here
	own     []byte // lines that were entered by value, each "Name: value\r\n"
	entries []entry
	seen    Set // of all IDs ever entered since Reset; a removed field leaves its bit
	live    int
}

// entry is one field: a line "Name: value\r\n" with exactly one space behind the colon, in base or in own.
type entry struct {
	line, colon, end uint32 // offsets of the name, of the colon, of the final CR
	id               ID
	flags            uint8
}

const (
	fromOwn uint8 = 1 << iota
	received
	removed
)

// What Reset lets go of, so that one large message does not make a connection large for good.
const (
	keepOwn     = 16 << 10
	keepEntries = 256
)

// Reset empties the list and forgets the borrowed buffer.
func (l *List) Reset() {
	l.base, l.own, l.entries, l.seen, l.live = nil, l.own[:0], l.entries[:0], 0, 0
	if cap(l.own) > keepOwn {
		l.own = nil
	}
	if cap(l.entries) > keepEntries {
		l.entries = nil
	}
}

// Bind makes base the borrowed buffer, to which the offsets given to AddReceived are relative. A caller that has moved the
// bytes, because it had to grow its buffer, binds again; the offsets stay.
func (l *List) Bind(base []byte) { l.base = base }

// AddReceived enters a field that a parser found in the borrowed buffer: its line from line to end (past the CRLF), with the
// name up to colon and the value, already trimmed, from value to valueEnd. The parser has checked name and value. A line
// with other white space than one space before the value is entered in that form, so that it is so written.
func (l *List) AddReceived(line, colon, value, valueEnd, end int) {
	id := Lookup(l.base[line:colon])
	if value != colon+2 || valueEnd != end-2 || l.base[colon+1] != ' ' {
		enter(l, id, l.base[line:colon], l.base[value:valueEnd], received|fromOwn)
		return
	}
	n := len(l.entries)
	if n == cap(l.entries) {
		l.entries = append(l.entries, entry{})
	}
	l.entries = l.entries[:n+1]
	e := &l.entries[n]
	e.line, e.colon, e.end, e.id, e.flags = uint32(line), uint32(colon), uint32(valueEnd), id, received
	l.seen |= 1 << id
	l.live++
}

func enter[N, V text](l *List, id ID, name N, value V, flags uint8) {
	e := entry{line: uint32(len(l.own)), id: id, flags: flags}
	l.own = append(l.own, name...)
	e.colon = uint32(len(l.own))
	l.own = append(l.own, ": "...)
	l.own = append(l.own, value...)
	e.end = uint32(len(l.own))
	l.own = append(l.own, "\r\n"...)
	l.entries = append(l.entries, e)
	l.seen |= 1 << id
	l.live++
}

func (l *List) buffer(e *entry) []byte {
	if e.flags&fromOwn != 0 {
		return l.own
	}
	return l.base
}

// Len returns how many fields are there and not removed.
func (l *List) Len() int { return l.live }

// Has tells whether there is a field of that ID, which must not be Other.
func (l *List) Has(id ID) bool { return l.First(id) >= 0 }

// First returns the index of the first field of that ID, or -1.
func (l *List) First(id ID) int {
	if !l.seen.Has(id) {
		return -1
	}
	return l.Next(-1, id)
}

// Next returns the index of the first field of that ID behind index i, or -1. All values of a name are
//
//	for i := l.First(id); i >= 0; i = l.Next(i, id) { l.Value(i) }
func (l *List) Next(i int, id ID) int {
	for i++; i < len(l.entries); i++ {
		if e := &l.entries[i]; e.id == id && e.flags&removed == 0 {
			return i
		}
	}
	return -1
}

// NextNamed is Next for any name, known or not, whatever its case. It starts with i = -1.
func (l *List) NextNamed(i int, name string) int {
	for i++; i < len(l.entries); i++ {
		if e := &l.entries[i]; e.flags&removed == 0 && int(e.colon-e.line) == len(name) && EqualFold(l.Name(i), name) {
			return i
		}
	}
	return -1
}

// NextAny returns the index of the first field behind index i, whatever its name, or -1.
func (l *List) NextAny(i int) int {
	for i++; i < len(l.entries); i++ {
		if l.entries[i].flags&removed == 0 {
			return i
		}
	}
	return -1
}

// ID returns the ID of the field at index i.
func (l *List) ID(i int) ID { return l.entries[i].id }

// Name returns the name of the field at index i, spelt as it was entered.
func (l *List) Name(i int) []byte {
	e := &l.entries[i]
	return l.buffer(e)[e.line:e.colon]
}

// Value returns the value of the field at index i, without white space at its ends.
func (l *List) Value(i int) []byte {
	e := &l.entries[i]
	return l.buffer(e)[e.colon+2 : e.end]
}

// Received tells whether the field at index i came with the message, rather than being added or set here.
func (l *List) Received(i int) bool { return l.entries[i].flags&received != 0 }

// Get returns the value of the first field of that ID; nil where there is none.
func (l *List) Get(id ID) []byte {
	if i := l.First(id); i >= 0 {
		return l.Value(i)
	}
	return nil
}

// Add adds a field of a known ID. It does nothing and returns false where the value is not one (see IsValue).
func (l *List) Add(id ID, value []byte) bool {
	if id == Other || !IsValue(value) {
		return false
	}
	enter(l, id, names[id], value, fromOwn)
	return true
}

// AddNamed adds a field of any name. It does nothing and returns false where the name is no token or the value not one.
func (l *List) AddNamed(name, value []byte) bool {
	if !IsToken(name) || !IsValue(value) {
		return false
	}
	enter(l, Lookup(name), name, value, fromOwn)
	return true
}

// AddText is AddNamed of strings, for what is configured and for decoders that yield strings. With fromMessage the field
// counts as received.
func (l *List) AddText(name, value string, fromMessage bool) bool {
	if !IsToken(name) || !IsValue(value) {
		return false
	}
	flags := fromOwn
	if fromMessage {
		flags |= received
	}
	enter(l, Other, name, value, flags)
	e := &l.entries[len(l.entries)-1]
	e.id = Lookup(l.own[e.line:e.colon])
	l.seen |= 1 << e.id
	return true
}

// Set removes all fields of a known ID and adds one. It does nothing and returns false where the value is not one.
func (l *List) Set(id ID, value []byte) bool {
	if id == Other || !IsValue(value) {
		return false
	}
	l.Remove(id)
	return l.Add(id, value)
}

// SetText removes all fields of that name and adds one. It does nothing and returns false where the name is no token or the
// value not one.
func (l *List) SetText(name, value string) bool {
	if !IsToken(name) || !IsValue(value) {
		return false
	}
	l.RemoveNamed(name)
	return l.AddText(name, value, false)
}

// Join puts one field in place of all of a known ID: their values and the given one, in order, separated by a comma and a
// space. So is X-Forwarded-For appended to, whose repeated fields are one list (RFC 9110 section 5.3). Empty values are left
// out. It does nothing and returns false where the value is not one.
func (l *List) Join(id ID, value []byte) bool {
	if id == Other || !IsValue(value) {
		return false
	}
	last := l.First(id)
	if last < 0 {
		return l.Add(id, value)
	}
	e := entry{line: uint32(len(l.own)), id: id, flags: fromOwn}
	l.own = append(l.own, names[id]...)
	e.colon = uint32(len(l.own))
	l.own = append(l.own, ": "...)
	for i := last; i >= 0; i = l.Next(i, id) {
		if v := l.Value(i); len(v) > 0 {
			l.own = append(append(l.own, v...), ", "...)
		}
		l.RemoveAt(i)
	}
	l.own = append(l.own, value...)
	if n := len(l.own); len(value) == 0 && n > int(e.colon)+2 {
		l.own = l.own[:n-2]
	}
	e.end = uint32(len(l.own))
	l.own = append(l.own, "\r\n"...)
	l.entries = append(l.entries, e)
	l.live++
	return true
}

// Remove removes all fields of a known ID and returns how many they were.
func (l *List) Remove(id ID) (count int) {
	for i := l.First(id); i >= 0; i = l.Next(i, id) {
		l.RemoveAt(i)
		count++
	}
	return count
}

// RemoveNamed removes all fields of that name and returns how many they were.
func (l *List) RemoveNamed(name string) (count int) {
	for i := l.NextNamed(-1, name); i >= 0; i = l.NextNamed(i, name) {
		l.RemoveAt(i)
		count++
	}
	return count
}

// RemoveAt removes the field at index i. The indices of the others stay.
func (l *List) RemoveAt(i int) {
	if e := &l.entries[i]; e.flags&removed == 0 {
		e.flags |= removed
		l.live--
	}
}

// AddAll adds copies of all fields of src but those whose ID is in skip, in order, each received or not as it was there. The
// copies outlive the buffer that src borrows: this is how a head is kept for a retry.
func (l *List) AddAll(src *List, skip Set) {
	for i := src.NextAny(-1); i >= 0; i = src.NextAny(i) {
		if e := &src.entries[i]; !skip.Has(e.id) {
			enter(l, e.id, src.Name(i), src.Value(i), e.flags&received|fromOwn)
		}
	}
}

// run returns the longest piece of consecutive bytes that starts with the first field to write at or behind index i, and the
// index behind it. The piece is nil where nothing is left.
func (l *List) run(i int, skip Set) (piece []byte, next int) {
	for ; i < len(l.entries); i++ {
		e := &l.entries[i]
		if e.flags&removed != 0 || skip.Has(e.id) {
			continue
		}
		from, to, where := e.line, e.end+2, e.flags&fromOwn
		buffer := l.buffer(e)
		for i++; i < len(l.entries); i++ {
			e = &l.entries[i]
			if e.line != to || e.flags&(fromOwn|removed) != where || skip.Has(e.id) {
				break
			}
			to = e.end + 2
		}
		return buffer[from:to], i
	}
	return nil, i
}

// AppendTo appends the lines of all fields to dst, each ended by CRLF, but those whose ID is in skip.
func (l *List) AppendTo(dst []byte, skip Set) []byte {
	for piece, i := l.run(0, skip); piece != nil; piece, i = l.run(i, skip) {
		dst = append(dst, piece...)
	}
	return dst
}

// Segments appends to dst what AppendTo would write, as pieces that point into the buffers of the list: they are for one
// vectored write, before the next edit.
func (l *List) Segments(dst [][]byte, skip Set) [][]byte {
	for piece, i := l.run(0, skip); piece != nil; piece, i = l.run(i, skip) {
		dst = append(dst, piece)
	}
	return dst
}

// Size returns how many bytes AppendTo would write.
func (l *List) Size(skip Set) (n int) {
	for piece, i := l.run(0, skip); piece != nil; piece, i = l.run(i, skip) {
		n += len(piece)
	}
	return n
}

// Aliases returns the ID that the name at index i would have, were its underscores hyphens; Other where it has none or means
// nothing. Back ends that speak CGI or WSGI cannot tell X_Forwarded_For from X-Forwarded-For.
func (l *List) Aliases(i int) ID {
	name := l.Name(i)
	if l.entries[i].id != Other || len(name) > maxName || bytes.IndexByte(name, '_') < 0 {
		return Other
	}
	var hyphens [maxName]byte
	n := copy(hyphens[:], name)
	for k := range n {
		if hyphens[k] == '_' {
			hyphens[k] = '-'
		}
	}
	return Lookup(hyphens[:n])
}

// maxName bounds the length of a known name; a test holds the table to it.
const maxName = 32
