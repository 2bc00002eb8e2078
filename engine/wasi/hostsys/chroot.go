package hostsys

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// locate remembers how a directory was opened beneath the root filesystem.
func (f *file) locate(dir *file, path string) {
	const longest = 2048 // so that there is room for what is opened in it
	switch {
	case f.kind != wasi.FiletypeDirectory:
	case dir.isRoot:
		f.root, f.at = dir, path
	case dir.root != nil:
		f.root, f.at = dir.root, dir.at+"/"+path
	}
	if len(f.at) > longest {
		f.root, f.at = nil, ""
	}
}

// openFromRoot opens what leads out of a directory because of a symbolic link,
// as in a chroot: from the root filesystem, in which the link means what its
// maker meant. The path itself must not lead out, and the directory must still
// be where it was opened.
func (f *file) openFromRoot(path string, flags int, mode uint32) (int, wasi.Errno) {
	if f.root == nil || f.root.fd < 0 || climbs(path) {
		return -1, wasi.EPERM
	}
	here, errno := f.root.openat(f.at, unix.O_PATH|unix.O_DIRECTORY, 0)
	if errno != 0 {
		return -1, wasi.EPERM
	}
	defer unix.Close(here)
	if !sameFile(here, f.fd) {
		return -1, wasi.EPERM
	}
	return f.root.openat(f.at+"/"+path, flags, mode)
}

func sameFile(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// climbs says that the ".." of a path alone lead above its start. It chooses
// between a refusal and a look from the root, which is safe either way.
func climbs(path string) bool {
	depth := 0
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}
