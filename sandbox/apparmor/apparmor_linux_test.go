package apparmor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	on, off := file("on", "Y\n"), file("off", "N\n")
	profiles := file("profiles", "baker (enforce)\n/usr/bin/odd name (complain)\n")
	nowhere := filepath.Join(dir, "nowhere")
	for name, tt := range map[string]struct {
		profile, enabled, profiles string
		kind                       error
	}{
		"loaded":                  {"baker", on, profiles, nil},
		"loaded, with a space":    {"/usr/bin/odd name", on, profiles, nil},
		"not loaded":              {"bake", on, profiles, sandbox.ErrInvalid},
		"the list is not mounted": {"bake", on, nowhere, nil},
		"switched off":            {"baker", off, profiles, sandbox.ErrUnsupported},
		"not in the kernel":       {"baker", nowhere, nowhere, sandbox.ErrUnsupported},
		"no name":                 {"", on, profiles, sandbox.ErrInvalid},
		"two lines":               {"baker\nx", on, profiles, sandbox.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if err := check(tt.profile, tt.enabled, tt.profiles); !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
				t.Errorf("got %v, want %v", err, tt.kind)
			}
		})
	}
}
