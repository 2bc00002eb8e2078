package rootfs

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Filesystem describes the filesystem that holds the writable layers.
func (f *FS) Filesystem() (sandbox.Filesystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(f.dir, &st); err != nil {
		return sandbox.Filesystem{}, &os.PathError{Op: "statfs", Path: f.dir, Err: err}
	}
	device, err := f.device()
	return sandbox.Filesystem{Device: device, Bytes: st.Blocks * uint64(st.Bsize), Inodes: st.Files, InodesFree: st.Ffree}, err
}

// deviceOf finds what is mounted where dir is: a device file, or the kind of a
// filesystem that has none.
func deviceOf(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	lines := bufio.NewScanner(mounts)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		mount, super := strings.Fields(left), strings.Fields(right)
		if ok && len(mount) > 2 && len(super) > 1 && mount[2] == number {
			return super[1], nil
		}
	}
	return number, lines.Err() // btrfs shows another number in mountinfo
}
