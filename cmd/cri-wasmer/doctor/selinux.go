package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// seLinux says whether pods have labels. What the policy permits the daemon only
// the daemon knows: this process runs in another domain.
func (d *Doctor) seLinux(context.Context) {
	b, err := os.ReadFile(filepath.Join(d.Host.SELinux, "enforce"))
	if errors.Is(err, fs.ErrNotExist) {
		d.note("this node has none: pods that ask for a label are refused")
		return
	}
	if err != nil {
		d.warn("run it with sudo", "%v", err)
		return
	}
	mode := "permissive"
	if strings.HasPrefix(string(b), "1") {
		mode = "enforcing"
	}
	switch {
	case d.Options.SELinux.Labels == "off":
		d.note("%s; pods have no labels, as the option selinux.labels says", mode)
	case d.daemon == nil || d.daemon.SELinux == "":
		d.note("%s; whether pods have labels is known when the daemon runs", mode)
	case d.daemon.SELinux == "on":
		d.ok("%s, pods have labels", mode)
	default:
		d.warn("load the policy module of the release (docs/deploy.md, SELinux) and restart the daemon, or set the option selinux.labels to off",
			"%s, pods have no labels: %s", mode, d.daemon.SELinux)
	}
}
