package rootfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place attaches a source where target is. On a mount that the host shares it would
// appear on the host, too, and stay there when the container is gone: such a mount
// leaves its peers for the moment.
func (s *site) place(source, target int) error {
	if !s.sharedRoot { // then nothing in it is shared
		return moveTo(source, target)
	}
	on, err := s.mountBelow(target)
	if err != nil {
		return err
	}
	if !on.has("shared:") {
		return moveTo(source, target)
	}
	return s.apart(on.point, func() error { return moveTo(source, target) })
}

// mountBelow is the mount that a file of the container is on.
func (s *site) mountBelow(fd int) (*mountEntry, error) {
	table, err := unix.Openat(int(s.proc.Fd()), "thread-self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(table), "mountinfo")
	defer f.Close()
	return findMount(f, fd, "")
}

// apart runs fn while the mount at point is private.
func (s *site) apart(point string, fn func() error) error {
	root, err := openIn(s.top, point, unix.O_PATH, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	peer, err := cloneAt(root, "", unix.AT_EMPTY_PATH) // stays in the group
	if err != nil {
		return err
	}
	defer unix.Close(peer)
	if err := propagate(root, 0, unix.MS_PRIVATE); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	const rejoin = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH | unix.MOVE_MOUNT_SET_GROUP
	err = unix.MoveMount(peer, "", root, "", rejoin)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: mounts below one with propagation BIDIRECTIONAL, which need Linux 5.15: %w", ErrUnsupported, err)
	}
	return err
}

// mountEntry is a line of mountinfo.
type mountEntry struct {
	point    string
	optional []string // such as shared:7
}

func (m *mountEntry) has(fields ...string) bool {
	for _, have := range m.optional {
		for _, want := range fields {
			if strings.HasPrefix(have, want) {
				return true
			}
		}
	}
	return false
}

// findMount finds the mount that holds path, which is relative to dir or empty, in a
// mountinfo.
func findMount(table io.Reader, dir int, path string) (*mountEntry, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, path, unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return nil, err
	}
	id := strconv.FormatUint(st.Mnt_id, 10)
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 7 || words[0] != id {
			continue
		}
		m := &mountEntry{point: unescape.Replace(words[4])}
		for _, w := range words[6:] {
			if w == "-" {
				break
			}
			m.optional = append(m.optional, w)
		}
		return m, nil
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("mount %s not found: %w", id, fs.ErrNotExist)
}

// unescape gives a path back what mountinfo writes as numbers.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
