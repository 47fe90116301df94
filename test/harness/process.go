package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shownLines is how much of a process's log a failed test shows.
const shownLines = 200

// Spec says how to start a process.
type Spec struct {
	// Binary is a command of this repository.
	Binary string
	Args   []string
	// Env is added to this process's environment.
	Env []string
	// Namespace to run in; nil: this process's own.
	Namespace *Namespace
}

// Process is one that a test started.
type Process struct {
	Name string

	cmd    *exec.Cmd
	output *transcript
	done   chan struct{} // closed when it has ended
	err    error         // valid once done is closed
}

// Start starts a process, which ends with the test at the latest. What it wrote is shown if the test fails, and a panic or a
// data race in it fails the test.
func Start(t testing.TB, name string, spec Spec) *Process {
	t.Helper()
	cmd := exec.Command(Binary(t, spec.Binary), spec.Args...)
	cmd.Env = append(os.Environ(), spec.Env...)
	// A test process that is killed takes what it started with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	p := &Process{Name: name, cmd: cmd, output: &transcript{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	started := make(chan error)
	go func() {
		// The death signal comes with the end of the thread that started the process, so this one has to live as long: it
		// is nobody else's, and none that ends with a namespace.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var err error
		if spec.Namespace == nil {
			err = cmd.Start()
		} else {
			spec.Namespace.Do(func() { err = cmd.Start() })
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() { p.cleanup(t, spec) })
	return p
}

func (p *Process) cleanup(t testing.TB, spec Spec) {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(Patience):
			t.Errorf("%s did not end within %s of SIGTERM; what its goroutines do follows in its log", p.Name, Patience)
			_ = p.cmd.Process.Signal(syscall.SIGQUIT)
			<-p.done
		}
	}
	text := p.output.String()
	for _, sign := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE"} {
		if strings.Contains(text, sign) {
			t.Errorf("%s wrote %q", p.Name, sign)
		}
	}
	if t.Failed() {
		t.Logf("%s (%s %s) ended with %v; its last lines:\n%s", p.Name, spec.Binary, strings.Join(spec.Args, " "), p.err, p.output.tail(shownLines))
	}
}

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%s to %s: %v", sig, p.Name, err)
	}
}

// Kill ends the process by SIGKILL and waits until it is gone.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGKILL)
	<-p.done
}

// Stop ends the process by SIGTERM, and returns how long that took. An exit code other than 0 fails the test.
func (p *Process) Stop(t testing.TB) time.Duration {
	t.Helper()
	began := time.Now()
	p.Signal(t, syscall.SIGTERM)
	if code := p.Wait(t); code != 0 {
		t.Errorf("%s ended with exit code %d after SIGTERM", p.Name, code)
	}
	return time.Since(began)
}

// Wait waits until the process has ended by itself, and returns its exit code.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.code()
	case <-time.After(Patience):
		t.Fatalf("%s still runs after %s", p.Name, Patience)
		return 0
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

func (p *Process) code() int {
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// running is an error once the process has ended.
func (p *Process) running() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended: %w", p.Name, errors.Join(p.err, errors.New(p.output.tail(5))))
	default:
		return nil
	}
}

// Output is all that the process wrote so far.
func (p *Process) Output() string { return p.output.String() }

// Mark is a place in what the process writes: its present end.
func (p *Process) Mark() int { return len(p.output.String()) }

// AwaitLog waits for a line after the mark that holds all the words, and returns it.
func (p *Process) AwaitLog(t testing.TB, mark int, words ...string) string {
	t.Helper()
	var found string
	Until(t, fmt.Sprintf("%s logs %q", p.Name, words), func() error {
		for line := range strings.Lines(p.output.String()[mark:]) {
			if containsAll(line, words) {
				found = line
				return nil
			}
		}
		if err := p.running(); err != nil {
			return err
		}
		return errors.New("no such line")
	})
	return found
}

func containsAll(line string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(line, word) {
			return false
		}
	}
	return true
}

// transcript keeps what a process writes.
type transcript struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *transcript) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *transcript) tail(n int) string {
	lines := strings.SplitAfter(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
