package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func keyFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func TestReadKeyFile(t *testing.T) {
	t.Parallel()
	raw := strings.Repeat("\x00\xffab", 8)
	asHex, as64 := hex.EncodeToString([]byte(raw)), base64.StdEncoding.EncodeToString([]byte(raw))
	other := strings.Repeat("7f", 32)
	key, _ := ecKey(t)
	sealer, err := New([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := sealer.Seal(name, key)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		content string
		current bool
	}{
		"raw":               {raw, true},
		"hex":               {asHex, true},
		"hex in capitals":   {strings.ToUpper(asHex) + "\n", true},
		"base64":            {as64 + "\n", true},
		"base64 unpadded":   {strings.TrimRight(as64, "="), true},
		"base64 for URLs":   {base64.URLEncoding.EncodeToString([]byte(raw)), true},
		"lines and remarks": {"# new\r\n\r\n  " + asHex + "  \r\n# old\r\n" + other + "\r\n", true},
		"as the old one":    {other + "\n" + as64, false},
	}
	for what, test := range tests {
		s, err := ReadKeyFile(keyFile(t, test.content, 0o600))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if _, err := s.Open(name, sealed); err != nil || s.Current(sealed) != test.current {
			t.Errorf("%s: current %t, %v", what, s.Current(sealed), err)
		}
	}
}

func TestReadKeyFileRefuses(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("5ec2e7", 5) // hexadecimal of 15 bytes
	tests := map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"wide mode":        {secret, 0o640, "its mode is 0640, but only the owner may have access; chmod 600 it"},
		"readable by all":  {secret, 0o604, "its mode is 0604"},
		"empty":            {"", 0o600, "holds no key"},
		"remarks only":     {"# x\n", 0o400, "holds no key"},
		"short":            {secret, 0o600, "line 1: not 32 bytes"},
		"short, 32 digits": {secret + "aa", 0o600, "line 1: not 32 bytes"},
		"second line":      {strings.Repeat("7f", 32) + "\n" + secret, 0o600, "line 2: not 32 bytes"},
		"twice the same":   {strings.Repeat(strings.Repeat("7f", 32)+"\n", 2), 0o600, "key 2 is the same as key 1"},
		"huge":             {strings.Repeat("x", maxKeyFile+1), 0o600, "longer than 65536 bytes"},
	}
	for what, test := range tests {
		path := keyFile(t, test.content, test.mode)
		_, err := ReadKeyFile(path)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := ReadKeyFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadKeyFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestGenerateKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := GenerateKeyFile(path); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyFile(path); err != nil {
		t.Error(err)
	}
	if err := GenerateKeyFile(path); err != nil {
		t.Error(err)
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(first, again) {
		t.Error("the key changed")
	}
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("%d files are left", len(names))
	}
	if err := GenerateKeyFile(filepath.Join(path, "x")); err == nil {
		t.Error("no error")
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(strings.Repeat("7f", 32) + "\n# x\n"))
	f.Add(bytes.Repeat([]byte{0}, 32))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text)
		if err == nil && len(keys) == 0 {
			t.Error("neither keys nor an error")
		}
		for _, key := range keys {
			if len(key) != KeySize {
				t.Errorf("a key of %d bytes", len(key))
			}
		}
	})
}
