package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openTraces makes the two files of a trace.
func openTraces(t *testing.T) (now, old *os.File) {
	t.Helper()
	dir := t.TempDir()
	now, err := os.OpenFile(filepath.Join(dir, "trace"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { now.Close() })
	old, err = os.OpenFile(filepath.Join(dir, "trace.1"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { old.Close() })
	return now, old
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestATraceKeepsTheLatestLines(t *testing.T) {
	now, old := openTraces(t)
	const most, count = 4096, 1000
	a := &traceFile{fd: int(now.Fd()), old: int(old.Fd()), most: most}
	b := *a // an exec, which shares the file
	for i := range count {
		f := a
		if i%3 == 0 {
			f = &b
		}
		fmt.Fprintf(f, "line %04d of the trace\n", i)
	}
	got := content(t, old) + content(t, now)
	if len(content(t, old)) < most/2 || len(got) > 3*most {
		t.Errorf("the files have %d and %d bytes, want at most about %d each", len(content(t, old)), len(content(t, now)), most)
	}
	lines := strings.SplitAfter(got, "\n")
	first := count - (len(lines) - 1)
	for i, line := range lines[:len(lines)-1] {
		if want := fmt.Sprintf("line %04d of the trace\n", first+i); line != want {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
}

func TestATraceWithoutAnOlderFileBeginsAnew(t *testing.T) {
	now, _ := openTraces(t)
	f := &traceFile{fd: int(now.Fd()), old: -1, most: 1024}
	for i := range 500 {
		fmt.Fprintf(f, "line %d\n", i)
	}
	if got := content(t, now); len(got) > 2048 || !strings.HasSuffix(got, "line 499\n") {
		t.Errorf("got %d bytes that end with %q", len(got), got[max(0, len(got)-20):])
	}
}

func TestLinesThatTheDiskRefusesAreCounted(t *testing.T) {
	now, _ := openTraces(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	f := &traceFile{fd: int(full.Fd()), old: -1, most: 1 << 20}
	for i := range 3 {
		if n, err := fmt.Fprintf(f, "lost %d\n", i); n != 7 || err != nil {
			t.Errorf("write: got %d, %v: a guest must not notice", n, err)
		}
	}
	f.fd = int(now.Fd())
	fmt.Fprint(f, "there is room\n")
	if got, want := content(t, now), "# 3 lines are missing: write: no space left on device\nthere is room\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
