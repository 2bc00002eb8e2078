package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"
)

// modulePath is cut off package names in the list of allowed skips.
const modulePath = "github.com/cri-wasmer/cri-wasmer/"

// testKey names one test of one package; an empty test is the package itself.
type testKey struct{ pkg, test string }

func (k testKey) String() string {
	pkg := strings.TrimPrefix(k.pkg, modulePath)
	if k.test == "" {
		return pkg
	}
	return pkg + " " + k.test
}

// totals is the sum of the runs.
type totals struct {
	passed          int
	failed, skipped []testKey
}

// report sums up recorded runs. See the command's documentation for when it
// fails.
func report(name, allowFile string, files []string, w io.Writer) error {
	allowed, err := readAllowed(allowFile)
	if err != nil {
		return err
	}
	results := make(map[testKey]string)
	var problems []error
	for _, file := range files {
		if err := readRun(file, results); err != nil {
			problems = append(problems, err)
		}
	}
	t := sum(results)
	problems = append(problems, judge(t, allowed, allowFile)...)
	for _, k := range t.failed {
		fmt.Fprintf(w, "failed: %s\n", k)
	}
	for _, k := range t.skipped {
		fmt.Fprintf(w, "skipped: %s  %s\n", k, allowed[k.String()])
	}
	for _, p := range problems {
		fmt.Fprintln(w, "problem:", p)
	}
	if name != "" {
		fmt.Fprint(w, name+": ")
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", t.passed, len(t.failed), len(t.skipped))
	if len(problems) > 0 {
		return errors.New("not good")
	}
	return nil
}

func judge(t totals, allowed map[string]string, allowFile string) []error {
	var problems []error
	if len(t.failed) > 0 {
		problems = append(problems, fmt.Errorf("%d tests failed", len(t.failed)))
	}
	if t.passed == 0 {
		problems = append(problems, errors.New("no test passed"))
	}
	for _, k := range t.skipped {
		if allowed[k.String()] == "" {
			problems = append(problems, fmt.Errorf("%s was skipped and is not in %s", k, allowFile))
		}
	}
	return problems
}

// readRun adds the last word on every test of one run to results.
func readRun(name string, results map[testKey]string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	finished, failures := false, false
	dec := json.NewDecoder(f)
	for {
		var ev event
		err := dec.Decode(&ev)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		switch ev.Action {
		case "pass", "fail", "skip":
			results[testKey{ev.Package, ev.Test}] = ev.Action
			failures = failures || ev.Action == "fail"
		case actionExit:
			finished = true
			if ev.Code != 0 && !failures {
				return fmt.Errorf("%s: go test ended with code %d without naming a test", name, ev.Code)
			}
		}
	}
	if !finished {
		return fmt.Errorf("%s: the run was cut off", name)
	}
	return nil
}

// sum counts the tests that have no subtests. A test with subtests, and a
// package, count only when they failed and nothing in them did.
func sum(results map[testKey]string) totals {
	parents, blamed := make(map[testKey]bool), make(map[testKey]bool)
	for k, action := range results {
		for _, up := range ancestors(k) {
			parents[up] = true
			if action == "fail" {
				blamed[up] = true
			}
		}
	}
	var t totals
	for k, action := range results {
		switch {
		case action == "fail" && !blamed[k]:
			t.failed = append(t.failed, k)
		case k.test == "" || parents[k]:
		case action == "pass":
			t.passed++
		case action == "skip":
			t.skipped = append(t.skipped, k)
		}
	}
	byName := func(s []testKey) func(i, j int) bool {
		return func(i, j int) bool { return s[i].String() < s[j].String() }
	}
	sort.Slice(t.failed, byName(t.failed))
	sort.Slice(t.skipped, byName(t.skipped))
	return t
}

// ancestors lists the tests that k is a subtest of, and its package.
func ancestors(k testKey) []testKey {
	if k.test == "" {
		return nil
	}
	up := []testKey{{pkg: k.pkg}}
	for i, r := range k.test {
		if r == '/' {
			up = append(up, testKey{k.pkg, k.test[:i]})
		}
	}
	return up
}

// readAllowed reads the list of allowed skips: lines of package (below the
// module), test and reason. A list that does not exist is empty.
func readAllowed(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) || name == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	allowed := make(map[string]string)
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s:%d: want package, test and the reason for the skip", name, n)
		}
		allowed[fields[0]+" "+fields[1]] = strings.Join(fields[2:], " ")
	}
	return allowed, sc.Err()
}
