package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const m = modulePath

// write makes a file of lines and returns its name.
func write(t *testing.T, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func ev(action, test string) string {
	return `{"Action":"` + action + `","Package":"` + m + `e2e","Test":"` + test + `"}`
}

func TestReport(t *testing.T) {
	const good, bad = `{"Action":"testsum-exit"}`, `{"Action":"testsum-exit","Code":1}`
	pkgOK, pkgFail := `{"Action":"pass","Package":"`+m+`e2e"}`, `{"Action":"fail","Package":"`+m+`e2e"}`
	tests := []struct {
		name    string
		events  []string
		allow   string
		want    string // last line
		wantErr bool
	}{
		{"all pass", []string{ev("pass", "TestA"), ev("pass", "TestB"), pkgOK, good}, "", "2 passed, 0 failed, 0 skipped", false},
		{"subtests count, their parent does not", []string{ev("pass", "TestA/x"), ev("pass", "TestA/y"), ev("pass", "TestA"), pkgOK, good}, "", "2 passed, 0 failed, 0 skipped", false},
		{"a failed subtest is one failure", []string{ev("fail", "TestA/x"), ev("pass", "TestA/y"), ev("fail", "TestA"), pkgFail, bad}, "", "1 passed, 1 failed, 0 skipped", true},
		{"a parent that fails after its subtests passed", []string{ev("pass", "TestA/x"), ev("fail", "TestA"), pkgFail, bad}, "", "1 passed, 1 failed, 0 skipped", true},
		{"a package that does not build", []string{ev("pass", "TestA"), `{"Action":"fail","Package":"x"}`, bad}, "", "1 passed, 1 failed, 0 skipped", true},
		{"a listed skip", []string{ev("pass", "TestA"), ev("skip", "TestB/v2"), ev("pass", "TestB"), pkgOK, good}, "e2e TestB/v2 needs cgroup v2", "1 passed, 0 failed, 1 skipped", false},
		{"a skip that is not listed", []string{ev("pass", "TestA"), ev("skip", "TestB"), pkgOK, good}, "e2e TestC needs cgroup v2", "1 passed, 0 failed, 1 skipped", true},
		{"no test", []string{good}, "", "0 passed, 0 failed, 0 skipped", true},
		{"a run that was cut off", []string{ev("pass", "TestA")}, "", "1 passed, 0 failed, 0 skipped", true},
		{"go test failed and named no test", []string{ev("pass", "TestA"), bad}, "", "1 passed, 0 failed, 0 skipped", true},
		{"a package without tests is no skip", []string{ev("pass", "TestA"), `{"Action":"skip","Package":"x"}`, good}, "", "1 passed, 0 failed, 0 skipped", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := report("", write(t, tt.allow), []string{write(t, tt.events...)}, &out)
			if (err != nil) != tt.wantErr {
				t.Errorf("report error = %v, want error: %v\n%s", err, tt.wantErr, out.String())
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if got := lines[len(lines)-1]; got != tt.want {
				t.Errorf("last line = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestASkipWithoutReasonIsRefused(t *testing.T) {
	if _, err := readAllowed(write(t, "# comment", "", "e2e TestA")); err == nil || !strings.Contains(err.Error(), ":3:") {
		t.Errorf("readAllowed error = %v, want one that names line 3", err)
	}
}

func TestRunRecordsEventsAndExitCode(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.json")
	script := `echo '` + ev("output", "TestA") + `'; echo 'no json'; echo '` + ev("fail", "TestA") + `'; exit 3`
	var shown strings.Builder
	if err := run(out, []string{"sh", "-c", script}, &shown); err == nil {
		t.Error("run error = nil, want the exit code of the command")
	}
	if !strings.Contains(shown.String(), "no json\n") {
		t.Errorf("shown = %q, want the line that is no event in it", shown.String())
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Action":"testsum-exit","Code":3}`; !strings.Contains(string(got), want) || strings.Contains(string(got), "no json") {
		t.Errorf("record = %s, want only events and %s", got, want)
	}
}

func TestOnlyFailedTestsAreShown(t *testing.T) {
	var shown strings.Builder
	p := newPrinter(&shown)
	p.show(event{Action: "output", Package: "p", Test: "TestA", Output: "quiet\n"})
	p.show(event{Action: "output", Package: "p", Test: "TestB", Output: "loud\n"})
	p.show(event{Action: "pass", Package: "p", Test: "TestA"})
	p.show(event{Action: "fail", Package: "p", Test: "TestB"})
	if got, want := shown.String(), "loud\n"; got != want {
		t.Errorf("shown = %q, want %q", got, want)
	}
}
