// Package version says which build this is.
package version

import (
	"runtime"
	"runtime/debug"
)

// Set by the linker (-X); see the Makefile.
var (
	version = "0.1.0-dev"
	commit  = ""
)

// Info describes a build.
type Info struct {
	Version  string `json:"version"` // semantic version, without a leading v
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"` // os/arch
}

// Version is the semantic version of this build, with the commit as build
// metadata where the version alone does not name it: 0.1.0-dev+1a2b3c4d5e6f.
func Version() string { return Get().Version }

// Get describes this build.
func Get() Info {
	c := commit
	if c == "" {
		c = stamped()
	}
	return Info{
		Version:  full(version, c),
		Commit:   c,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// full adds the commit to a development version.
func full(version, commit string) string {
	const dev = "-dev"
	if commit == "" || len(version) < len(dev) || version[len(version)-len(dev):] != dev {
		return version
	}
	return version + "+" + commit
}

// stamped is the commit that the go command wrote into the binary, if any.
func stamped() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return ""
}
