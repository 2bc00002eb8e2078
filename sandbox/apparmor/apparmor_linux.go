// Package apparmor says whether a profile can confine a process of this node.
// The process enters it by itself, on its way into the sandbox.
package apparmor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Where the kernel tells of itself.
const (
	enabledFile  = "/sys/module/apparmor/parameters/enabled"
	profilesFile = "/sys/kernel/security/apparmor/profiles"
)

// Check returns nil for a profile that the kernel has. The error is of kind
// sandbox.ErrUnsupported on a node without AppArmor, and of kind
// sandbox.ErrInvalid for a profile that is not loaded. Where the list of profiles
// cannot be read, it is the start of the process that fails.
func Check(profile string) error { return check(profile, enabledFile, profilesFile) }

func check(profile, enabledFile, profilesFile string) error {
	if profile == "" || strings.ContainsAny(profile, "\x00\n") {
		return fmt.Errorf("AppArmor profile %q: %w", profile, sandbox.ErrInvalid)
	}
	enabled, err := os.ReadFile(enabledFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for AppArmor: %w", err)
	}
	if !bytes.HasPrefix(enabled, []byte("Y")) {
		return fmt.Errorf("AppArmor profile %q: this node has no AppArmor: remove securityContext.appArmorProfile from the pod and its containers, "+
			"or run the pod where it is: %w", profile, sandbox.ErrUnsupported)
	}
	profiles, err := os.ReadFile(profilesFile)
	if err != nil || listed(profiles, profile) {
		return nil
	}
	return fmt.Errorf("AppArmor profile %q is not loaded on this node: load it with apparmor_parser: %w", profile, sandbox.ErrInvalid)
}

// listed looks for a line "name (mode)".
func listed(profiles []byte, name string) bool {
	for line := range bytes.Lines(profiles) {
		if i := bytes.LastIndex(line, []byte(" (")); i >= 0 && string(line[:i]) == name {
			return true
		}
	}
	return false
}
