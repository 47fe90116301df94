package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

const small = "name: web\nvips: [127.0.0.10]\n"

func TestWait(t *testing.T) {
	t.Parallel()
	web := "projects/default/loadBalancers/web"
	for name, c := range map[string]struct {
		rollouts func(looks int) *fiberlbv1.Rollout
		fail     error
		args     []string
		code     int
		out, err string
	}{
		"acked": {
			rollouts: func(looks int) *fiberlbv1.Rollout {
				// First of the revision before, then node by node.
				return &fiberlbv1.Rollout{Revision: 41 + int64(min(looks, 2)/2), Nodes: 3, Acked: uint32(min(looks, 3))}
			},
			out: "web: 1 created, revision 42\nweb: in force on 3 nodes\n",
		},
		"later revision": {
			rollouts: func(int) *fiberlbv1.Rollout { return &fiberlbv1.Rollout{Revision: 50, Nodes: 1, Acked: 1} },
			out:      "web: 1 created, revision 42\nweb: in force on 1 node\n",
		},
		"nacked": {
			rollouts: func(int) *fiberlbv1.Rollout {
				return &fiberlbv1.Rollout{Revision: 42, Nodes: 3, Acked: 1, Nacked: 1, LastError: web + "/listeners/front: edge-2: bind: address already in use"}
			},
			code: Failed, out: "web: 1 created, revision 42\n",
			err: "fiberctl: web: 1 node refused it: listener front: edge-2: bind: address already in use\n",
		},
		"nacked before": {
			rollouts: func(looks int) *fiberlbv1.Rollout {
				if looks == 1 {
					return &fiberlbv1.Rollout{Revision: 41, Nodes: 1, Nacked: 1, LastError: "old"}
				}
				return &fiberlbv1.Rollout{Revision: 42, Nodes: 1, Acked: 1}
			},
			out: "web: 1 created, revision 42\nweb: in force on 1 node\n",
		},
		"slow": {
			rollouts: func(int) *fiberlbv1.Rollout { return &fiberlbv1.Rollout{Revision: 42, Nodes: 2, Acked: 1} },
			args:     []string{"--timeout", "200ms"}, code: Failed, out: "web: 1 created, revision 42\n",
			err: "fiberctl: web: written, but only 1 of 2 nodes run it after the time given\nSee 'fiberctl status'; wait longer with --timeout.\n",
		},
		"nobody": {
			rollouts: func(int) *fiberlbv1.Rollout { return &fiberlbv1.Rollout{Revision: 42} },
			args:     []string{"--timeout", "200ms"}, code: Failed, out: "web: 1 created, revision 42\n",
			err: "fiberctl: web: written, but no node serves it: none is connected, or none has the labels that its node_selector wants\nSee 'fiberctl get nodes'.\n",
		},
		"untold": {
			rollouts: func(int) *fiberlbv1.Rollout { return &fiberlbv1.Rollout{Revision: 7, Nodes: 1, Acked: 1} },
			args:     []string{"--timeout", "200ms"}, code: Failed, out: "web: 1 created, revision 42\n",
			err: "fiberctl: web: written, but the controller did not tell in time how its rollout goes\n",
		},
		"deleted": {
			fail: status.Error(codes.NotFound, "gone"),
			code: Failed, out: "web: 1 created, revision 42\n", err: "fiberctl: web: was deleted while waiting\n",
		},
		"refused": {
			fail: status.Error(codes.PermissionDenied, "not you"),
			code: Failed, out: "web: 1 created, revision 42\n", err: "fiberctl: the controller refuses you: not you\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			if c.rollouts != nil {
				f.rollouts = func(_ string, looks int) *fiberlbv1.Rollout { return c.rollouts(looks) }
			}
			if c.fail != nil {
				f.fail["GetLoadBalancer"] = c.fail
			}
			r := f.run(t, 0, small, append([]string{"apply", "-f", "-", "--wait"}, c.args...)...)
			if r.code != c.code || r.out != c.out || r.err != c.err {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A controller that restarts in the middle of a wait is waited for as well.
func TestWaitOutlivesController(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.failOnce["GetLoadBalancer"] = status.Error(codes.Unavailable, "restarting")
	f.rollouts = func(string, int) *fiberlbv1.Rollout { return &fiberlbv1.Rollout{Revision: 42, Nodes: 1, Acked: 1} }
	if r := f.run(t, 0, small, "apply", "-f", "-", "--wait"); r.code != Done {
		t.Errorf("%+v", r)
	}
}

func TestWaitShowsProgressOnTerminal(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.rollouts = func(_ string, looks int) *fiberlbv1.Rollout {
		return &fiberlbv1.Rollout{Revision: 42, Nodes: 2, Acked: uint32(min(looks-1, 2))}
	}
	r := f.runWith(t.Context(), terminal{progress: true}, strings.NewReader(small), "apply", "-f", "-", "--wait")
	const line = "\r\x1b[K"
	if want := line + "web: 0 of 2 nodes run revision 42" + line + "web: 1 of 2 nodes run revision 42" + line; r.err != want || r.code != Done {
		t.Errorf("%q", r.err)
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.rollouts = func(string, int) *fiberlbv1.Rollout { cancel(); return nil }
	r := f.runWith(ctx, terminal{}, strings.NewReader(small), "apply", "-f", "-", "--wait")
	if r.code != Failed || r.err != "fiberctl: interrupted\n" {
		t.Errorf("%+v", r)
	}
}

// What the server has against a document points into the file; no document is written if one is invalid.
func TestApplyPlacesServerFaults(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "web.yaml")
	text := "name: web\nvips:\n- 127.0.0.10\n---\nname: other\nvips:\n- 127.0.0.11\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	bad, err := status.New(codes.InvalidArgument, "no").WithDetails(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: "config.vips[0]", Description: "127.0.0.10 is not allowed; ask the operator"}, {Field: "name", Description: "is \x1b[31mtaken"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	f.failOnce["Plan"] = bad.Err()
	r := f.run(t, 0, "", "apply", "-f", path)
	want := path + ":3: vips[0]: 127.0.0.10 is not allowed; ask the operator\n" + path + ":1: name: is �[31mtaken\nfiberctl: nothing was written\n"
	if r.code != Failed || r.err != want || f.called("Apply") != 0 {
		t.Errorf("%+v", r)
	}

	// What only the writing finds does not keep the other documents from being written.
	f.failOnce["Apply"] = status.Error(codes.FailedPrecondition, "VIP 127.0.0.10 is taken: it belongs to default/x")
	r = f.run(t, 0, "", "apply", "-f", path)
	if r.code != Failed || r.err != path+":1: VIP 127.0.0.10 is taken: it belongs to default/x\n" || r.out != "other: 1 created, revision 42\n" {
		t.Errorf("%+v", r)
	}

	f.failOnce["Plan"] = bad.Err()
	if r = f.run(t, 0, "", "plan", "-f", path); r.code != Failed || !strings.HasPrefix(r.err, path+":3: vips[0]: ") || !strings.HasPrefix(r.out, "other: no changes") {
		t.Errorf("%+v", r)
	}
}

// The etag of a file is a condition; one without writes whatever there is. Requests bear IDs.
func TestApplyRequest(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.fail["Apply"] = status.Error(codes.Aborted, `load balancer "web": changed since it was read: etag is a, not b; read it again and repeat the change`)
	r := f.run(t, 0, small+"etag: b\n", "apply", "-f", "-")
	req := request[*fiberlbv1.ApplyRequest](f, "Apply")
	if req.GetEtag() != "b" || !strings.HasPrefix(req.GetRequestId(), "fiberctl-") || len(req.GetRequestId()) > 64 {
		t.Errorf("request %v", req)
	}
	if r.code != Failed || !strings.HasPrefix(r.err, "standard input:1: load balancer \"web\": changed since it was read") {
		t.Errorf("%+v", r)
	}
}

// Every code of gRPC has words.
func TestErrors(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]string{
		codes.InvalidArgument:    "fiberctl: words",
		codes.NotFound:           "fiberctl: words",
		codes.AlreadyExists:      "fiberctl: words",
		codes.FailedPrecondition: "fiberctl: words",
		codes.Aborted:            "fiberctl: words",
		codes.OutOfRange:         "fiberctl: words",
		codes.ResourceExhausted:  "fiberctl: words",
		codes.Unauthenticated:    "fiberctl: the controller refuses you: words",
		codes.PermissionDenied:   "fiberctl: the controller refuses you: words",
		codes.Internal:           "fiberctl: the controller ran into a fault of its own: words",
		codes.Unknown:            "fiberctl: the controller ran into a fault of its own: words",
		codes.DataLoss:           "fiberctl: the controller ran into a fault of its own: words",
		codes.Unimplemented:      "fiberctl: the controller does not know this request: it is older than this fiberctl (words)",
		codes.Unavailable:        "fiberctl: the controller at SERVER cannot serve this now: words",
		codes.DeadlineExceeded:   "fiberctl: no answer from SERVER in time\nGive it longer with --timeout, or name another with --server or $FIBERLB_SERVER.",
	} {
		f := newFake(t)
		f.fail["ListNodes"] = status.Error(code, "words")
		if r := f.run(t, 0, "", "get", "nodes"); r.code != Failed || r.err != want+"\n" {
			t.Errorf("%s: %+v", code, r)
		}
	}
}

// dead is where nobody listens, nor comes to listen while tests run side by side.
const dead = "127.255.255.1:1"

// Every command that calls the controller fails in words when there is none.
func TestNoController(t *testing.T) {
	t.Parallel()
	f := &fake{address: dead}
	want := "fiberctl: no controller answers at SERVER: connection refused\nIs it running? Name another with --server or $FIBERLB_SERVER.\n"
	for _, args := range []string{
		"get lb", "get lb -w", "get lb web -o yaml", "delete lb web", "delete -f -", "apply -f -", "apply -f - --wait", "apply -f - -f testdata/two.yaml", "plan -f -", "export", "status", "status web",
		"drain a", "label node a b=c", "certificate list", "certificate show a --lb web", "certificate upload a --lb web --cert testdata/web.yaml", "version",
	} {
		if r := f.run(t, 0, small, strings.Fields(args)...); r.code != Failed || r.err != want {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := f.run(t, 0, small, "validate", "-f", "-"); r.code != Done {
		t.Errorf("validate needs a controller: %+v", r)
	}
}

// Of several controllers the first that answers is used.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	f := filled(t)
	if r := f.run(t, 0, "", "--server", dead+", "+f.address, "version"); r.code != Done || r.out != "fiberctl:   VERSION\ncontroller: v9.9.9\n" {
		t.Errorf("%+v", r)
	}
	if r := f.run(t, 0, "", "version", "--client", "--server", dead); r.code != Done || r.out != "fiberctl:   VERSION\n" {
		t.Errorf("%+v", r)
	}
}

func TestServerList(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"127.0.0.1:7400": "127.0.0.1:7400", "ctl": "ctl:7400", "ctl:1, [::1]:2": "ctl:1 [::1]:2", "[::1]": "[::1]:7400", "unix:/run/x": "unix:/run/x",
		"": "", ":7400": "", "a,": "", "http://a": "", "a:": "", "unix:/a,b": "", "::1:2:3": "",
	} {
		got, err := serverList(text)
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// A server that wants TLS, and one that has none, are told apart from one that is not there.
func TestTransportFaults(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	files := tlsidtest.NewCA(t).Client(t, "operator")
	r := f.run(t, 0, "", "get", "lb", "--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-ca", files.CA)
	if r.code != Failed || !strings.Contains(r.err, "no controller answers at SERVER: ") || !strings.Contains(r.err, "Look at --tls-cert, --tls-key and --tls-ca") {
		t.Errorf("%+v", r)
	}
	r = f.run(t, 0, "", "get", "lb", "--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-ca", "nowhere")
	if r.code != Usage || !strings.HasPrefix(r.err, "fiberctl: tls: ") {
		t.Errorf("%+v", r)
	}
}

// A writer that hands over what is written line by line.
func lines(t *testing.T) (io.WriteCloser, func() string) {
	t.Helper()
	reader, writer := io.Pipe()
	t.Cleanup(func() { _ = reader.Close() })
	scanner := bufio.NewScanner(reader)
	return writer, func() string {
		if !scanner.Scan() {
			return ""
		}
		return scanner.Text()
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	f := filled(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, next := lines(t)
	var errors strings.Builder
	var wg sync.WaitGroup
	var r result
	wg.Go(func() {
		r = f.runTo(ctx, terminal{columns: 80}, nil, out, &errors, "get", "lb", "-w", "--timeout", "20s")
		_ = out.Close()
	})
	expect := func(want ...string) {
		t.Helper()
		for _, line := range want {
			if got := next(); got != line {
				t.Fatalf("got  %q\nwant %q", got, line)
			}
		}
	}
	expect("NAME     VIPS              PROVISIONING  OPERATING  NODES  AGE  REASON",
		"off      127.0.0.21        active        disabled   2/2    2d",
		"web      203.0.113.10,20…  ERROR         degraded   2/3    2d   pool app: 1 of …",
		"shop/db  127.0.0.20        active        online     2/2    2d")
	db := proto.CloneOf(f.configs()[2])
	db.Status.OperatingStatus = fiberlbv1.OperatingStatus_OPERATING_STATUS_ERROR
	f.events <- &fiberlbv1.WatchResponse{Type: fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_STATUS, Config: db}
	expect("shop/db  127.0.0.20        active        ERROR      2/2    2d")
	f.events <- &fiberlbv1.WatchResponse{Type: fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_DELETED, Config: &fiberlbv1.LoadBalancerConfig{Name: "off", FullName: "projects/default/loadBalancers/off"}}
	expect("off      deleted")
	// The stream breaks, and a load balancer is deleted in the meantime.
	f.mu.Lock()
	delete(f.lbs, "projects/default/loadBalancers/off")
	delete(f.lbs, "projects/default/loadBalancers/web")
	f.mu.Unlock()
	f.events <- &fiberlbv1.WatchResponse{}
	expect("web      deleted", "shop/db  127.0.0.20        active        online     2/2    2d")
	// A longer name moves the columns.
	wide := proto.CloneOf(db)
	wide.Name, wide.FullName = "a-longer-name", "projects/shop/loadBalancers/a-longer-name"
	f.events <- &fiberlbv1.WatchResponse{Type: fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_CREATED, Config: wide}
	expect("NAME                VIPS        PROVISIONING  OPERATING  NODES  AGE  REASON",
		"shop/a-longer-name  127.0.0.20  active        ERROR      2/2    2d")
	cancel()
	wg.Wait()
	if r.code != Done || errors.String() != "fiberctl: the connection was lost; looking for a controller\n" {
		t.Errorf("%+v %q", r, errors.String())
	}
}

func TestWatchFormats(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"name": strings.Repeat("projects/shop/loadBalancers/db\n", 2),
		"json": `{"deleted":false,"load_balancer":{"name":"db"`,
		"yaml": "---\nname: db\n",
	} {
		f := filled(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			select {
			case f.events <- &fiberlbv1.WatchResponse{Type: fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_DELETED, Config: &fiberlbv1.LoadBalancerConfig{FullName: "projects/shop/loadBalancers/db"}}:
			case <-t.Context().Done():
			}
		})
		f.mu.Lock()
		for name := range f.lbs {
			if name != "projects/shop/loadBalancers/db" {
				delete(f.lbs, name)
			}
		}
		f.mu.Unlock()
		r := f.run(t, 0, "", "get", "lb", "-w", "-o", format, "--timeout", "300ms")
		wg.Wait()
		if r.code != Done || !strings.HasPrefix(r.out, want) || r.err != "" {
			t.Errorf("%s: %+v", format, r)
		}
	}
	f := newFake(t)
	f.fail["Watch"] = status.Error(codes.PermissionDenied, "not you")
	if r := f.run(t, 0, "", "get", "lb", "-w"); r.code != Failed || r.err != "fiberctl: the controller refuses you: not you\n" {
		t.Errorf("%+v", r)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	f := filled(t)
	for command, want := range map[string]string{
		"get l":                              "loadbalancers listeners",
		"get lb ":                            "off web projects/shop/loadBalancers/db",
		"get lb w":                           "web",
		"get lb -p shop ":                    "projects/shop/loadBalancers/db db",
		"get listener --lb web ":             "front raw",
		"get listener f":                     "",
		"get backends --lb web --pool app b": "b1 b2",
		"get pools --lb ":                    "off web projects/shop/loadBalancers/db",
		"get backends --lb web --pool ":      "app rows",
		"get rules --lb web --listener front --policy ": "api old",
		"get lb -o j":                     "json",
		"get nosuch ":                     "",
		"get lb web ":                     "",
		"delete pool --lb web r":          "rows",
		"status w":                        "web",
		"export ":                         "off web projects/shop/loadBalancers/db",
		"drain edge-":                     "edge-1 edge-2 edge-3",
		"label ":                          "node",
		"label node ":                     "edge-1 edge-2 edge-3",
		"label node edge-1 ":              "",
		"certificate show --lb web ":      "main old",
		"certificate upload --type s":     "server sni",
		"certificate list --lb projects/": "projects/shop/loadBalancers/db",
	} {
		words := strings.Split(command, " ")
		r := f.run(t, 0, "", append([]string{"__complete"}, words...)...)
		var got []string
		for line := range strings.Lines(r.out) {
			if !strings.HasPrefix(line, ":") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		expected := strings.Fields(want)
		if command == "get lb -p shop " {
			expected = expected[1:]
		}
		if !slices.Equal(got, expected) {
			t.Errorf("%s: %q, want %q", command, got, expected)
		}
	}
	f.fail["ListNodes"] = errors.New("broken")
	if r := f.run(t, 0, "", "__complete", "drain", ""); r.code != Done || r.out != ":4\n" {
		t.Errorf("%+v", r)
	}
	if r := f.run(t, 0, "", "completion", "bash"); r.code != Done || !strings.Contains(r.out, "__start_fiberctl") {
		t.Errorf("%.100s", r.out)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for _, args := range []string{"", "--help", "help", "certificate", "get --help"} {
		if r := f.run(t, 0, "", strings.Fields(args)...); r.code != Done || !strings.Contains(r.out, "Usage:") || r.err != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// Colours stand only where somebody looks, and tell what is wrong.
func TestColours(t *testing.T) {
	t.Parallel()
	f := filled(t)
	r := f.runWith(t.Context(), terminal{colours: true}, nil, "status")
	for _, want := range []string{"\x1b[1;31mERROR\x1b[0m", "\x1b[1;31m!! 4 problems\x1b[0m", "\x1b[32mready\x1b[0m", "\x1b[33mdegraded\x1b[0m"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in %q", want, r.out)
		}
	}
	r = f.runWith(t.Context(), terminal{colours: true}, nil, "plan", "-f", "testdata/changed.yaml")
	for _, want := range []string{"\x1b[32m  + backend app/b3\x1b[0m", "\x1b[31m  - listener raw\x1b[0m", "\x1b[33m  ~ listener front\x1b[0m"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in %q", want, r.out)
		}
	}
	if r = f.run(t, 80, "", "status"); strings.Contains(r.out, "\x1b") {
		t.Errorf("colours without a terminal: %q", r.out)
	}
}

func TestFindTerminal(t *testing.T) {
	t.Parallel()
	env := func(name string) string { return map[string]string{"COLUMNS": "132"}[name] }
	if got := findTerminal(&strings.Builder{}, os.Stderr, env); got.columns != 132 || got.colours {
		t.Errorf("%+v", got)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got := findTerminal(file, file, func(string) string { return "" }); got != (terminal{}) {
		t.Errorf("a file is taken for a terminal: %+v", got)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	zero := map[lb.Kind]proto.Message{
		lb.KindLoadBalancer: &fiberlbv1.LoadBalancer{}, lb.KindListener: &fiberlbv1.Listener{}, lb.KindPool: &fiberlbv1.Pool{}, lb.KindBackend: &fiberlbv1.Backend{},
		lb.KindHealthCheck: &fiberlbv1.HealthCheck{}, lb.KindPolicy: &fiberlbv1.L7Policy{}, lb.KindRule: &fiberlbv1.L7Rule{}, lb.KindCertificate: &fiberlbv1.Certificate{},
		lb.KindNode: &fiberlbv1.Node{},
	}
	for _, k := range kinds {
		for _, name := range k.names {
			if found, err := findKind(strings.ToUpper(name)); err != nil || found != k {
				t.Errorf("%s: %v", name, err)
			}
		}
		row := k.row(&app{now: func() time.Time { return today }}, zero[k.of])
		if len(row) != len(k.columns) {
			t.Errorf("%s: %d cells for %d columns", k.names[0], len(row), len(k.columns))
		}
	}
}
