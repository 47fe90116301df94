// Package harness runs FiberLB's real binaries for tests: it builds them once, starts them as processes on addresses of their
// own, waits until they are ready, keeps what they log and shows it where a test fails. With them come the servers, clients
// and certificates that stand around a load balancer. It ends only processes that it started.
package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// builds are the binaries made so far by this test process.
var builds struct {
	mu   sync.Mutex // guards all below, and is held while one is built
	dir  string
	made map[string]error
}

// Main runs the tests of a package and removes the binaries that were built for them. Call it from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if builds.dir != "" {
		_ = os.RemoveAll(builds.dir)
	}
	os.Exit(code)
}

// Binary is the path of a command of this repository, built from what is in the tree when it is first asked for. Flags of the
// build are go test's, so that everything but linking comes from its cache; under the race detector the binaries are raced too.
func Binary(t testing.TB, name string) string {
	t.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "fiberlb-e2e-bin-")
		if err != nil {
			t.Fatal(err)
		}
		builds.dir, builds.made = dir, map[string]error{}
	}
	target := filepath.Join(builds.dir, name)
	err, made := builds.made[name]
	if !made {
		err = build(name, target)
		builds.made[name] = err
	}
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func build(name, target string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	args := []string{"build", "-o", target}
	if raced {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/"+name)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("harness: build %s: %w\n%s", name, err, out)
	}
	return nil
}

// Commands are the names of all commands of this repository.
func Commands(t testing.TB) []string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	mains, err := filepath.Glob(filepath.Join(root, "cmd", "*", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(mains))
	for _, main := range mains {
		names = append(names, filepath.Base(filepath.Dir(main)))
	}
	return names
}

// Root is the repository's folder.
var Root = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("harness: find the module: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("harness: not in a module")
	}
	return filepath.Dir(mod), nil
})
