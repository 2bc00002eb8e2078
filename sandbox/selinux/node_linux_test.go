package selinux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	const wanted = 1<<22 | 1
	for answer, want := range map[string]bool{
		"400001 ffffffff 0 ffffffff 7 0": true,
		"ffffffff ffffffff 0 0 1 0":      true,
		"400000 ffffffff 0 ffffffff 7 0": false,
		"0 ffffffff 0 ffffffff 7 1":      true, // the domain is permissive
		"0 ffffffff 0 ffffffff 7 0":      false,
	} {
		if got, err := decide(answer, wanted); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", answer, got, err, want)
		}
	}
	for _, answer := range []string{"", "x", "1 2 3"} {
		if _, err := decide(answer, wanted); err == nil || !strings.Contains(err.Error(), "SELinux") {
			t.Errorf("%q: got %v", answer, err)
		}
	}
}

// The kernel's file answers what was written to it, which a plain one cannot.
func TestPermittedReadsTheNumbersOfThePolicy(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	question := access{"b:b:b:s0", "process", []string{"setcurrent", "fork"}}
	if _, err := permitted(root, "a:a:a:s0", question); !os.IsNotExist(err) {
		t.Errorf("without a policy: %v", err)
	}
	write("class/process/index", "2\n")
	write("class/process/perms/fork", "1")
	write("class/process/perms/setcurrent", "0")
	if _, err := permitted(root, "a:a:a:s0", question); err == nil || !strings.Contains(err.Error(), "perms/setcurrent") {
		t.Errorf("with a number that is none: %v", err)
	}
	write("class/process/perms/setcurrent", "33")
	if _, err := permitted(root, "a:a:a:s0", question); err == nil || !strings.Contains(err.Error(), "perms/setcurrent") {
		t.Errorf("with a number beyond the last: %v", err)
	}
	write("class/process/perms/setcurrent", "24")
	write("access", "")
	_, err := permitted(root, "a:a:a:s0", question)
	asked, _ := os.ReadFile(filepath.Join(root, "access"))
	if want := "a:a:a:s0 b:b:b:s0 2 800001"; string(asked) != want || err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("asked %q, want %q; reading it as an answer gives %v", asked, want, err)
	}
}
