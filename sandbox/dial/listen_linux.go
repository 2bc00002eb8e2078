package dial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Listeners implements sandbox.Listeners. The zero value is ready.
type Listeners struct{}

var _ sandbox.Listeners = Listeners{}

// Listen implements sandbox.Listeners. Nothing in it waits.
func (Listeners) Listen(_ context.Context, netns string, root *os.File, owner sandbox.User, s sandbox.ListenSocket) (*os.File, error) {
	family, kind := familyOf(s), unix.SOCK_STREAM
	if s.Network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := socketIn(netns, family, kind)
	if errors.Is(err, unix.EAFNOSUPPORT) && everywhere(s) { // a machine without IPv6
		family = unix.AF_INET
		fd, err = socketIn(netns, family, kind)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), s.String())
	if err := listen(fd, family, root, owner, s); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// everywhere says that a socket is for all addresses of both families.
func everywhere(s sandbox.ListenSocket) bool {
	return s.Network != "unix" && !s.Addr.IsValid()
}

func familyOf(s sandbox.ListenSocket) int {
	switch {
	case s.Network == "unix":
		return unix.AF_UNIX
	case s.Addr.Is4():
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func listen(fd, family int, root *os.File, owner sandbox.User, s sandbox.ListenSocket) error {
	if s.Network == "unix" {
		return listenUnix(fd, root, owner, s)
	}
	if err := prepare(fd, family, s); err != nil {
		return err
	}
	if err := unix.Bind(fd, address(family, s)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if s.Network == "udp" {
		return nil
	}
	return os.NewSyscallError("listen", unix.Listen(fd, s.Backlog))
}

// prepare lets a restarted container have its port although connections of the
// earlier one linger, and makes one socket serve both families where it is to.
func prepare(fd, family int, s sandbox.ListenSocket) error {
	if s.Network == "tcp" {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if family != unix.AF_INET6 {
		return nil
	}
	only := 1
	if everywhere(s) {
		only = 0
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only))
}

func address(family int, s sandbox.ListenSocket) unix.Sockaddr {
	port, ip := int(s.Port), s.Addr
	switch {
	case family == unix.AF_INET && ip.IsValid():
		return &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	case family == unix.AF_INET:
		return &unix.SockaddrInet4{Port: port}
	case ip.IsValid():
		return &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
	}
	return &unix.SockaddrInet6{Port: port}
}

// listenUnix makes a socket file. The kernel resolves the path of an address by
// itself, so that the directory is opened beneath the container's root, and the
// address goes through its descriptor.
func listenUnix(fd int, root *os.File, owner sandbox.User, s sandbox.ListenSocket) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	dir, err := unix.Openat2(int(root.Fd()), path.Dir(s.Path), &how)
	if err != nil {
		return fmt.Errorf("open directory: %w", &os.PathError{Op: "open", Path: path.Dir(s.Path), Err: err})
	}
	defer unix.Close(dir)
	return asUser(owner, func() error { return listenAt(fd, dir, path.Base(s.Path), s) })
}

// listenAt makes the socket file in a directory.
func listenAt(fd, dir int, name string, s sandbox.ListenSocket) error {
	addr := &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)}
	err := unix.Bind(fd, addr)
	if errors.Is(err, unix.EADDRINUSE) && abandoned(dir, name, addr) {
		if err = unix.Unlinkat(dir, name, 0); err == nil {
			err = unix.Bind(fd, addr)
		}
	}
	if err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := permit(dir, name, s); err != nil {
		return errors.Join(err, unix.Unlinkat(dir, name, 0))
	}
	return os.NewSyscallError("listen", unix.Listen(fd, s.Backlog))
}

// asUser runs f on a thread whose files belong to a user, though it may still do
// what the daemon may. So a file is the container's from the start, also on a
// mount with ids of its own, where root could make none.
func asUser(u sandbox.User, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and its user with it
		if err := becomeOwner(u); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// becomeOwner changes the ids of this thread for files. The kernel takes
// capabilities for files with them, which are taken back.
func becomeOwner(u sandbox.User) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if err := unix.Setfsgid(int(u.GID)); err != nil {
		return os.NewSyscallError("setfsgid", err)
	}
	if err := unix.Setfsuid(int(u.UID)); err != nil {
		return os.NewSyscallError("setfsuid", err)
	}
	return os.NewSyscallError("capset", unix.Capset(&header, &caps[0]))
}

// permit sets the permissions of the new socket file. A guest that shares the
// volume may have put something else in its place, which is not followed.
func permit(dir int, name string, s sandbox.ListenSocket) error {
	file, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open socket file", err)
	}
	defer unix.Close(file)
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return os.NewSyscallError("stat socket file", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s was replaced while it was made", s.Path)
	}
	return os.NewSyscallError("chmod", unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", file), uint32(s.Mode.Perm())))
}

// abandoned says that a file is a socket at which nobody listens any more: that
// of an earlier container on the same volume.
func abandoned(dir int, name string, addr *unix.SockaddrUnix) bool {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return false
	}
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(probe)
	return errors.Is(unix.Connect(probe, addr), unix.ECONNREFUSED)
}
