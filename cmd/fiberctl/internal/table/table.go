// Package table owns how rows of text fit a terminal: aligned columns, and where they are too wide, the least important cells cut
// short with "…".
package table

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

const (
	gap      = 2  // blanks between columns
	readable = 16 // no column is cut below this while another, however important, is wider
	narrow   = 5  // columns are cut down to this at last
	ellipsis = "…"
)

// Column heads one column.
type Column struct {
	Title string
	// Shrink orders the columns that may be cut: the highest first. Columns of 0 are cut only after all others.
	Shrink int
	// Right aligns to the right, as numbers are.
	Right bool
}

// Cell is a text and how it is painted; Paint gets the text as it is shown, and must not change its width. Nil paints nothing.
type Cell struct {
	Text  string
	Paint func(string) string
}

// Format lays out the title line and the rows, a line each, in at most columns cells of a terminal; 0 is without bound. Short rows
// are filled up with empty cells.
func Format(head []Column, rows [][]Cell, columns int) []string {
	widths := Widths(head, rows, columns)
	titles := make([]Cell, len(head))
	for i, c := range head {
		titles[i].Text = c.Title
	}
	lines := []string{Line(head, titles, widths)}
	for _, row := range rows {
		lines = append(lines, Line(head, row, widths))
	}
	return lines
}

// Widths works out how wide each column gets: where there is too little room, those that may be cut give way in their order, first
// down to what can still be read. What is narrower than even that needs is left to the terminal to wrap.
func Widths(head []Column, rows [][]Cell, columns int) []int {
	widths := make([]int, len(head))
	total := gap * max(0, len(head)-1)
	for i, c := range head {
		widths[i] = Width(c.Title)
		for _, row := range rows {
			if i < len(row) {
				widths[i] = max(widths[i], Width(Clean(row[i].Text)))
			}
		}
		total += widths[i]
	}
	if columns <= 0 {
		return widths
	}
	for _, least := range []int{readable, narrow} {
		for total > columns {
			widest := -1
			for i, c := range head {
				if widths[i] <= least || c.Shrink == 0 && least == readable {
					continue
				}
				if widest < 0 || c.Shrink > head[widest].Shrink || c.Shrink == head[widest].Shrink && widths[i] > widths[widest] {
					widest = i
				}
			}
			if widest < 0 {
				break
			}
			widths[widest]--
			total--
		}
	}
	return widths
}

// Total is what columns of these widths take, with the blank room behind each.
func Total(widths []int) int {
	total := 0
	for _, w := range widths {
		total += w + gap
	}
	return total
}

// Line lays out one row in columns of the given widths. Blanks at its end are left out.
func Line(head []Column, row []Cell, widths []int) string {
	var b strings.Builder
	blanks := 0
	for i := range head {
		var c Cell
		if i < len(row) {
			c = row[i]
		}
		text := Cut(Clean(c.Text), widths[i])
		pad := widths[i] - Width(text)
		if head[i].Right {
			blanks += pad
			pad = 0
		}
		if text != "" {
			b.WriteString(strings.Repeat(" ", blanks))
			blanks = 0
			if c.Paint != nil {
				text = c.Paint(text)
			}
			b.WriteString(text)
		} else {
			pad = widths[i]
			if head[i].Right {
				pad = 0
			}
		}
		blanks += pad + gap
	}
	return b.String()
}

// Width is how many cells of a terminal text takes: two for wide letters (Unicode Standard Annex 11), none for marks that
// combine with the letter before.
func Width(text string) int {
	n := 0
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Cut shortens text to the given width, and says so with "…" in its last cell.
func Cut(text string, columns int) string {
	if Width(text) <= columns {
		return text
	}
	n := 0
	for i, r := range text {
		if n += runeWidth(r); n > columns-1 {
			return text[:i] + ellipsis
		}
	}
	return text
}

// Clean makes text safe for one line of a terminal: white space becomes blanks, and other control characters, which could move
// the cursor or paint, become "�".
func Clean(text string) string {
	if strings.IndexFunc(text, unsafe) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unsafe(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func unsafe(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
}
