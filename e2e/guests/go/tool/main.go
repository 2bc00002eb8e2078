//go:build wasip1

// Command tool is one module with many applets, chosen by the base name of
// argv[0], as in busybox; called as "tool", its first argument is the applet.
// It gives the tests commands to exec and a way to look at a container from
// the inside.
package main

import (
	"fmt"
	"os"
	"path"
	"sort"
	"strings"
)

// An applet gets its arguments without its own name and returns an exit code.
type applet func(args []string) int

var applets = map[string]applet{
	"cat":      cat,
	"echo":     echo,
	"env":      env,
	"exit":     exit,
	"false":    func([]string) int { return 1 },
	"hostname": hostname,
	"id":       id,
	"ls":       ls,
	"mkdir":    mkdir,
	"pwd":      pwd,
	"rm":       rm,
	"sleep":    sleep,
	"stderr":   stderr,
	"status":   status,
	"top":      top,
	"touch":    touch,
	"true":     func([]string) int { return 0 },
	"write":    write,
	"yes":      yes,
}

func main() {
	args := os.Args
	name := appletName(args[0])
	if applets[name] == nil && len(args) > 1 {
		args = args[1:]
		name = appletName(args[0])
	}
	run, ok := applets[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "tool: no applet %q, only %s\n", name, strings.Join(names(), ", "))
		os.Exit(127)
	}
	os.Exit(run(args[1:]))
}

func appletName(arg0 string) string {
	return strings.TrimSuffix(path.Base(arg0), ".wasm")
}

func names() []string {
	list := make([]string, 0, len(applets))
	for name := range applets {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

// fail reports err on stderr and is the exit code of an applet that failed.
func fail(err error) int {
	fmt.Fprintln(os.Stderr, "tool:", err)
	return 1
}
