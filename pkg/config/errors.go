package config

import (
	"strconv"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// Error is one fault of a file.
type Error struct {
	File string
	Line int // of the value, or of the nearest one around it; 0: the file as a whole
	lb.Violation
}

// Error gives "web.yaml:12: listeners[0].port: 99999 is not in 1-65535; remedy".
func (e *Error) Error() string {
	where := e.File
	if e.File == Stdin {
		where = "standard input"
	}
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line)
	}
	return where + ": " + e.Violation.String()
}

// Errors are all faults of all files: in the order of the files, then of the lines, then what documents claim twice.
type Errors []*Error

// Error gives one line per fault.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, fault := range e {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}
