package h1

import (
	"bytes"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// block parses field lines up to and including the empty line that ends them: a header block or a trailer section. It
// remembers between calls where the current line starts and how far it is known to hold no LF, so that each byte is looked
// at a bounded number of times however the block is cut into reads.
//
// Every check goes from left to right and looks at no byte that it can decide without: that is what makes the verdict
// independent of the cuts.
type block struct {
	start  int // of the block in the buffer
	line   int // of the current line
	scan   int // up to here the current line holds no LF; 0 where it was not yet looked at
	fields int
}

func (b *block) reset(start int) { *b = block{start: start, line: start} }

// blockLimits are the bounds of one block and what passing them is called.
type blockLimits struct {
	size, fields         int
	tooLarge, tooMany    reason
	firstSpace, laterOne reason
}

func (r *Rules) headerLimits() blockLimits {
	return blockLimits{r.limits.HeaderBlock, r.limits.Fields, headerTooLarge, tooManyFields, leadingSpace, obsFold}
}

func (r *Rules) trailerLimits() blockLimits {
	return blockLimits{r.limits.Trailers, r.limits.Fields, trailerTooLarge, tooManyTrailers, leadingSpace, obsFold}
}

// window cuts buf to what may belong to a part of the message that began at start and may be limit bytes long. Parsing that
// needs more than a clipped window ran into the limit.
func window(buf []byte, start, limit int) (w []byte, clipped bool) {
	if len(buf)-start >= limit {
		return buf[:start+limit], true
	}
	return buf, false
}

// awaitLine tells whether the rest of a line that began before is still missing, so that looking at it again is useless.
func awaitLine(w []byte, scan *int, clipped bool) bool {
	if *scan == 0 || clipped || bytes.IndexByte(w[*scan:], '\n') >= 0 {
		return false
	}
	*scan = len(w)
	return true
}

// parse goes on with the block that started at b.start of buf and enters its fields into l, which is bound to buf. It
// returns the offset behind the block, or more, or what is wrong.
func (b *block) parse(buf []byte, l *field.List, limits blockLimits) (end int, why reason) {
	w, clipped := window(buf, b.start, limits.size)
	if awaitLine(w, &b.scan, clipped) {
		return 0, more
	}
	for {
		i := b.line
		if i+1 < len(w) && w[i] == '\r' && w[i+1] == '\n' {
			return i + 2, ok
		}
		if b.fields == limits.fields && i < len(w) && w[i] != '\r' {
			return 0, limits.tooMany
		}
		colon := i + field.TokenLen(w[i:])
		if colon == len(w) {
			return b.pause(w, clipped, limits)
		}
		if w[colon] != ':' || colon == i {
			if why = b.badName(w, colon, limits); why == more {
				return b.pause(w, clipped, limits)
			}
			return 0, why
		}
		value := colon + 1
		for value < len(w) && (w[value] == ' ' || w[value] == '\t') {
			value++
		}
		cr := value + field.ValueLen(w[value:])
		why = lineEnd(w, cr)
		if why == more {
			return b.pause(w, clipped, limits)
		}
		if why != ok {
			return 0, why
		}
		valueEnd := cr
		for valueEnd > value && (w[valueEnd-1] == ' ' || w[valueEnd-1] == '\t') {
			valueEnd--
		}
		l.AddReceived(i, colon, value, valueEnd, cr+2)
		b.line, b.scan = cr+2, 0
		b.fields++
	}
}

func (b *block) pause(w []byte, clipped bool, limits blockLimits) (int, reason) {
	if clipped {
		return 0, limits.tooLarge
	}
	b.scan = len(w)
	return 0, more
}

// badName tells what is wrong with a line whose name does not end in a colon, at offset i.
func (b *block) badName(w []byte, i int, limits blockLimits) reason {
	if i > b.line {
		switch w[i] {
		case ' ', '\t':
			return spaceBeforeColon
		case '\r', '\n':
			if why := lineEnd(w, i); why != ok {
				return why
			}
			return missingColon
		}
	} else {
		switch w[i] {
		case ' ', '\t':
			if b.fields == 0 {
				return limits.firstSpace
			}
			return limits.laterOne
		case '\r', '\n':
			return lineEnd(w, i)
		}
	}
	if w[i] == 0 {
		return nulByte
	}
	return badFieldName
}

// lineEnd judges offset i, where a text stopped that may not hold controls: ok where a CRLF stands there.
func lineEnd(w []byte, i int) reason {
	if i+1 < len(w) && w[i] == '\r' && w[i+1] == '\n' {
		return ok
	}
	switch {
	case i == len(w):
		return more
	case w[i] == '\n':
		return bareLF
	case w[i] == 0:
		return nulByte
	case w[i] != '\r':
		return controlByte
	case i+1 == len(w):
		return more
	}
	return bareCR
}
