package field

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
)

// bound returns a list of the fields of a head, entered as a parser does.
func bound(t *testing.T, head string) *List {
	t.Helper()
	l := new(List)
	l.Bind([]byte(head))
	for at := 0; at < len(head); {
		end := at + strings.Index(head[at:], "\r\n") + 2
		colon := at + strings.IndexByte(head[at:], ':')
		value, valueEnd := colon+1, end-2
		for value < valueEnd && isSpace(head[value]) {
			value++
		}
		for valueEnd > value && isSpace(head[valueEnd-1]) {
			valueEnd--
		}
		l.AddReceived(at, colon, value, valueEnd, end)
		at = end
	}
	return l
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for id := Other + 1; id < idCount; id++ {
		name := id.String()
		if len(name) > maxName || len(name) == 0 {
			t.Errorf("%d: name %q", id, name)
		}
		for _, spelt := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := Lookup([]byte(spelt)); got != id {
				t.Errorf("%q: %d, want %d: the hash has a collision", spelt, got, id)
			}
		}
		for i := range len(name) {
			for _, c := range []byte("x0-_!^~|`") {
				other := []byte(name)
				if other[i]|0x20 == c {
					continue
				}
				other[i] = c
				if got := Lookup(other); got != Other && !strings.EqualFold(got.String(), string(other)) {
					t.Errorf("%q: %s", other, got)
				}
			}
		}
		if got := Lookup([]byte(name + "x")); got != Other {
			t.Errorf("%qx: %s", name, got)
		}
	}
	if Lookup(nil) != Other || Lookup([]byte("x")) != Other || Other.String() != "" {
		t.Error("unknown names are Other")
	}
}

func TestSyntax(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		b := byte(c)
		token := b > ' ' && b < 0x7f && !strings.ContainsRune("\"(),/:;<=>?@[\\]{}", rune(b))
		if got := TokenLen([]byte{'a', b}) == 2; got != token || IsToken(string([]byte{b})) != token {
			t.Errorf("byte %#x: token %t", b, got)
		}
		value := b >= ' ' && b != 0x7f || b == '\t'
		for at := range 20 {
			s := bytes.Repeat([]byte{'\xff', ' ', '~', '\t'}, 5)
			s[at] = b
			want := len(s)
			if !value {
				want = at
			}
			if got := ValueLen(s); got != want {
				t.Errorf("byte %#x at %d: value length %d", b, at, got)
			}
		}
		if got := IsValue("a" + string([]byte{b}) + "a"); got != value {
			t.Errorf("byte %#x: value %t", b, got)
		}
	}
	for s, want := range map[string]bool{"": true, " a": false, "a ": false, "a\t": false, "\ta": false, "a b": true, "a\r\nb": false} {
		if IsValue(s) != want {
			t.Errorf("%q: %t", s, !want)
		}
	}
	if IsToken("") || !EqualFold("aZ-9", []byte("Az-9")) || EqualFold("[", "{") || EqualFold("@", "`") || EqualFold("a", "ab") {
		t.Error("tokens")
	}
}

func TestNextElement(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"a": "a|", "a,b": "a|b|", " a\t, b ": "a|b|", "": "|", ",": "||", "a,": "a||", "a, ,b": "a||b|",
	} {
		var got string
		for e, rest, more := NextElement([]byte(list)); more; e, rest, more = NextElement(rest) {
			got += string(e) + "|"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
	if _, _, more := NextElement(nil); more {
		t.Error("nil has an element")
	}
}

const head = "Host: a\r\nX-One: 1\r\ncookie: c\r\nX-Two:2\r\nCookie:\t d \r\nX-Three: 3\r\n"

func TestReading(t *testing.T) {
	t.Parallel()
	l := bound(t, head)
	if l.Len() != 6 || !l.Has(Host) || l.Has(Date) || string(l.Get(Host)) != "a" || l.Get(Date) != nil {
		t.Error("Len, Has, Get")
	}
	var cookies string
	for i := l.First(Cookie); i >= 0; i = l.Next(i, Cookie) {
		cookies += string(l.Name(i)) + "=" + string(l.Value(i)) + ";"
		if !l.Received(i) || l.ID(i) != Cookie {
			t.Error("Received, ID")
		}
	}
	if cookies != "cookie=c;Cookie=d;" {
		t.Error(cookies)
	}
	for name, want := range map[string]string{"x-two": "2", "HOST": "a", "none": "", "COOKIE": "c"} {
		i := l.NextNamed(-1, name)
		if (i >= 0) != (want != "") || i >= 0 && string(l.Value(i)) != want {
			t.Errorf("%s: index %d", name, i)
		}
	}
}

func TestEditing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		edit func(*List) bool
		want string
		skip Set
	}{
		{name: "nothing", want: "Host: a\r\nX-One: 1\r\ncookie: c\r\nX-Two: 2\r\nCookie: d\r\nX-Three: 3\r\n"},
		{name: "skip", skip: SetOf(Cookie, Host), want: "X-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n"},
		{name: "skip all unknown", skip: SetOf(Other), want: "Host: a\r\ncookie: c\r\nCookie: d\r\n"},
		{name: "remove", edit: func(l *List) bool { return l.Remove(Cookie) == 2 && l.Remove(Cookie) == 0 }, want: "Host: a\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n"},
		{name: "remove named", edit: func(l *List) bool { return l.RemoveNamed("x-TWO") == 1 }, skip: SetOf(Cookie), want: "Host: a\r\nX-One: 1\r\nX-Three: 3\r\n"},
		{name: "add", edit: func(l *List) bool { return l.Add(Host, []byte("b")) && l.AddNamed([]byte("date"), nil) && l.Has(Date) }, skip: SetOf(Other, Cookie), want: "Host: a\r\nHost: b\r\ndate: \r\n"},
		{name: "set", edit: func(l *List) bool {
			return l.Set(Cookie, []byte("e")) && l.SetText("HOST", "b") && l.SetText("New", "n")
		}, want: "X-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\nCookie: e\r\nHOST: b\r\nNew: n\r\n"},
		{name: "join", edit: func(l *List) bool { return l.Join(Cookie, []byte("e")) && l.Join(Via, []byte("v")) }, skip: SetOf(Other), want: "Host: a\r\nCookie: c, d, e\r\nVia: v\r\n"},
		{name: "join nothing", edit: func(l *List) bool { return l.Join(Cookie, nil) }, skip: SetOf(Other, Host), want: "Cookie: c, d\r\n"},
		{name: "join twice", edit: func(l *List) bool { return l.Join(Via, nil) && l.Join(Via, []byte("v")) && l.Join(Via, []byte("w")) }, skip: SetOf(Other, Host, Cookie), want: "Via: v, w\r\n"},
		{name: "set to itself", edit: func(l *List) bool { return l.Set(Host, l.Get(Cookie)) && l.Set(Host, l.Get(Host)) }, skip: SetOf(Other, Cookie), want: "Host: c\r\n"},
		{
			name: "refused", edit: func(l *List) bool {
				return !l.Add(Host, []byte("a\r\nB: c")) && !l.Add(Other, []byte("a")) && !l.AddText("a b", "c", true) && !l.AddText("", "c", false) &&
					!l.AddNamed([]byte("a:"), []byte("b")) && !l.Set(Host, []byte("\x00")) && !l.SetText("Host", " a") && !l.Join(Cookie, []byte("\n"))
			},
			skip: SetOf(Other), want: "Host: a\r\ncookie: c\r\nCookie: d\r\n",
		},
	} {
		l := bound(t, head)
		if c.edit != nil && !c.edit(l) {
			t.Errorf("%s: the edit says otherwise", c.name)
		}
		got := string(l.AppendTo(nil, c.skip))
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if joined := string(bytes.Join(l.Segments(nil, c.skip), nil)); joined != got || l.Size(c.skip) != len(got) {
			t.Errorf("%s: segments %q, size %d", c.name, joined, l.Size(c.skip))
		}
	}
}

// TestUneditedGoesOutAsItCame counts the pieces of which a head is written.
func TestUneditedGoesOutAsItCame(t *testing.T) {
	t.Parallel()
	raw := "Host: a\r\nX-One: 1\r\nConnection: c\r\nX-Two: 2\r\nX-Three: 3\r\n"
	l := bound(t, raw)
	if pieces := l.Segments(nil, 0); len(pieces) != 1 || string(pieces[0]) != raw {
		t.Errorf("%q", pieces)
	}
	l.Add(Via, []byte("v"))
	l.Add(Date, []byte("d"))
	if pieces := l.Segments(nil, SetOf(Connection)); len(pieces) != 3 {
		t.Errorf("%q", pieces)
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	l := bound(t, head)
	l.SetText("X", strings.Repeat("x", keepOwn+1))
	for range keepEntries + 1 {
		l.Add(Date, nil)
	}
	l.Reset()
	if l.base != nil || cap(l.own) != 0 || cap(l.entries) != 0 || l.Len() != 0 || l.Has(Host) || l.AppendTo(nil, 0) != nil {
		t.Error("something is left")
	}
}

func TestAddAll(t *testing.T) {
	t.Parallel()
	raw := []byte(head)
	l := bound(t, head)
	l.Bind(raw)
	l.Add(Via, []byte("v"))
	var kept List
	kept.AddAll(l, SetOf(Cookie))
	l.Reset()
	clear(raw)
	if got := string(kept.AppendTo(nil, 0)); got != "Host: a\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\nVia: v\r\n" {
		t.Errorf("%q", got)
	}
	if !kept.Received(0) || kept.Received(kept.First(Via)) {
		t.Error("who set a field is forgotten")
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]ID{
		"Content_Length": ContentLength, "x_forwarded-for": XForwardedFor, "Content-Length": Other, "X_Y": Other, "_": Other,
		strings.Repeat("a_", 40): Other,
	} {
		var l List
		l.AddText(name, "", true)
		if got := l.Aliases(0); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestAgainstHeaderMap edits lists at random and holds them to net/http's header map.
func TestAgainstHeaderMap(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	names := []string{"Host", "Cookie", "Via", "X-One", "X-Two", "Date", "X-Forwarded-For"}
	var l List
	for range 2000 {
		l.Reset()
		want := http.Header{}
		for range random.IntN(20) {
			name, value := names[random.IntN(len(names))], strings.Repeat("v", random.IntN(4))
			id := Lookup([]byte(name))
			switch op := random.IntN(5); {
			case op == 0:
				l.RemoveNamed(strings.ToLower(name))
				want.Del(name)
			case op == 1 && id != Other:
				l.Remove(id)
				want.Del(name)
			case op == 2:
				l.SetText(name, value)
				want.Set(name, value)
			case op == 3 && id != Other:
				joined := strings.Join(append(nonEmpty(want[name]), nonEmpty([]string{value})...), ", ")
				l.Join(id, []byte(value))
				want.Set(name, joined)
			default:
				l.AddText(name, value, false)
				want.Add(name, value)
			}
		}
		got := http.Header{}
		count := 0
		for i := l.NextAny(-1); i >= 0; i = l.NextAny(i) {
			got.Add(string(l.Name(i)), string(l.Value(i)))
			count++
		}
		for _, name := range names {
			if strings.Join(got.Values(name), "|") != strings.Join(want.Values(name), "|") || len(got[name]) != len(want[name]) {
				t.Fatalf("%s: %q, want %q", name, got[name], want[name])
			}
		}
		if count != l.Len() {
			t.Fatalf("length %d, want %d", l.Len(), count)
		}
	}
}

func nonEmpty(values []string) (kept []string) {
	for _, v := range values {
		if v != "" {
			kept = append(kept, v)
		}
	}
	return kept
}

func TestAllocations(t *testing.T) {
	raw := []byte(head)
	l := bound(t, head)
	out := make([]byte, 0, 1024)
	value := []byte("10.0.0.1")
	if n := testing.AllocsPerRun(100, func() {
		l.Reset()
		l.Bind(raw)
		l.AddReceived(0, 4, 6, 7, 9)
		l.Join(XForwardedFor, value)
		l.Set(XForwardedProto, value)
		l.SetText("X-New", "x")
		l.RemoveNamed("x-new")
		out = l.AppendTo(out[:0], SetOf(Host))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	var all [][]byte
	for id := Other + 1; id < idCount; id++ {
		all = append(all, []byte(names[id]))
	}
	i := 0
	for b.Loop() {
		if Lookup(all[i%len(all)]) == Other {
			b.Fatal(i)
		}
		i++
	}
}
