// Command bench runs the same guests under this project's engine and WASI host,
// under wazero, and under wasmtime, and as programs of the machine, and prints
// the times side by side.
//
//	bench [flags]
//
// A guest measures itself and prints a line "NAME NANOSECONDS" for each thing,
// so that neither starting nor compiling counts. Every host runs in a process
// of its own; hosts take turns, and the median of all rounds counts. Ratios are
// of another host's time to ours: above 1 this host is the faster.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options say what to run.
type options struct {
	guests   string // directory of bench-c.wasm and sqlite-c.wasm
	wasitest string // the command that runs a module under our host
	natives  string // directory of the guests as programs of the machine, named as their modules without .wasm; empty: none
	rounds   int
	only     string // a group
	without  string // a host
}

func run(args []string) error {
	if len(args) > 3 && args[0] == "host" {
		return runHost(args[1], args[2], args[3], args[4:])
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.StringVar(&o.guests, "guests", "../build/guests", "directory of the guests")
	flags.StringVar(&o.wasitest, "wasitest", "../build/wasitest", "the command that runs a module as a worker does")
	flags.StringVar(&o.natives, "natives", "", "directory of the guests compiled for this machine")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each host runs each guest")
	flags.StringVar(&o.only, "only", "", "one group: calls, files, sqlite or compute")
	flags.StringVar(&o.without, "without", "", "a host to leave out")
	flags.Parse(args)
	return compare(o)
}

// group is what one run of a guest measures.
type group struct {
	name, module string
	args         []string
}

var groups = []group{
	{"calls", "bench-c.wasm", []string{"calls", "/tmp"}},
	{"files", "bench-c.wasm", []string{"files", "/tmp"}},
	{"sqlite", "sqlite-c.wasm", []string{"/tmp/bench.db"}},
	{"compute", "bench-c.wasm", []string{"compute"}},
}

// compare runs everything and prints a table for each group.
func compare(o options) error {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	hosts := []string{ours}
	for _, h := range others() {
		if h != o.without {
			hosts = append(hosts, h)
		}
	}
	found := false
	for _, g := range groups {
		if o.only != "" && o.only != g.name {
			continue
		}
		found = true
		hosts := hosts
		if o.natives != "" && g.name != "calls" && o.without != native {
			hosts = append(slices.Clip(hosts), native)
		}
		t := newTable(hosts)
		for round := range o.rounds {
			for i := range hosts { // who begins changes from round to round
				host := hosts[(i+round)%len(hosts)]
				out, err := runGuest(o, dir, host, g)
				if err != nil {
					return fmt.Errorf("%s under %s: %w", g.name, host, err)
				}
				if err := t.add(host, out); err != nil {
					return fmt.Errorf("%s under %s: %w", g.name, host, err)
				}
			}
		}
		fmt.Printf("%s\n%s\n", g.name, t)
	}
	if !found {
		return fmt.Errorf("no group %q", o.only)
	}
	return nil
}

// runGuest runs a guest under a host, with a fresh directory as its root, and
// gives what it prints.
func runGuest(o options, dir, host string, g group) (string, error) {
	root, err := os.MkdirTemp(dir, "root-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(root)
	if err := os.Mkdir(filepath.Join(root, "tmp"), 0o777); err != nil {
		return "", err
	}
	module := filepath.Join(o.guests, g.module)
	cache := filepath.Join(dir, "cache")
	cmd := exec.Command(o.wasitest, append([]string{"run", "-cache", cache, "-dir", root + ":/", module}, g.args...)...)
	switch host {
	case ours:
		if err := os.MkdirAll(cache, 0o700); err != nil {
			return "", err
		}
	case native:
		cmd = exec.Command(filepath.Join(o.natives, strings.TrimSuffix(g.module, ".wasm")), nativeArgs(root, g.args)...)
	default:
		cmd = exec.Command("/proc/self/exe", append([]string{"host", host, module, root}, g.args...)...)
		cmd.Env = append(os.Environ(), cacheVariable+"="+filepath.Join(dir, host))
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// nativeArgs puts the paths of a guest below the directory that is its root
// elsewhere.
func nativeArgs(root string, args []string) []string {
	var list []string
	for _, a := range args {
		if strings.HasPrefix(a, "/") {
			a = root + a
		}
		list = append(list, a)
	}
	return list
}
