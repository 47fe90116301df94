package adminhttp

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestBuildString(t *testing.T) {
	t.Parallel()
	host := runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: "vcs." + key, Value: value} }
	tests := []struct {
		name     string
		version  string
		settings []debug.BuildSetting
		want     string
	}{
		{"nothing recorded", "", nil, "devel (" + host},
		{"tree without a tag", "(devel)", nil, "devel (" + host},
		{"release", "v1.2.3", []debug.BuildSetting{setting("revision", "0123456789abcdef0123"), setting("modified", "false")}, "v1.2.3 (0123456789ab, " + host},
		{"changed tree", "v1.2.3+dirty", []debug.BuildSetting{setting("revision", "0123"), setting("modified", "true")}, "v1.2.3+dirty (0123, modified, " + host},
	}
	for _, test := range tests {
		info := &debug.BuildInfo{Main: debug.Module{Version: test.version}, Settings: test.settings}
		if got := buildFrom(info).String(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	build := buildFrom(&debug.BuildInfo{Settings: []debug.BuildSetting{setting("time", "2026-01-02T03:04:05Z")}})
	if build.Time != "2026-01-02T03:04:05Z" {
		t.Errorf("time %q", build.Time)
	}
	if Version() != BuildInfo().String() {
		t.Error("Version is not that of the running binary")
	}
}
