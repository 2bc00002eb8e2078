package unpack

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"
)

func TestUnpackingIsConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var status string
	err = confined(dir, func() error {
		if err := os.WriteFile("/inside", nil, 0o644); err != nil {
			return err
		}
		if err := unix.Lchown("/inside", 7, 8); err != nil {
			return err
		}
		for what, err := range map[string]error{
			"a file outside": unix.Access(outside, 0), "/proc": unix.Access("/proc/self", 0),
			"a device":                 unix.Mknod("/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
			"a mount":                  unix.Mount("none", "/", "tmpfs", 0, ""),
			"leaving":                  unix.Chroot("/.."),
			"a trusted attribute":      unix.Setxattr("/inside", OpaqueXattr, []byte("y"), 0),
			"other rights than before": unix.Setns(0, unix.CLONE_NEWNS),
		} {
			if err == nil {
				return errors.New("it could have " + what)
			}
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&header, &caps[0]); err != nil {
			return err
		}
		if caps[0].Effective&^kept != 0 || caps[0].Effective&(1<<unix.CAP_CHOWN) == 0 || caps[1].Effective != 0 {
			status = "wrong capabilities"
		}
		return nil
	})
	if err != nil || status != "" {
		t.Fatal(err, status)
	}
	if _, err := os.Stat(filepath.Join(dir, "inside")); err != nil {
		t.Error(err)
	}
	if now, err := os.Getwd(); err != nil || now != here {
		t.Errorf("the test itself is in %q now, was in %q: %v", now, here, err)
	}
	if err := unix.Access("/proc/self", 0); err != nil {
		t.Errorf("the test itself was confined: %v", err)
	}
}

func TestConfinedNeedsItsDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if err := confined(filepath.Join(t.TempDir(), "missing"), func() error { return nil }); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

func TestPipeCarriesWhatTheSourceGives(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 100_000)
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		r   io.Reader
		err error
	}{
		"whole":          {strings.NewReader(text), nil},
		"bit by bit":     {iotest.OneByteReader(strings.NewReader(text[:5000])), nil},
		"with the end":   {iotest.DataErrReader(strings.NewReader(text)), nil},
		"broken":         {io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), broken},
		"cut":            {io.MultiReader(strings.NewReader(text), iotest.ErrReader(io.ErrUnexpectedEOF)), io.ErrUnexpectedEOF},
		"empty":          {strings.NewReader(""), nil},
		"broken at once": {iotest.ErrReader(broken), broken},
	} {
		p := newPipe()
		go p.fill(tc.r)
		got, err := io.ReadAll(p)
		if !strings.HasPrefix(text, string(got)) || !errors.Is(err, tc.err) || (tc.err == nil && err != nil) {
			t.Errorf("%s: %d bytes, %v, want %v", name, len(got), err, tc.err)
		}
	}
	p := newPipe()
	close(p.quit)
	p.fill(strings.NewReader(text)) // ends although nobody reads
}
