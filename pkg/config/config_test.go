package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"google.golang.org/protobuf/proto"
)

const small = "name: web\nvips: [127.0.0.10]\n"

func TestLoadFilesRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge.yaml")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, textform.MaxBytes+1); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		opts Options
		want string
	}{
		"no file":       {filepath.Join(dir, "none.yaml"), Options{}, dir + "/none.yaml: cannot be read: no such file or directory"},
		"no stdin":      {"-", Options{}, "standard input: there is no standard input to read; name a file"},
		"broken stdin":  {"-", Options{Stdin: iotest.ErrReader(errors.New("broken"))}, "standard input: cannot be read: broken"},
		"faulty stdin":  {"-", Options{Stdin: strings.NewReader("name: web\nvip: []\n")}, `standard input:2: vip: is not a known field; did you mean "vips"?`},
		"empty folder":  {empty, Options{}, empty + ": the folder holds no *.yaml or *.yml file"},
		"huge":          {huge, Options{}, huge + ": is longer than 16777216 bytes; split it into several files"},
		"bad addresses": {"-", Options{Stdin: strings.NewReader("name: web\nvips:\n- 127.0.0.1\n- 192.0.2.1\n"), Addresses: &lb.AddressPolicy{VIPCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}, "standard input:4: vips[1]: 192.0.2.1"},
	} {
		documents, err := LoadFiles([]string{c.path}, c.opts)
		var faults Errors
		if !errors.As(err, &faults) || !strings.HasPrefix(err.Error(), c.want) || documents != nil {
			t.Errorf("%s: %d documents, %v", name, len(documents), err)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	documents, err := LoadFiles([]string{"-"}, Options{Stdin: strings.NewReader("# first\n\n" + small + "---\nname: b\nvips: [127.0.0.11]\n")})
	if err != nil || len(documents) != 2 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	if d := documents[0]; d.File != "-" || d.Line != 3 || d.LB.Name != "web" || d.LB.Project != "default" || d.Config.GetProject() != "" {
		t.Errorf("%+v", d)
	}
	if documents[1].Line != 6 {
		t.Errorf("second document in line %d", documents[1].Line)
	}
	if f := documents[1].Fault(lb.Violation{Path: "vips[0]", Problem: "is taken", Remedy: "take another"}); f.Error() != "standard input:7: vips[0]: is taken; take another" {
		t.Error(f)
	}
	if _, err := Load("web.json", []byte(`{"name":"web","vips":["127.0.0.10"]}`), Options{}); err != nil {
		t.Error(err)
	}
	if _, err := Load("web.JSON", []byte("{\n,}"), Options{}); err == nil || !strings.HasPrefix(err.Error(), "web.JSON:2: not JSON: ") {
		t.Error(err)
	}
}

// What the server says about a certificate's content points at the line that names its file.
func TestFaultOfCertificateFile(t *testing.T) {
	t.Parallel()
	a := parseArchive("-- web.yaml --\nname: web\nvips: [127.0.0.1]\ncertificates:\n- name: c\n  type: server\n  certificate_file: main.pem\n  private_key_file: link.key\n")
	dir, paths := a.write(t)
	if err := os.Symlink("main.key", filepath.Join(dir, "link.key")); err != nil {
		t.Fatal(err)
	}
	documents, err := LoadFiles(paths, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := documents[0].Fault(lb.Violation{Path: "certificates[0].certificate", Problem: "has expired"}).Error()
	if want := dir + "/web.yaml:6: certificates[0].certificate_file: has expired"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Without the key it loads only where one may be stored.
	text := exported(t, []*fiberlbv1.LoadBalancerConfig{documents[0].Config})
	if strings.Contains(text, "PRIVATE") {
		t.Errorf("a key was exported:\n%s", text)
	}
	if _, err := Load("x.yaml", []byte(text), Options{KeysMayBeStored: true}); err != nil {
		t.Error(err)
	}
	if _, err := Load("x.yaml", []byte(text), Options{}); err == nil || !strings.Contains(err.Error(), "x.yaml:4: certificates[0].private_key: is required") {
		t.Error(err)
	}
}

// What the server gives is written without what the server assigned, and is the same when loaded.
func TestExportOfStored(t *testing.T) {
	t.Parallel()
	documents, err := Load("web.yaml", []byte(small+"listeners: [{name: l, port: 80, protocol: tcp, default_pool_id: p}]\npools: [{name: p, protocol: tcp, health_check: {type: tcp}}]\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	stored := documents[0].LB.Clone()
	stored.UID, stored.Listeners[0].UID = "0123", "4567"
	config := lbpb.ToConfig(stored)
	config.Status = &fiberlbv1.Status{Reason: "x"}
	before := proto.Clone(config)
	text := exported(t, []*fiberlbv1.LoadBalancerConfig{config, config})
	if !proto.Equal(before, config) {
		t.Error("the export changed its argument")
	}
	for _, word := range []string{"uid", "etag", "full_name", "status", "created_at"} {
		if strings.Contains(text, word+":") {
			t.Errorf("%s is exported:\n%s", word, text)
		}
	}
	first, second, _ := strings.Cut(text, "---\n")
	if first != second {
		t.Errorf("not two documents:\n%s", text)
	}
	again, err := Load("export.yaml", []byte(first), Options{})
	if err != nil || again[0].LB.Etag() != documents[0].LB.Etag() {
		t.Errorf("%v\n%s", err, first)
	}
	if err := Export(failingWriter{}, []*fiberlbv1.LoadBalancerConfig{config}); err == nil || err.Error() != `config: export load balancer "web": full` {
		t.Error(err)
	}
	if err := Export(failingWriter{}, []*fiberlbv1.LoadBalancerConfig{{Name: "\xff"}}); err == nil || !strings.Contains(err.Error(), "is not UTF-8") {
		t.Error(err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

// FuzzLoad checks that whatever is read is valid or refused with a place, and that what is valid survives its export.
func FuzzLoad(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, text := range parseArchive(string(content)).files {
			f.Add([]byte(text))
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		documents, err := Load(filepath.Join(dir, "fuzz.yaml"), data, Options{})
		if err != nil {
			var faults Errors
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for _, d := range documents {
			text := exported(t, []*fiberlbv1.LoadBalancerConfig{lbpb.ToConfig(d.LB)})
			again, err := Load("export.yaml", []byte(text), Options{KeysMayBeStored: true})
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if again[0].LB.Etag() != d.LB.Etag() {
				t.Fatalf("not the same when loaded from its export:\n%s", text)
			}
		}
	})
}
