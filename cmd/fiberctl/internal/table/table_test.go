package table

import (
	"strings"
	"testing"
)

var head = []Column{{Title: "NAME"}, {Title: "N", Right: true}, {Title: "VIPS", Shrink: 1}, {Title: "REASON", Shrink: 2}}

var rows = [][]Cell{
	{{Text: "web"}, {Text: "1"}, {Text: "203.0.113.10,2001:db8::10"}, {Text: "listener front: cannot bind"}},
	{{Text: "日本語"}, {Text: "12345"}, {Text: ""}, {Text: "é\u0301"}},
	{{Text: "short"}},
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for columns, want := range map[int]string{
		0: `NAME        N  VIPS                       REASON
web         1  203.0.113.10,2001:db8::10  listener front: cannot bind
日本語  12345                             é` + "\u0301" + `
short`,
		60: `NAME        N  VIPS                       REASON
web         1  203.0.113.10,2001:db8::10  listener front: c…
日本語  12345                             é` + "\u0301" + `
short`,
		40: `NAME        N  VIPS              REASON
web         1  203.0.113.10,20…  listen…
日本語  12345                    é` + "\u0301" + `
short`,
		10: `NAME       N  VIPS   REAS…
web        1  203.…  list…
日本…  12345         é` + "\u0301" + `
short`,
	} {
		lines := Format(head, rows, columns)
		got := strings.Join(lines, "\n")
		if got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", columns, got, want)
		}
		for _, line := range lines {
			if columns >= 26 && Width(line) > columns {
				t.Errorf("%d columns: %q takes %d", columns, line, Width(line))
			}
		}
	}
}

func TestPaint(t *testing.T) {
	t.Parallel()
	lines := Format([]Column{{Title: "A"}, {Title: "B"}}, [][]Cell{{{Text: "too long", Paint: func(s string) string { return "<" + s + ">" }}, {Text: "x"}}}, 8)
	if lines[1] != "<too …>  x" {
		t.Errorf("%q", lines[1])
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"plain ü": "plain ü", "a\nb\tc": "a b c", "\x1b[31mred\a": "�[31mred�", "\u202eab": "�ab", "a\u2028b": "a b"} {
		if got := Clean(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("日本語 é\u0301", 3)
	f.Fuzz(func(t *testing.T, text string, columns int) {
		if columns < narrow || columns > 1000 {
			return
		}
		for _, line := range Format([]Column{{Title: "A"}}, [][]Cell{{{Text: text}}}, columns) {
			if Width(line) > columns || strings.ContainsAny(line, "\n\r\x1b") {
				t.Fatalf("%q in %d columns", line, columns)
			}
		}
	})
}
