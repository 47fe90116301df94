// Package logging owns how a FiberLB process starts its log: the two flags that every binary has, and the choice between text
// for people and JSON for machines.
package logging

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/mattn/go-isatty"
	"github.com/spf13/pflag"
)

// The words that --log-level and --log-format know.
var (
	levels  = []string{"trace", "debug", "info", "warn", "error"}
	formats = []string{"auto", "text", "json"}
)

// Flags are the logging choices of one process.
type Flags struct {
	Level  string // trace, debug, info, warn or error
	Format string // auto, text or json
}

// Register adds --log-level (info) and --log-format (auto) to fs.
func (f *Flags) Register(fs *pflag.FlagSet) {
	fs.StringVar(&f.Level, "log-level", "info", "least severe level to log: "+strings.Join(levels, ", "))
	fs.StringVar(&f.Format, "log-format", "auto", "log format: "+strings.Join(formats, ", ")+" (auto is text on a terminal, json otherwise)")
}

// New is the process's root logger as the flags say; see the function New.
func (f *Flags) New(name string, w io.Writer) (hclog.Logger, error) {
	return New(name, f.Level, f.Format, w)
}

// New returns a logger that writes lines of at least the given level to w. Level and format must be words from the lists in
// Flags; anything else is refused with the list. Format auto writes text when w is a terminal, and JSON otherwise.
func New(name, level, format string, w io.Writer) (hclog.Logger, error) {
	if !slices.Contains(levels, level) {
		return nil, fmt.Errorf("logging: --log-level %q is unknown: use one of %s", level, strings.Join(levels, ", "))
	}
	if !slices.Contains(formats, format) {
		return nil, fmt.Errorf("logging: --log-format %q is unknown: use one of %s", format, strings.Join(formats, ", "))
	}
	return hclog.New(&hclog.LoggerOptions{
		Name:       name,
		Level:      hclog.LevelFromString(level),
		Output:     w,
		JSONFormat: format == "json" || format == "auto" && !isTerminal(w),
	}), nil
}

// isTerminal reports whether somebody looks at w.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}
