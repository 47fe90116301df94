package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

var update = flag.Bool("update", false, "write what was seen into the golden files")

// archive is a text with files in it, in the txtar format.
type archive struct {
	comment string
	names   []string
	files   map[string]string
}

func parseArchive(text string) archive {
	a := archive{files: map[string]string{}}
	name := ""
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(rest, " --\n") {
			name = strings.TrimSuffix(rest, " --\n")
			a.names, a.files[name] = append(a.names, name), ""
		} else if name == "" {
			a.comment += line
		} else {
			a.files[name] += line
		}
	}
	return a
}

// write puts the files of the archive, and certificates as the tests need them, into a new folder and gives the arguments that
// name its top: folders and files but those of certificates.
func (a archive) write(t *testing.T) (dir string, paths []string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range certificates(t) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range a.names {
		if name == "want" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(a.files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		top, _, _ := strings.Cut(name, "/")
		if path := filepath.Join(dir, top); top != "certs" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return dir, paths
}

func certificates(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"huge.pem": bytes.Repeat([]byte("x"), maxPEMBytes+1)}
	for _, name := range []string{"main", "other"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"app.example"}}
		certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		files[name+".pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
		files[name+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	}
	return files
}

// TestGolden loads each archive's files. What it wants is the faults, or else the export of what was loaded, which must load as
// the same.
func TestGolden(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range archives {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			a := parseArchive(string(content))
			dir, paths := a.write(t)
			got := loaded(t, dir, paths)
			if *update {
				text, _, _ := strings.Cut(string(content), "-- want --\n")
				if err := os.WriteFile(path, []byte(text+"-- want --\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := a.files["want"]; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func loaded(t *testing.T, dir string, paths []string) string {
	t.Helper()
	documents, err := LoadFiles(paths, Options{})
	if err != nil {
		return strings.ReplaceAll(err.Error(), dir+"/", "") + "\n"
	}
	var configs []*fiberlbv1.LoadBalancerConfig
	for _, d := range documents {
		configs = append(configs, d.Config)
	}
	text := exported(t, configs)
	again, err := Load("export.yaml", []byte(text), Options{KeysMayBeStored: true})
	if err != nil || len(again) != len(documents) {
		t.Fatalf("%d documents of the export, %v\n%s", len(again), err, text)
	}
	for i, d := range documents {
		if len(d.LB.Certificates) == 0 && again[i].LB.Etag() != d.LB.Etag() {
			t.Errorf("%q is not the same when loaded from its export:\n%s", d.LB.Name, text)
		}
	}
	// Certificates differ from run to run.
	before, _, found := strings.Cut(text, "-----BEGIN")
	if found {
		before += "...\n"
	}
	return before
}

func exported(t *testing.T, configs []*fiberlbv1.LoadBalancerConfig) string {
	t.Helper()
	var b bytes.Buffer
	if err := Export(&b, configs); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
