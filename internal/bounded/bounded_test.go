package bounded

import (
	"io"
	"os/exec"
	"strings"
	"testing"
)

func TestBufferKeepsWhatItHasRoomFor(t *testing.T) {
	for _, tc := range []struct {
		name    string
		max     int
		writes  []string
		want    string
		dropped bool
	}{
		{"nothing", 4, nil, "", false},
		{"less", 4, []string{"ab"}, "ab", false},
		{"exactly", 4, []string{"ab", "cd"}, "abcd", false},
		{"more in one", 4, []string{"abcdef"}, "abcd", true},
		{"more in two", 4, []string{"abc", "def", "g"}, "abcd", true},
		{"no room", 0, []string{"a"}, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := New(tc.max)
			for _, w := range tc.writes {
				if n, err := b.Write([]byte(w)); n != len(w) || err != nil {
					t.Fatalf("Write gives %d, %v", n, err)
				}
			}
			if b.String() != tc.want || string(b.Bytes()) != tc.want || b.Dropped() != tc.dropped {
				t.Errorf("got %q, dropped %v; want %q, %v", b, b.Dropped(), tc.want, tc.dropped)
			}
		})
	}
}

// io.Copy must find no way round Write.
func TestBufferBoundsWhatIsCopied(t *testing.T) {
	b := New(10)
	if n, err := io.Copy(b, strings.NewReader(strings.Repeat("x", 1<<20))); n != 1<<20 || err != nil {
		t.Fatalf("Copy gives %d, %v", n, err)
	}
	if b.String() != "xxxxxxxxxx" || !b.Dropped() {
		t.Errorf("it keeps %d bytes, dropped %v", len(b.Bytes()), b.Dropped())
	}
	b = New(10)
	cmd := exec.Command("head", "-c", "1000000", "/dev/zero")
	cmd.Stdout = b
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if len(b.Bytes()) != 10 || !b.Dropped() {
		t.Errorf("of a program it keeps %d bytes, dropped %v", len(b.Bytes()), b.Dropped())
	}
}
