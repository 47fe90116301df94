package daemon

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestExecute(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad flag")
	for _, test := range []struct {
		name   string
		args   []string
		err    error
		code   int
		stderr string
	}{
		{name: "done"},
		{"at work", nil, AtWork(errors.New("disk full")), Failed, "fiberlb-x: disk full\n"},
		{"usage", nil, bad, Usage, "fiberlb-x: bad flag\nfiberlb-x: --help tells all flags\n"},
		{"unknown flag", []string{"--nope"}, nil, Usage, "fiberlb-x: unknown flag: --nope\nfiberlb-x: --help tells all flags\n"},
		{"stray argument", []string{"stray"}, nil, Usage, "unknown command \"stray\""},
		{"no error at work", nil, AtWork(nil), Done, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := Command("fiberlb-x [flags]", "x")
			cmd.RunE = func(*cobra.Command, []string) error { return test.err }
			var stdout, stderr bytes.Buffer
			if code := Execute(t.Context(), cmd, test.args, &stdout, &stderr); code != test.code {
				t.Errorf("code %d, want %d", code, test.code)
			}
			if !strings.Contains(stderr.String(), test.stderr) || (test.stderr == "") != (stderr.Len() == 0) {
				t.Errorf("stderr %q, want %q", &stderr, test.stderr)
			}
		})
	}
}
