// Package privatetest runs the tests of a package in namespaces of their own, so
// that they neither touch what is on the machine nor see it change.
package privatetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

const variable = "CRI_WASMER_TEST_PRIVATE"

// Main is for TestMain: it ends the process with the result of run, which is
// called in new namespaces of the CLONE_NEW* flags. Mounts do not reach the
// machine from there. Without root run is called right here.
func Main(flags uintptr, run func() int) {
	if os.Getuid() != 0 || os.Getenv(variable) != "" {
		os.Exit(run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: flags}
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "run tests in namespaces of their own:", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}
