package stdio

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func openLog(t *testing.T) (*Log, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	return NewLog(openAppend(t, path)), path
}

func openAppend(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var lineForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] `)

// entries gives the lines of a log file without their times.
func entries(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range bytes.Lines(b) {
		if !lineForm.Match(line) || line[len(line)-1] != '\n' {
			t.Errorf("malformed log line %q", line)
		}
		_, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		list = append(list, rest)
	}
	return list
}

func TestStreamWritesLines(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	tests := []struct {
		name   string
		writes []string
		want   []string
	}{
		{"one line", []string{"hello\n"}, []string{"stdout F hello"}},
		{"empty line", []string{"\n"}, []string{"stdout F "}},
		{"two lines in one write", []string{"a\nb\n"}, []string{"stdout F a", "stdout F b"}},
		{"one line in two writes", []string{"he", "llo\n"}, []string{"stdout F hello"}},
		{"no newline at the end", []string{"a\nb"}, []string{"stdout F a", "stdout F b"}},
		{"line of just the maximum", []string{long + "\n"}, []string{"stdout F " + long}},
		{"line over the maximum", []string{long + "y\n"}, []string{"stdout P " + long, "stdout F y"}},
		{"maximum reached by pieces", []string{long[1:], "zy\n"}, []string{"stdout P " + long[1:] + "z", "stdout F y"}},
		{"more than one write to the file", []string{strings.Repeat(long[:100]+"\n", 2000)}, slices.Repeat([]string{"stdout F " + long[:100]}, 2000)},
		{"nothing", []string{""}, nil},
		{"carriage return stays", []string{"a\r\n"}, []string{"stdout F a\r"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, path := openLog(t)
			s := l.Stream("stdout")
			for _, w := range tt.writes {
				if n, err := s.Write([]byte(w)); n != len(w) || err != nil {
					t.Fatalf("Write(%d bytes) = %d, %v", len(w), n, err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			got := entries(t, path)
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") || len(got) != len(tt.want) {
				t.Errorf("log = %.200q, want %.200q", got, tt.want)
			}
		})
	}
}

func TestStreamShowsUnfinishedLineInAMoment(t *testing.T) {
	l, path := openLog(t)
	s := l.Stream("stderr")
	s.Write([]byte("prompt> "))
	deadline := time.Now().Add(10 * time.Second)
	for len(entries(t, path)) == 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	s.Write([]byte("answer\n"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got, want := entries(t, path), []string{"stderr P prompt> ", "stderr F answer"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("log = %q, want %q", got, want)
	}
}

func TestReopenGoesOnInTheNewFile(t *testing.T) {
	l, path := openLog(t)
	s := l.Stream("stdout")
	s.Write([]byte("one\ntw"))
	if err := l.Reopen(openAppend(t, path+".new")); err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("o\n"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, path); len(got) != 1 || got[0] != "stdout F one" {
		t.Errorf("old file = %q", got)
	}
	if got := entries(t, path+".new"); len(got) != 1 || got[0] != "stdout F two" {
		t.Errorf("new file = %q", got)
	}
}

func TestReopenAfterCloseFails(t *testing.T) {
	l, path := openLog(t)
	l.Close()
	if err := l.Reopen(openAppend(t, path)); err == nil {
		t.Error("Reopen of a closed log succeeded")
	}
}

func TestLostOutputIsToldOnClose(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full")
	}
	l := NewLog(f)
	if _, err := l.Stream("stdout").Write([]byte("x\n")); err != nil {
		t.Errorf("the guest sees %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("Close told of no lost output")
	}
}

func TestWriteDoesNotAllocate(t *testing.T) {
	l, _ := openLog(t)
	s := l.Stream("stdout")
	for _, text := range []string{"a line of some length\n", strings.Repeat("x", 99) + "\n", strings.Repeat("a line of some length\n", 4000)} {
		b := []byte(text)
		if n := testing.AllocsPerRun(100, func() { s.Write(b) }); n != 0 {
			t.Errorf("Write of %d bytes allocates %v times", len(text), n)
		}
	}
	l.Close()
}

func BenchmarkWriteLine(b *testing.B) {
	f, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	s := NewLog(f).Stream("stdout")
	line := []byte("the quick brown fox jumps over the lazy dog 0123456789\n")
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		s.Write(line)
	}
}

// A guest that writes much at once, as cat does.
func BenchmarkWriteBlock(b *testing.B) {
	f, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	s := NewLog(f).Stream("stdout")
	block := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog 0123456789, and so on and on and on, until the line has its hundred and 28 bytes..\n"), 512)
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		s.Write(block)
	}
}
