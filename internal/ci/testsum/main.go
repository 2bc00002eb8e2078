// Command testsum runs `go test -json`, shows what a person wants to see of it,
// and sums up one or more such runs.
//
//	testsum run -out FILE -- go test -json ./...
//	testsum report -allow FILE [-name NAME] results.json...
//
// A run records every event and, last, the exit code of go test. A report fails
// when a test failed, when a run has no exit code (it was cut off), when no
// test ran, and when a test was skipped that the list of allowed skips does not
// name. Its last line is "N passed, N failed, N skipped", after "NAME: " if a
// name is given.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := dispatch(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

func dispatch(args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("use: testsum run|report")
	}
	fs := flag.NewFlagSet(args[0], flag.ExitOnError)
	switch args[0] {
	case "run":
		out := fs.String("out", "", "file for the events")
		_ = fs.Parse(args[1:])
		return run(*out, fs.Args(), stdout)
	case "report":
		allow := fs.String("allow", "", "list of skips that are allowed")
		name := fs.String("name", "", "what the last line begins with")
		_ = fs.Parse(args[1:])
		return report(*name, *allow, fs.Args(), stdout)
	}
	return fmt.Errorf("no command %q: use run or report", args[0])
}
