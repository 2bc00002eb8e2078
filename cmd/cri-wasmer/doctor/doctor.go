// Package doctor looks at a node and says what keeps cri-wasmer, or a kubelet
// with it, from working, and what to do about it.
//
// A Doctor runs checks, and each check gives findings. It works with and without
// a running daemon, contacts nothing on the network that it was not told to, and
// leaves nothing behind: what it makes to try the kernel lives in namespaces of
// a thread, or in a temporary directory.
package doctor

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/internal/config"
)

// Status is how bad a finding is.
type Status string

// States of a finding. Only a Problem keeps something from working.
const (
	OK      Status = "ok"
	Note    Status = "note"    // worth to know
	Warning Status = "warning" // works, and may surprise
	Problem Status = "problem"
)

// Finding is one thing that was looked at.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// Daemon is what a running daemon says of itself.
type Daemon struct {
	Version    string
	Conditions []Condition
	SELinux    string // on, or why pods have no labels
}

// Condition is one of the conditions of the CRI's Status.
type Condition struct {
	Type            string
	OK              bool
	Reason, Message string
}

// Config says what is looked at.
type Config struct {
	Options config.Options
	Files   []string // from which the options were read
	Unknown []string // environment variables that look like options and are none
	Version string   // of this binary
	// Ask gives what the running daemon says; nil when none runs, and an error
	// when one is there that does not answer.
	Ask func(ctx context.Context) (*Daemon, error)
	// KubeletConfig is the kubelet's configuration file; empty: it is searched.
	KubeletConfig string
	Registries    []string // to be contacted
	Deep          bool     // read all content of the image store
	Host          Host
}

// Host are the places where a node keeps what is looked at. The zero value is
// the machine's own.
type Host struct {
	Proc    string // default /proc
	Cgroup  string // default /sys/fs/cgroup
	SELinux string // default /sys/fs/selinux
	Etc     string // directory in which files of tools are searched; default /
}

func (h Host) withDefaults() Host {
	for _, d := range []struct {
		value    *string
		fallback string
	}{{&h.Proc, "/proc"}, {&h.Cgroup, "/sys/fs/cgroup"}, {&h.SELinux, "/sys/fs/selinux"}, {&h.Etc, "/"}} {
		if *d.value == "" {
			*d.value = d.fallback
		}
	}
	return h
}

// Doctor examines one node. Not safe for concurrent use.
type Doctor struct {
	Config
	daemon   *Daemon // nil: none runs
	kubelet  kubelet
	findings []Finding
	check    string // that runs
}

// checkTimeout bounds each check but the deep one.
const checkTimeout = 60 * time.Second

// checks run in this order; later ones use what earlier ones found.
var checks = []struct {
	name string
	run  func(*Doctor, context.Context)
}{
	{"rights", (*Doctor).rights},
	{"configuration", (*Doctor).configuration},
	{"daemon", (*Doctor).askDaemon},
	{"cpu", (*Doctor).cpu},
	{"kernel", (*Doctor).kernel},
	{"namespaces", (*Doctor).namespaces},
	{"directories", (*Doctor).directories},
	{"root filesystems", (*Doctor).rootFilesystems},
	{"disk", (*Doctor).disk},
	{"worker", (*Doctor).worker},
	{"kubelet", (*Doctor).findKubelet},
	{"cgroups", (*Doctor).cgroups},
	{"selinux", (*Doctor).seLinux},
	{"network", (*Doctor).network},
	{"ports", (*Doctor).ports},
	{"images", (*Doctor).images},
	{"leftovers", (*Doctor).leftovers},
	{"registry", (*Doctor).registries},
}

// Examine runs all checks. It ends early only when ctx does.
func Examine(ctx context.Context, c Config) []Finding {
	c.Host = c.Host.withDefaults()
	d := &Doctor{Config: c}
	for _, check := range checks {
		if ctx.Err() != nil {
			break
		}
		d.check = check.name
		cctx, cancel := context.WithTimeout(ctx, checkTimeout)
		if c.Deep && check.name == "images" {
			cancel()
			cctx, cancel = context.WithCancel(ctx)
		}
		check.run(d, cctx)
		cancel()
	}
	return d.findings
}

func (d *Doctor) add(s Status, remedy, format string, args ...any) {
	d.findings = append(d.findings, Finding{d.check, s, fmt.Sprintf(format, args...), remedy})
}

func (d *Doctor) ok(format string, args ...any)   { d.add(OK, "", format, args...) }
func (d *Doctor) note(format string, args ...any) { d.add(Note, "", format, args...) }
func (d *Doctor) warn(remedy, format string, args ...any) {
	d.add(Warning, remedy, format, args...)
}
func (d *Doctor) problem(remedy, format string, args ...any) {
	d.add(Problem, remedy, format, args...)
}

// Count gives how many findings have the status.
func Count(list []Finding, s Status) int {
	n := 0
	for _, f := range list {
		if f.Status == s {
			n++
		}
	}
	return n
}

// Write prints findings for people: a line each, and the remedy below.
func Write(w io.Writer, list []Finding) {
	last := ""
	for _, f := range list {
		name := f.Check
		if name == last {
			name = ""
		}
		last = f.Check
		fmt.Fprintf(w, "%-8s %-17s %s\n", f.Status, name, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(w, "%s-> %s\n", strings.Repeat(" ", 27), f.Remedy)
		}
	}
	fmt.Fprintf(w, "\n%s, %s\n", Number(Count(list, Problem), "problem"), Number(Count(list, Warning), "warning"))
}

// Number says how many there are of a thing whose plural ends in s.
func Number(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
