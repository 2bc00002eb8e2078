package imageservice

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/unpack"
)

// layerFS looks files up in stacked layers as an overlay mount would show
// them, without a mount. Links are resolved within the stack, so that nothing
// of the host is reached. Not safe for use after the image is released.
type layerFS struct {
	layers []string // lowest first
}

const maxLinks = 40

var errTooManyLinks = errors.New("too many symbolic links")

// node is a place in the stack: its directory in every layer that has it,
// topmost first, or a file.
type node struct {
	dirs []string
	file string
	mode uint32
}

func (l layerFS) root() node {
	var n node
	for i := len(l.layers) - 1; i >= 0; i-- {
		n.dirs = append(n.dirs, l.layers[i])
	}
	n.mode = unix.S_IFDIR
	return n
}

// child looks one name up in a directory. It does not follow links.
func (n node) child(name string) (node, error) {
	var found node
	for _, d := range n.dirs {
		p := d + "/" + name
		var st unix.Stat_t
		err := unix.Lstat(p, &st)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		case err != nil:
			return node{}, err
		case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0: // whiteout
			return found.orMissing()
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			if found.dirs == nil {
				found.mode = st.Mode
			}
			found.dirs = append(found.dirs, p)
			if opaque(p) {
				return found, nil
			}
		case found.dirs != nil: // a file below a directory is hidden
			return found, nil
		default:
			return node{file: p, mode: st.Mode}, nil
		}
		if err != nil && opaque(d) {
			return found.orMissing()
		}
	}
	return found.orMissing()
}

func (n node) orMissing() (node, error) {
	if n.dirs == nil && n.file == "" {
		return n, fs.ErrNotExist
	}
	return n, nil
}

func opaque(dir string) bool {
	var b [1]byte
	n, err := unix.Lgetxattr(dir, unpack.OpaqueXattr, b[:])
	return err == nil && n == 1 && b[0] == 'y'
}

// lookup resolves a path of the container to a place in the stack, and gives
// the path without links.
func (l layerFS) lookup(name string) (node, string, error) {
	todo := strings.Split(name, "/")
	stack := []node{l.root()}
	names := []string{}
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(names) > 0 {
				stack, names = stack[:len(stack)-1], names[:len(names)-1]
			}
			continue
		}
		next, err := stack[len(stack)-1].child(part)
		if err != nil {
			return node{}, "", err
		}
		if next.mode&unix.S_IFMT != unix.S_IFLNK {
			stack, names = append(stack, next), append(names, part)
			continue
		}
		if links++; links > maxLinks {
			return node{}, "", errTooManyLinks
		}
		target, err := os.Readlink(next.file)
		if err != nil {
			return node{}, "", err
		}
		if path.IsAbs(target) {
			stack, names = stack[:1], names[:0]
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return stack[len(stack)-1], "/" + strings.Join(names, "/"), nil
}

// open opens a regular file of the container for reading, and gives its path
// without links.
func (l layerFS) open(name string) (*os.File, string, error) {
	n, real, err := l.lookup(name)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	if n.mode&unix.S_IFMT != unix.S_IFREG {
		return nil, "", fmt.Errorf("%s: not a regular file", name)
	}
	fd, err := unix.Open(n.file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), real), real, nil
}

const maxRootEntries = 10_000

// onlyModule gives the path of the only *.wasm file in the root directory.
func (l layerFS) onlyModule() string {
	found := ""
	for _, dir := range l.layers {
		f, err := os.Open(dir)
		if err != nil {
			return ""
		}
		names, _ := f.Readdirnames(maxRootEntries)
		f.Close()
		for _, n := range names {
			p := "/" + n
			if !strings.HasSuffix(n, ".wasm") || p == found {
				continue
			}
			if node, _, err := l.lookup(p); err != nil || node.mode&unix.S_IFMT != unix.S_IFREG {
				continue
			}
			if found != "" {
				return ""
			}
			found = p
		}
	}
	return found
}
