package cli

import (
	"io"
	"os"
	"strconv"

	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"

	"github.com/fiberlb/fiberlb/cmd/fiberctl/internal/table"
)

// terminal is what the output goes to.
type terminal struct {
	columns  int  // 0: without bound
	colours  bool // somebody looks at standard output and has not turned colours off
	progress bool // somebody looks at standard error
}

// findTerminal looks at the outputs. COLUMNS goes before the terminal's own width; NO_COLOR (https://no-color.org) and TERM=dumb
// turn colours off.
func findTerminal(stdout, stderr io.Writer, env func(string) string) terminal {
	var t terminal
	if file, ok := stdout.(*os.File); ok && isatty.IsTerminal(file.Fd()) {
		t.colours = env("NO_COLOR") == "" && env("TERM") != "dumb"
		if size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil {
			t.columns = int(size.Col)
		}
	}
	if file, ok := stderr.(*os.File); ok {
		t.progress = isatty.IsTerminal(file.Fd()) && env("TERM") != "dumb"
	}
	if columns, err := strconv.Atoi(env("COLUMNS")); err == nil && columns > 0 {
		t.columns = columns
	}
	return t
}

// Colours of the terminal (ECMA-48, SGR).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	alarm  = "1;31"
	faint  = "2"
)

// paint gives what paints a text, or nil where there are no colours.
func (t terminal) paint(colour string) func(string) string {
	if !t.colours || colour == "" {
		return nil
	}
	return func(text string) string { return "\x1b[" + colour + "m" + text + "\x1b[0m" }
}

// painted is text in a colour.
func (t terminal) painted(colour, text string) string {
	if paint := t.paint(colour); paint != nil {
		return paint(text)
	}
	return text
}

// clean is text from afar, fit for the terminal.
func clean(text string) string { return table.Clean(text) }
