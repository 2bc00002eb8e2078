//go:build wasip1

// Command toolbox is a shell and some hundred small programs in one WASI
// preview1 module. The base name of argv[0] says which one runs; called as
// toolbox or busybox, argv[1] does. An image holds one copy of the module with
// a hard link for every program.
package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/programs"
)

func main() {
	argv := os.Args
	if len(argv) == 0 {
		argv = []string{"toolbox"}
	}
	launcher := programs.Launcher()
	if isToolbox(argv[0]) {
		if len(argv) == 1 || argv[1] == "--list" {
			fmt.Println(strings.Join(launcher.Table.Names(), "\n"))
			return
		}
		argv = argv[1:]
	}
	c := &applet.Ctx{
		Name: argv[0], Caller: path.Base(argv[0]),
		In: applet.Stdin, Out: applet.NewOutput(applet.Stdout), Err: applet.Stderr,
		Dir: directory(), Env: os.Environ(),
		Life: context.Background(), Start: launcher.Start,
	}
	code, ok := launcher.Table.Run(c, argv)
	if !ok {
		fmt.Fprintf(os.Stderr, "toolbox: %s: no such program\n", argv[0])
	}
	os.Exit(code)
}

func isToolbox(argv0 string) bool {
	switch strings.TrimSuffix(path.Base(argv0), ".wasm") {
	case "toolbox", "busybox":
		return true
	}
	return false
}

// directory is where relative paths start: PWD, as preview1 has no working
// directory.
func directory() string {
	if dir := path.Clean(os.Getenv("PWD")); path.IsAbs(dir) {
		return dir
	}
	return "/"
}
