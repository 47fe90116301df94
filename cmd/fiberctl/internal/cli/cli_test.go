package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fiberlb/fiberlb/pkg/adminhttp"
	"github.com/fiberlb/fiberlb/pkg/config"
	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

var update = flag.Bool("update", false, "write what was seen into the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// result is what a run of fiberctl did.
type result struct {
	code     int
	out, err string
}

func (r result) String() string {
	var b strings.Builder
	b.WriteString(r.out)
	for line := range strings.Lines(r.err) {
		b.WriteString("! " + line)
	}
	if r.code != 0 {
		fmt.Fprintf(&b, "[exit %d]\n", r.code)
	}
	return b.String()
}

// run runs fiberctl against the fake, on a terminal of a width without colours; 0: on none.
func (f *fake) run(t *testing.T, columns int, stdin string, args ...string) result {
	t.Helper()
	return f.runWith(t.Context(), terminal{columns: columns}, strings.NewReader(stdin), args...)
}

func (f *fake) runWith(ctx context.Context, screen terminal, stdin io.Reader, args ...string) result {
	var out, err bytes.Buffer
	return f.runTo(ctx, screen, stdin, &out, &err, args...)
}

func (f *fake) runTo(ctx context.Context, screen terminal, stdin io.Reader, stdout, stderr io.Writer, args ...string) result {
	env := func(name string) string {
		if name == "FIBERLB_SERVER" {
			return f.address
		}
		return ""
	}
	a := &app{stdin: stdin, out: stdout, err: stderr, env: env, terminal: screen, now: func() time.Time { return today }}
	code := a.run(ctx, args)
	r := result{code: code}
	if b, ok := stdout.(*bytes.Buffer); ok {
		r.out = strings.ReplaceAll(b.String(), adminhttp.Version(), "VERSION")
	}
	if b, ok := stderr.(*bytes.Buffer); ok {
		r.err = strings.ReplaceAll(b.String(), f.address, "SERVER")
	}
	return r
}

// put stores the load balancers of a file.
func (f *fake) put(t *testing.T, name, text string) {
	t.Helper()
	documents, err := config.Load(name, []byte(text), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		f.lbs[lb.LoadBalancerName(d.LB.Project, d.LB.Name)] = d.LB
	}
}

// filled is a fake with something of everything, and something wrong with some of it.
func filled(t *testing.T) *fake {
	t.Helper()
	f := newFake(t)
	text, err := os.ReadFile("testdata/web.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f.put(t, "web.yaml", string(text))
	f.put(t, "db.yaml", "name: db\nproject: shop\nvips: [127.0.0.20]\nnode_selector: {rack: \"7\"}\n")
	f.put(t, "off.yaml", "name: off\nvips: [127.0.0.21]\nenabled: false\n")
	status := func(p fiberlbv1.ProvisioningStatus, o fiberlbv1.OperatingStatus, reason string) *fiberlbv1.Status {
		return &fiberlbv1.Status{ProvisioningStatus: p, OperatingStatus: o, Reason: reason}
	}
	web := "projects/default/loadBalancers/web"
	f.statuses[web] = status(3, 2, "pool app: 1 of 3 backends is down")
	f.statuses[web].Rollout = &fiberlbv1.Rollout{Revision: 41, Nodes: 3, Acked: 2, Nacked: 1, LastError: web + "/listeners/front: edge-2: bind: address already in use"}
	f.statuses[web+"/listeners/front"] = status(3, 2, "edge-2: bind: address already in use")
	f.statuses[web+"/listeners/raw"] = status(1, 1, "")
	f.statuses[web+"/pools/app"] = status(1, 2, "1 of 3 backends is down")
	f.statuses[web+"/pools/rows"] = status(1, 6, "")
	f.statuses[web+"/pools/app/backends/b1"] = status(1, 1, "")
	f.statuses[web+"/pools/app/backends/b2"] = status(1, 3, "edge-1: connection refused (and 1 more)")
	f.statuses["projects/shop/loadBalancers/db"] = status(1, 1, "")
	f.statuses["projects/default/loadBalancers/off"] = status(1, 5, "")
	seen := timestamppb.New(today.Add(-3 * time.Second))
	f.nodes["edge-1"] = &fiberlbv1.Node{Name: "edge-1", FullName: "nodes/edge-1", Etag: "e1", Connected: true, Revision: 41, LastSeen: seen, Labels: map[string]string{"rack": "7"},
		ReportedLabels: map[string]string{"os": "linux"}, SoftwareVersion: "v1.2.3", Address: "10.1.0.1:50000", Controller: "ctl-1", DownCount: 1, Down: []string{"b2"}, Capabilities: []string{"listener.tcp", "pool.tcp"}}
	f.nodes["edge-2"] = &fiberlbv1.Node{Name: "edge-2", FullName: "nodes/edge-2", Etag: "e2", Connected: true, Revision: 41, LastSeen: seen, SoftwareVersion: "v1.2.3",
		Errors: []*fiberlbv1.ResourceError{{Resource: web + "/listeners/front", Message: "bind: address already in use"}}}
	f.nodes["edge-3"] = &fiberlbv1.Node{Name: "edge-3", FullName: "nodes/edge-3", Drain: true, LastSeen: timestamppb.New(today.Add(-26 * time.Hour))}
	return f
}

// TestGolden runs the commands of each golden file, one after the other, against one fake. A command is a line
// "$ COLUMNS WORDS..."; below stands what it prints, standard error behind "! ", and the exit code unless it is 0.
func TestGolden(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f := filled(t)
			var got strings.Builder
			for line := range strings.Lines(string(content)) {
				command, ok := strings.CutPrefix(line, "$ ")
				if !ok {
					continue
				}
				var columns int
				words := strings.Fields(command)
				if _, err := fmt.Sscan(words[0], &columns); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				r := f.run(t, columns, "name: stdin\nvips: [127.0.0.30]\n", words[1:]...)
				got.WriteString(line + r.String() + "\n")
				for out := range strings.Lines(r.out) {
					if columns > 0 && strings.Contains(command, "get") && !strings.Contains(command, "-o json") && len([]rune(out))-1 > columns {
						t.Errorf("%s: wider than the terminal: %q", command, out)
					}
				}
			}
			if *update {
				if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != string(content) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), content)
			}
		})
	}
}
