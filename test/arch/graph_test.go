package arch

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the binaries' lists of modules instead of comparing them")

// graph is who imports whom in what is built for a node, tests left out: import path to import paths.
type graph map[string][]string

// reach is what may not come into a process, not even by way of another package.
var reach = []struct {
	from, never []string
	why         string
}{
	{
		[]string{"dataplane", "bgpagent", "pkg", "cmd/fiberlb-dataplane", "cmd/fiberlb-bgpagent", "cmd/fiberctl"},
		[]string{"go.etcd.io"},
		"a node must forward, and a command line must work, without etcd: only the controller speaks to it",
	},
	{
		[]string{"controlplane", "dataplane", "pkg", "cmd/fiberlb-controller", "cmd/fiberlb-dataplane", "cmd/fiberctl"},
		[]string{"github.com/osrg/gobgp"},
		"BGP belongs to the agent: its death must not touch traffic, and its modules must not grow the other binaries",
	},
	{
		[]string{"controlplane", "bgpagent", "pkg", "cmd/fiberlb-controller", "cmd/fiberlb-bgpagent", "cmd/fiberctl"},
		[]string{"github.com/cilium/ebpf"},
		"only the data plane touches the kernel's forwarding",
	},
	{
		[]string{"cmd/fiberctl", "controlplane", "cmd/fiberlb-controller"},
		[]string{module + "/dataplane", module + "/bgpagent"},
		"the controller and the command line run where no node is",
	},
	{
		[]string{"cmd/fiberlb-dataplane", "dataplane"},
		[]string{module + "/controlplane", module + "/bgpagent"},
		"the data plane knows its controller by the stream's messages alone",
	},
	{
		[]string{"cmd/fiberlb-bgpagent", "bgpagent"},
		[]string{module + "/controlplane", module + "/dataplane"},
		"the agent knows the data plane by the readiness socket alone",
	},
}

// goList runs the go command for the platform that nodes run, so that the answer is the same on every machine.
func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	command.Dir = root
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	output, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("go list %s: %s", strings.Join(args, " "), exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func loadGraph(t *testing.T) graph {
	t.Helper()
	g := graph{}
	decoder := json.NewDecoder(strings.NewReader(string(goList(t, "-deps", "-json=ImportPath,Imports", "./..."))))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		g[p.ImportPath] = p.Imports
	}
}

// chain is the shortest way from a package to one below the prefixes, or nil.
func (g graph) chain(from string, prefixes []string) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != from && within(at, prefixes...) {
			var way []string
			for p := at; p != ""; p = before[p] {
				way = append(way, p)
			}
			slices.Reverse(way)
			return way
		}
		for _, next := range g[at] {
			if _, seen := before[next]; !seen {
				before[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// unreachable finds, for every package below from, a way to what it must never reach.
func (g graph) unreachable(from, never []string) (found []violation) {
	for p := range g {
		folder, inside := strings.CutPrefix(p, module+"/")
		if !inside || !within(folder, from...) {
			continue
		}
		if way := g.chain(p, never); way != nil {
			found = append(found, violation{folder, "reaches " + way[len(way)-1] + ": " + strings.Join(way, " -> ")})
		}
	}
	slices.SortFunc(found, func(a, b violation) int { return strings.Compare(a.where, b.where) })
	return found
}

func TestReach(t *testing.T) {
	t.Parallel()
	g := loadGraph(t)
	for _, r := range reach {
		for _, violation := range g.unreachable(r.from, r.never) {
			t.Errorf("%s\n\twhy not: %s", violation, r.why)
		}
	}
}

// TestModules compares each binary's modules with its golden file, so that a new dependency is seen by whoever reads the change.
// Versions are left out, since they are in go.mod.
func TestModules(t *testing.T) {
	t.Parallel()
	commands, err := filepath.Glob(filepath.Join(root, "cmd", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var binaries []string
	for _, path := range commands {
		binaries = append(binaries, filepath.Base(filepath.Dir(path)))
	}
	for _, binary := range slices.Compact(binaries) {
		t.Run(binary, func(t *testing.T) {
			t.Parallel()
			lines := strings.Fields(string(goList(t, "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/"+binary)))
			slices.Sort(lines)
			lines = slices.Compact(lines)
			compareModules(t, "modules-"+binary+".txt", lines)
		})
	}
}

func compareModules(t *testing.T, name string, got []string) {
	t.Helper()
	golden := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v\n\tremedy: go test ./test/arch -update", err)
	}
	want := strings.Fields(string(text))
	for _, line := range added(want, got) {
		t.Errorf("links the new module %s\n\twhy not: each module is code that somebody must watch; if it is worth that, say why in the commit and run go test ./test/arch -update", line)
	}
	for _, line := range added(got, want) {
		t.Errorf("no longer links %s\n\tremedy: go test ./test/arch -update", line)
	}
}

// added are the lines of b that a lacks.
func added(a, b []string) (lines []string) {
	for _, line := range b {
		if !slices.Contains(a, line) {
			lines = append(lines, line)
		}
	}
	return lines
}
