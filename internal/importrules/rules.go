package importrules

import (
	"slices"
	"strings"
)

const module = "github.com/cri-wasmer/cri-wasmer/"

// edge forbids packages that match from to depend on packages that match to.
type edge struct {
	from, to []string // patterns, see matches
	why      string
}

// forbidden holds for dependencies over other packages of ours, too.
var forbidden = []edge{
	{[]string{"cmd/cri-wasmer", "cri/...", "imageservice/...", "sandbox/..."}, []string{"engine/...", "cmd/cri-wasmer-worker"},
		"the daemon never loads an engine: it meets the worker in proto"},
	{[]string{"engine/...", "cmd/cri-wasmer-worker"}, []string{"cri/...", "imageservice/...", "sandbox/...", "cmd/cri-wasmer"},
		"a worker runs what a guest can break: it knows nothing of pods and images"},
	{[]string{"sandbox"}, []string{"sandbox/*/..."},
		"the domain declares what it needs of Linux and never imports who does it"},
	{[]string{"sandbox/..."}, []string{"imageservice/...", "cri/..."},
		"the domain knows neither where images come from nor how it is called"},
	{[]string{"imageservice/..."}, []string{"sandbox/...", "cri/..."},
		"the image service knows nothing of pods"},
	{[]string{"proto/..."}, []string{"cmd/...", "cri/...", "engine/...", "imageservice/...", "internal/...", "sandbox/..."},
		"the contract between the halves depends on neither"},
	{[]string{"telemetry"}, []string{"cmd/...", "cri/...", "engine/...", "imageservice/...", "proto/...", "sandbox/..."},
		"telemetry is told what to count, and knows nothing of what it counts"},
	{[]string{"internal/..."}, []string{"cmd/...", "cri/...", "engine/...", "imageservice/...", "proto/...", "sandbox/..."},
		"helpers know nothing of what they help"},
	{[]string{"cmd/...", "cri/...", "engine/...", "imageservice/...", "internal/...", "proto/...", "sandbox/..."}, []string{"e2e/...", "examples/..."},
		"what ships never depends on tests"},
	{[]string{"engine/wasi"}, []string{"engine/wasi/...", "engine/wasmer", "engine/worker"},
		"System has neither guest memory nor system calls"},
}

// free may be used everywhere.
var free = []string{"golang.org/x/sys/...", "golang.org/x/sync/..."}

// owners lists who may import an outside library. A library that is in neither
// table fails the test: give it an owner.
var owners = map[string][]string{
	"k8s.io/cri-api/...":                         {"cri/...", "cmd/cri-wasmer", "e2e/...", "examples/..."},
	"k8s.io/cri-streaming/...":                   {"cri/..."},
	"k8s.io/cri-client/...":                      {"e2e/..."},
	"k8s.io/client-go/...":                       {"e2e/..."},
	"k8s.io/api/...":                             {"e2e/..."},
	"k8s.io/apimachinery/...":                    {"e2e/..."},
	"k8s.io/streaming/...":                       {"cri/..."},
	"k8s.io/klog/v2/...":                         {"cri/..."},
	"google.golang.org/grpc/...":                 {"cri/...", "telemetry", "cmd/cri-wasmer", "e2e/...", "examples/..."},
	"google.golang.org/protobuf/...":             {"cri/...", "e2e/..."},
	"github.com/google/go-containerregistry/...": {"imageservice/...", "e2e/...", "examples/..."},
	"github.com/containerd/containerd/v2/...":    {"imageservice/..."},
	"github.com/docker/cli/...":                  {"imageservice/..."},
	"github.com/klauspost/compress/...":          {"imageservice/...", "e2e/..."},
	"github.com/opencontainers/image-spec/...":   {"imageservice/...", "e2e/..."},
	"github.com/opencontainers/go-digest/...":    {"imageservice/..."},
	"go.etcd.io/bbolt/...":                       {"imageservice/..."},
	"github.com/containernetworking/...":         {"sandbox/network"},
	"github.com/google/nftables/...":             {"sandbox/network"},
	"github.com/vishvananda/netlink/...":         {"sandbox/network", "e2e/..."},
	"github.com/containerd/cgroups/v3/...":       {"sandbox/cgroup"},
	"github.com/coreos/go-systemd/v22/...":       {"sandbox/cgroup"},
	"github.com/godbus/dbus/v5/...":              {"sandbox/cgroup"},
	"github.com/moby/sys/...":                    {"sandbox/rootfs/..."},
	"github.com/elastic/go-seccomp-bpf/...":      {"sandbox/seccomp"},
	"golang.org/x/net/...":                       {"sandbox/seccomp", "cri/...", "engine/wasi/dns"},
	"mvdan.cc/sh/v3/...":                         {"e2e/guests/..."},
	"github.com/opencontainers/selinux/...":      {"sandbox/selinux"},
	"github.com/opencontainers/runtime-spec/...": {"sandbox/..."},
	"github.com/wasmerio/wasmer-go/...":          {"engine/wasmer"},
	"github.com/spf13/cobra/...":                 {"cmd/..."},
	"github.com/spf13/pflag/...":                 {"internal/config"},
	"github.com/pelletier/go-toml/v2/...":        {"internal/config", "imageservice/registry", "imageservice/signature"},
	"github.com/prometheus/client_golang/...":    {"telemetry"},
	"go.opentelemetry.io/...":                    {"telemetry"},
}

// cgoAllowed lists who may use cgo.
var cgoAllowed = []string{"engine/...", "cmd/cri-wasmer-worker"}

// pkg is what a rule looks at.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string // imports of imports, too
	CgoFiles   []string
}

// name is the package without the module.
func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// breaches lists what breaks a rule, in words.
func breaches(packages []pkg) []string {
	var out []string
	for _, p := range packages {
		out = append(out, edgeBreaches(p)...)
		out = append(out, ownerBreaches(p)...)
		if len(p.CgoFiles) > 0 && !matchesAny(cgoAllowed, p.name()) {
			out = append(out, p.name()+" uses cgo: only the worker may")
		}
	}
	return out
}

func edgeBreaches(p pkg) []string {
	var out []string
	for _, e := range forbidden {
		if !matchesAny(e.from, p.name()) {
			continue
		}
		for _, dep := range p.Deps {
			name, ours := strings.CutPrefix(dep, module)
			if ours && name != p.name() && matchesAny(e.to, name) {
				out = append(out, p.name()+" depends on "+name+": "+e.why)
			}
		}
	}
	return out
}

func ownerBreaches(p pkg) []string {
	var out []string
	for _, lib := range p.Imports {
		if !outside(lib) || matchesAny(free, lib) {
			continue
		}
		users, known := usersOf(lib)
		switch {
		case !known:
			out = append(out, p.name()+" imports "+lib+", which has no owner: add it to the table of owners")
		case !matchesAny(users, p.name()):
			out = append(out, p.name()+" imports "+lib+": only "+strings.Join(users, ", ")+" may")
		}
	}
	return out
}

// outside says whether a package is of another module: its first element has a
// dot, which that of the standard library has not.
func outside(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".") && !strings.HasPrefix(path, module)
}

func usersOf(lib string) (users []string, known bool) {
	for pattern, users := range owners {
		if matches(pattern, lib) {
			return users, true
		}
	}
	return nil, false
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// matches compares element by element: * stands for one, a final ... for any
// number, none included.
func matches(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	for i, w := range want {
		switch {
		case w == "...":
			return true
		case i >= len(got), w != "*" && w != got[i]:
			return false
		}
	}
	return len(want) == len(got)
}
