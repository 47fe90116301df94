package logging

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
)

func TestUnknownWordsAreRefusedWithTheKnownOnes(t *testing.T) {
	t.Parallel()
	tests := []struct{ level, format, want string }{
		{"loud", "auto", `logging: --log-level "loud" is unknown: use one of trace, debug, info, warn, error`},
		{"", "auto", `logging: --log-level "" is unknown: use one of trace, debug, info, warn, error`},
		{"INFO", "auto", `logging: --log-level "INFO" is unknown: use one of trace, debug, info, warn, error`},
		{"info", "yaml", `logging: --log-format "yaml" is unknown: use one of auto, text, json`},
		{"info", "", `logging: --log-format "" is unknown: use one of auto, text, json`},
	}
	for _, test := range tests {
		if _, err := New("x", test.level, test.format, os.Stderr); err == nil || err.Error() != test.want {
			t.Errorf("New(%q, %q) = %v, want %s", test.level, test.format, err, test.want)
		}
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for i, level := range levels {
		var out bytes.Buffer
		log, err := New("x", level, "text", &out)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
			log.Log(at, "said")
		}
		if got, want := strings.Count(out.String(), "said"), len(levels)-i; got != want {
			t.Errorf("level %s wrote %d lines of 5, want %d", level, got, want)
		}
	}
}

func TestAutoIsJSONOffATerminal(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log, err := New("controller", "info", "auto", file)
	if err != nil {
		t.Fatal(err)
	}
	log.Named("store").Info("opened", "revision", 7)

	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if line["@module"] != "controller.store" || line["@message"] != "opened" || line["revision"] != float64(7) {
		t.Errorf("wrote %s", text)
	}
}

func TestTextIsForPeople(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := New("controller", "info", "text", &out)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("opened", "revision", 7)
	if !strings.Contains(out.String(), "[INFO]  controller: opened: revision=7") {
		t.Errorf("wrote %q", out.String())
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args []string
		want Flags
	}{
		{nil, Flags{"info", "auto"}},
		{[]string{"--log-level=trace", "--log-format", "json"}, Flags{"trace", "json"}},
	}
	for _, test := range tests {
		var got Flags
		fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
		got.Register(fs)
		if err := fs.Parse(test.args); err != nil {
			t.Fatal(err)
		}
		if got != test.want {
			t.Errorf("%q gave %+v, want %+v", test.args, got, test.want)
		}
		if _, err := got.New("x", os.Stderr); err != nil {
			t.Error(err)
		}
	}
}
