package route

import (
	"bytes"
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// automaton is a regex as a deterministic automaton, which tells whether a text
// matches in one step a character: package regexp simulates the nondeterministic
// one, since it also has to find where the match lies, and takes ten times as
// long. What the two say is the same.
type automaton struct {
	ascii [utf8.RuneSelf]uint8 // class of a character; all of a class lead alike
	// bounds has the first character of each class but the first. Several
	// intervals of characters that lead alike are classes of their own.
	bounds []rune
	width  int     // number of classes
	next   []uint8 // by state*width + class
	atEnd  []bool  // by state: the text matches if it ends here
}

// States with a meaning of their own.
const (
	stateDead    = 0 // nothing that follows can match
	stateMatched = 1 // whatever follows
	stateStart   = 2
)

// Bounds of an automaton; beyond them package regexp does the work.
const (
	maxStates = 128
	maxNext   = 4096 // states times classes
)

// Bounds of the instructions looked at in building one automaton, and all of a
// table: some milliseconds and some tens of them.
const (
	automatonWork = 200_000
	tableWork     = 5_000_000
)

func (a *automaton) match(v []byte) bool {
	state := stateStart
	for i := 0; i < len(v); {
		class := 0
		if c := v[i]; c < utf8.RuneSelf {
			class = int(a.ascii[c])
			i++
		} else {
			// As in package regexp, an octet that is no UTF-8 is U+FFFD.
			r, n := utf8.DecodeRune(v[i:])
			class = a.class(r)
			i += n
		}
		state = int(a.next[state*a.width+class])
		if state <= stateMatched {
			return state == stateMatched
		}
	}
	return a.atEnd[state]
}

func (a *automaton) class(r rune) int {
	i, found := slices.BinarySearch(a.bounds, r)
	if found {
		i++
	}
	return i
}

// newAutomaton builds the automaton of a regex by the subset construction; nil
// where it would be too large, has "\b" or matches by lines, or where *work runs
// out.
func newAutomaton(re *syntax.Regexp, work *int) *automaton {
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil
	}
	before := min(*work, automatonWork)
	b := &subsets{prog: prog, a: &automaton{}, known: make(map[string]int), seen: make([]bool, len(prog.Inst)), work: before}
	if !b.classify() {
		return nil
	}
	a := b.build()
	*work -= before - b.work
	return a
}

// subsets is the construction of an automaton. A state is a set of instructions
// that the text so far may have led to.
type subsets struct {
	prog  *syntax.Prog
	a     *automaton
	sets  [][]uint32 // by state, ascending
	known map[string]int
	seen  []bool
	work  int // left
}

// classify divides the characters into classes.
func (b *subsets) classify() bool {
	var bounds []rune
	one := func(r rune) { bounds = append(bounds, r, r+1) }
	for _, inst := range b.prog.Inst {
		switch inst.Op {
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0 {
				return false
			}
		case syntax.InstRune, syntax.InstRune1:
			if len(inst.Rune) == 1 {
				one(inst.Rune[0])
				for r := unicode.SimpleFold(inst.Rune[0]); r != inst.Rune[0]; r = unicode.SimpleFold(r) {
					one(r)
				}
				continue
			}
			for i := 0; i < len(inst.Rune); i += 2 {
				bounds = append(bounds, inst.Rune[i], inst.Rune[i+1]+1)
			}
		case syntax.InstRuneAnyNotNL:
			one('\n')
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	if len(bounds) > 0 && bounds[0] == 0 {
		bounds = bounds[1:] // the first class begins there anyway
	}
	b.a.bounds, b.a.width = bounds, len(bounds)+1
	if b.a.width > maxNext/4 || b.a.width > 256 {
		return false
	}
	for c := range b.a.ascii {
		b.a.ascii[c] = uint8(b.a.class(rune(c)))
	}
	return true
}

func (b *subsets) build() *automaton {
	a := b.a
	dead, matched := []uint32{}, []uint32{}
	start := b.closure(nil, uint32(b.prog.Start), syntax.EmptyBeginText)
	b.sets = [][]uint32{dead, matched, start}
	a.atEnd = []bool{false, true, b.matches(start, syntax.EmptyBeginText)}
	a.next = make([]uint8, stateStart*a.width) // nothing leaves the first two
	for state := stateStart; state < len(b.sets); state++ {
		if b.hasMatch(b.sets[state]) { // of the start alone: others are stateMatched then
			a.next = append(a.next, bytes.Repeat([]byte{stateMatched}, a.width)...)
			continue
		}
		for class := range a.width {
			r := rune(0)
			if class > 0 {
				r = a.bounds[class-1]
			}
			to := b.step(b.sets[state], r)
			if to < 0 || len(b.sets) > maxStates || len(b.sets)*a.width > maxNext {
				return nil
			}
			a.next = append(a.next, uint8(to))
		}
	}
	return a
}

// step gives the state that a character leads to, -1 where the work ran out.
func (b *subsets) step(set []uint32, r rune) int {
	clear(b.seen)
	var to []uint32
	for _, pc := range set {
		if inst := &b.prog.Inst[pc]; isRune(inst) && inst.MatchRune(r) {
			to = b.closure(to, inst.Out, 0)
		}
	}
	to = b.closure(to, uint32(b.prog.Start), 0) // a match may begin anywhere
	if b.work -= len(set) + 2*len(to) + len(b.seen)/16 + 8; b.work < 0 {
		return -1
	}
	if b.hasMatch(to) {
		return stateMatched
	}
	slices.Sort(to)
	var key []byte
	for _, pc := range to {
		key = binary.AppendUvarint(key, uint64(pc))
	}
	if state, ok := b.known[string(key)]; ok {
		return state
	}
	state, atEnd := stateDead, b.matches(to, 0)
	if atEnd || slices.ContainsFunc(to, func(pc uint32) bool { return isRune(&b.prog.Inst[pc]) }) {
		state = len(b.sets)
		b.sets, b.a.atEnd = append(b.sets, to), append(b.a.atEnd, atEnd)
	}
	b.known[string(key)] = state
	return state
}

func isRune(inst *syntax.Inst) bool {
	switch inst.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	default:
		return false
	}
}

func (b *subsets) hasMatch(set []uint32) bool {
	return slices.ContainsFunc(set, func(pc uint32) bool { return b.prog.Inst[pc].Op == syntax.InstMatch })
}

// matches tells whether a set holds a match if the text ends, with what else
// holds there.
func (b *subsets) matches(set []uint32, also syntax.EmptyOp) bool {
	clear(b.seen)
	var all []uint32
	for _, pc := range set {
		all = b.closure(all, pc, also|syntax.EmptyEndText)
	}
	return b.hasMatch(all)
}

// closure adds to set what is reached from pc without a character, where the
// conditions in holds are met. Conditions that are not met stay in the set, since
// the end of the text may meet them.
func (b *subsets) closure(set []uint32, pc uint32, holds syntax.EmptyOp) []uint32 {
	if b.seen[pc] {
		return set
	}
	b.seen[pc] = true
	switch inst := &b.prog.Inst[pc]; inst.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return b.closure(b.closure(set, inst.Out, holds), inst.Arg, holds)
	case syntax.InstCapture, syntax.InstNop:
		return b.closure(set, inst.Out, holds)
	case syntax.InstEmptyWidth:
		if op := syntax.EmptyOp(inst.Arg); op&holds == op {
			return b.closure(set, inst.Out, holds)
		}
		return append(set, pc)
	case syntax.InstFail:
		return set
	default:
		return append(set, pc)
	}
}
