package lockfile

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestALockIsHeldOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	f, err := Take(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Take(name)
	var held *HeldError
	if !errors.As(err, &held) || held.File != name || held.Holder != strconv.Itoa(os.Getpid()) {
		t.Errorf("Take of a held lock = %v, want one held by this process", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = Take(name); err != nil {
		t.Errorf("Take of a lock that was given up = %v", err)
	}
	f.Close()
	if _, err := Take(filepath.Join(name, "x")); err == nil || errors.As(err, &held) {
		t.Errorf("Take where no file can be = %v, want an error of the file system", err)
	}
}
