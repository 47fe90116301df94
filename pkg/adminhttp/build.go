package adminhttp

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Build is what the Go tool chain recorded in the running binary.
type Build struct {
	Version  string `json:"version"`            // the module's version, or "devel" when none was recorded
	Revision string `json:"revision,omitempty"` // the commit it was built from
	Time     string `json:"time,omitempty"`     // that commit's time, RFC 3339
	Modified bool   `json:"modified,omitempty"` // the tree held changes that were not committed
	Go       string `json:"go"`                 // the tool chain's version
	Platform string `json:"platform"`           // operating system and architecture, "linux/amd64"
}

// BuildInfo reads the record of the running binary.
func BuildInfo() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildFrom(info)
}

// VersionHeader is the gRPC metadata in which a controller tells its version with every answer.
const VersionHeader = "fiberlb-version"

// Version is the running binary's version on one line, for --version and for what a node reports.
func Version() string { return BuildInfo().String() }

func buildFrom(info *debug.BuildInfo) Build {
	build := Build{
		Version:  info.Main.Version,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if build.Version == "" || build.Version == "(devel)" {
		build.Version = "devel"
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			build.Revision = setting.Value
		case "vcs.time":
			build.Time = setting.Value
		case "vcs.modified":
			build.Modified = setting.Value == "true"
		}
	}
	return build
}

// String is "v1.2.3 (0123456789ab, go1.26.8, linux/amd64)".
func (b Build) String() string {
	revision := ""
	if b.Revision != "" {
		revision = b.Revision[:min(len(b.Revision), 12)]
		if b.Modified {
			revision += ", modified"
		}
		revision += ", "
	}
	return fmt.Sprintf("%s (%s%s, %s)", b.Version, revision, b.Go, b.Platform)
}
