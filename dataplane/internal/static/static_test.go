package static

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

const web = `name: web
vips: [203.0.113.10]
listeners:
- {name: front, port: 80, protocol: tcp, default_pool_id: main}
- {name: off, port: 81, protocol: tcp, default_pool_id: other, enabled: false}
pools:
- name: main
  protocol: tcp
  health_check: {type: tcp, interval: 5s, timeout: 2s}
  backends:
  - {name: b1, address: 10.0.0.11, port: 8080}
- {name: other, protocol: tcp}
`

const east = `name: east
vips: [203.0.113.20]
node_selector: {region: east}
listeners:
- {name: front, port: 80, protocol: tcp}
`

func write(t *testing.T, documents ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lb.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(documents, "---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, path string, labels map[string]string, revision int64) *snapshot.Delta {
	t.Helper()
	d, err := Load(path, labels, revision)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func names(d *snapshot.Delta) []string {
	var names []string
	for _, r := range d.Upserts {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names
}

func TestGoodFile(t *testing.T) {
	t.Parallel()
	const prefix = "projects/default/loadBalancers/"
	d := load(t, write(t, web, east), map[string]string{"region": "west"}, 7)
	var listeners, pools, checks int
	for _, r := range d.Upserts {
		v, err := r.Decode()
		if err != nil {
			t.Errorf("%v: %v", r.Ref, err)
		}
		switch v := v.(type) {
		case *snapshot.Listener:
			listeners++
			if r.Name != prefix+"web/listeners/front" || v.Port != 80 || v.DefaultPool != prefix+"web/pools/main" {
				t.Errorf("listener %s: %+v", r.Name, v)
			}
		case *snapshot.Pool:
			pools++
			if r.Name != prefix+"web/pools/main" || len(v.Backends) != 1 || v.HealthCheck == "" {
				t.Errorf("pool %s: %+v", r.Name, v)
			}
		case *snapshot.HealthCheck:
			checks++
		}
	}
	if listeners != 1 || pools != 1 || checks != 1 || !d.Full {
		t.Errorf("%d listeners, %d pools, %d checks, full %v", listeners, pools, checks, d.Full)
	}
	if d.Version.Revision != 7 || d.Version.Cluster != "" {
		t.Errorf("version %+v", d.Version)
	}
	if set, err := d.Apply(nil); err != nil || set.Len() != 3 {
		t.Errorf("the delta leads to %d resources, %v", set.Len(), err)
	}
}

func TestNodeSelector(t *testing.T) {
	t.Parallel()
	path := write(t, web, east)
	for region, want := range map[string]int{"": 3, "west": 3, "east": 4} {
		if got := names(load(t, path, map[string]string{"region": region}, 1)); len(got) != want {
			t.Errorf("region %q: %q, want %d", region, got, want)
		}
	}
	if got := names(load(t, write(t, east), nil, 1)); len(got) != 0 {
		t.Errorf("a node that nothing selects runs %q", got)
	}
}

func TestSameFileSameDigest(t *testing.T) {
	t.Parallel()
	one, other := load(t, write(t, web, east), nil, 1), load(t, write(t, east, web), nil, 2)
	if one.Version.Digest != other.Version.Digest {
		t.Error("the order of documents changes the digest")
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	path := write(t, web)
	if got := names(load(t, filepath.Dir(path), nil, 1)); len(got) != 3 {
		t.Errorf("the folder gives %q", got)
	}
}

func TestEveryFaultIsReported(t *testing.T) {
	t.Parallel()
	replace := strings.NewReplacer("port: 80,", "port: 99999,", "protocol: tcp\n", "protocol: carrier_pigeon\n").Replace
	unable := strings.ReplaceAll(strings.ReplaceAll(web, "protocol: tcp", "protocol: udp"), "health_check: {type: tcp, interval: 5s, timeout: 2s}", "algorithm: maglev")
	tests := []struct {
		name      string
		documents []string
		want      []string
	}{
		{"two faults in one document", []string{replace(web)}, []string{"lb.yaml:4: listeners[0].port: ", "lb.yaml:8: pools[0].protocol: "}},
		{"faults in two documents", []string{strings.Replace(east, "port: 80", "port: 0x", 1), "name: web\nvips: [none]\n"}, []string{"lb.yaml:5: ", "vips[0]: "}},
		{"one VIP twice", []string{web, strings.Replace(east, "203.0.113.20", "203.0.113.10", 1)}, []string{"203.0.113.10 is a VIP of"}},
		{"what the data plane cannot do", []string{east, unable}, []string{
			`lb.yaml:7: projects/default/loadBalancers/web/listeners/front: protocol udp needs "listener.udp"`}},
		{"not YAML", []string{"name: [\n"}, []string{"lb.yaml:"}},
		{"empty", []string{""}, []string{"holds no load balancer"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d, err := Load(write(t, tc.documents...), nil, 1)
			if err == nil || d != nil {
				t.Fatalf("%v, %v, want an error alone", d, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is\n%v\nwant %q in it", err, want)
				}
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil, 1); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a missing file: %v", err)
	}
}

// A fault of a load balancer that the node does not serve counts as well:
// other nodes have the same file.
func TestFaultOfUnselectedIsReported(t *testing.T) {
	t.Parallel()
	if _, err := Load(write(t, web, strings.Replace(east, "port: 80", "port: 99999", 1)), nil, 1); err == nil {
		t.Error("the fault is not reported")
	}
}

// FuzzLoad holds what is accepted to what the apply loop relies on: the delta
// leads to its digest, and every resource decodes.
func FuzzLoad(f *testing.F) {
	f.Add(web)
	f.Add(east)
	f.Add(web + "---\n" + east)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "lb.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Load(path, nil, 1)
		if err != nil {
			return
		}
		if _, err := d.Apply(nil); err != nil {
			t.Error(err)
		}
		for _, r := range d.Upserts {
			if _, err := r.Decode(); err != nil {
				t.Errorf("%v: %v", r.Ref, err)
			}
		}
	})
}
