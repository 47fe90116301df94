package harness

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
)

// Ctl runs fiberctl.
type Ctl struct {
	Server string
	TLS    *tlsidtest.Files
}

// Outcome of a command that ran to its end.
type Outcome struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a command to its end and returns what it did.
func Run(t testing.TB, binary, stdin string, args ...string) Outcome {
	t.Helper()
	return run(t, nil, binary, stdin, args...)
}

func run(t testing.TB, env []string, binary, stdin string, args ...string) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(t, binary), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s %s still runs after %s:\n%s%s", binary, strings.Join(args, " "), 2*Patience, &stdout, &stderr)
	}
	out := Outcome{Stdout: stdout.String(), Stderr: stderr.String()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		out.Code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("%s: %v", binary, err)
	}
	return out
}

// Run runs fiberctl against the server and returns what it did.
func (c Ctl) Run(t testing.TB, stdin string, args ...string) Outcome {
	t.Helper()
	env := []string{"FIBERLB_SERVER=" + c.Server}
	if c.TLS != nil {
		args = append(args, TLSArgs(*c.TLS)...)
	}
	return run(t, env, "fiberctl", stdin, args...)
}

// Must is Run where the command has to succeed; it returns what was written to standard output.
func (c Ctl) Must(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out := c.Run(t, stdin, args...)
	if out.Code != 0 {
		t.Fatalf("fiberctl %s: exit code %d\n%s%s", strings.Join(args, " "), out.Code, out.Stdout, out.Stderr)
	}
	return out.Stdout
}

// Apply applies a document and waits until all nodes run it.
func (c Ctl) Apply(t testing.TB, yaml string) {
	t.Helper()
	c.Must(t, yaml, "apply", "-f", "-", "--wait")
}
