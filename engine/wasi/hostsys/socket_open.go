package hostsys

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// SockOpen makes a socket in the network namespace of this process.
func (s *System) SockOpen(family wasi.AddressFamily, kind wasi.SocketType) (uint32, wasi.Errno) {
	families := [...]int{wasi.FamilyInet4: unix.AF_INET, wasi.FamilyInet6: unix.AF_INET6, wasi.FamilyUnix: unix.AF_UNIX}
	types := [...]int{wasi.SocketDatagram: unix.SOCK_DGRAM, wasi.SocketStream: unix.SOCK_STREAM}
	switch {
	case int(family) >= len(families) || families[family] == 0:
		return 0, wasi.EAFNOSUPPORT
	case int(kind) >= len(types) || types[kind] == 0:
		return 0, wasi.EINVAL
	case s.table.Full():
		return 0, wasi.EMFILE
	}
	fd, err := unix.Socket(families[family], types[kind]|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, wasi.ErrnoOf(err)
	}
	return s.insertSocket(fd, 0)
}

// SockBind gives a socket its address. A path is one of the guest's root
// filesystem.
func (s *System) SockBind(fd uint32, addr wasi.Addr) wasi.Errno {
	f, errno := s.sockOf(fd, 0)
	if errno != 0 {
		return errno
	}
	if addr.Family != wasi.FamilyUnix {
		return wasi.ErrnoOf(unix.Bind(f.fd, sockaddr(addr)))
	}
	root, errno := s.pathSockets(addr.Path)
	if errno != 0 {
		return errno
	}
	errno = root.inParent(addr.Path, func(dir int, last string) error {
		return unix.Bind(f.fd, &unix.SockaddrUnix{Name: procPath(dir) + "/" + last})
	})
	if errno == 0 {
		f.local = addr.Path
	}
	return errno
}

// SockListen makes a socket take connections.
func (s *System) SockListen(fd uint32, backlog int32) wasi.Errno {
	f, errno := s.sockOf(fd, 0)
	if errno != 0 {
		return errno
	}
	return wasi.ErrnoOf(unix.Listen(f.fd, int(backlog)))
}

// SockConnect connects a socket; one that does not block answers EINPROGRESS,
// and is writable when it is connected.
func (s *System) SockConnect(fd uint32, addr wasi.Addr) wasi.Errno {
	f, errno := s.sockOf(fd, 0)
	if errno != 0 {
		return errno
	}
	if addr.Family != wasi.FamilyUnix {
		return connect(f.fd, sockaddr(addr))
	}
	return s.withSocketFile(addr.Path, func(sa *unix.SockaddrUnix) wasi.Errno {
		errno := connect(f.fd, sa)
		if errno == 0 {
			f.peer = addr.Path
		}
		return errno
	})
}

// connect connects, and waits on where a signal interrupted it.
func connect(fd int, sa unix.Sockaddr) wasi.Errno {
	err := unix.Connect(fd, sa)
	if err != unix.EINTR {
		return wasi.ErrnoOf(err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		if _, err := unix.Ppoll(poll, nil, nil); err == unix.EINTR {
			continue
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return wasi.ErrnoOf(err)
		}
		if code != 0 {
			return wasi.ErrnoOf(unix.Errno(code))
		}
		return 0
	}
}

// pathSockets finds the root filesystem, in which sockets have their paths.
// Abstract names are refused: they would be those of the network namespace,
// which may be the host's.
func (s *System) pathSockets(path string) (*file, wasi.Errno) {
	if path == "" {
		return nil, wasi.EINVAL
	}
	root := s.rootDir()
	switch {
	case root == nil:
		return nil, wasi.ENOTCAPABLE
	case root.readonly:
		return nil, wasi.EROFS
	}
	return root, 0
}

// rootDir is the preopened root filesystem, nil when the guest has closed it.
func (s *System) rootDir() *file {
	for _, f := range s.table.All {
		if f.isPreopen && f.isRoot && f.preopen == "/" {
			return f
		}
	}
	return nil
}

// withSocketFile resolves the path of a socket beneath the root, and calls with
// an address that names the very file. The kernel resolves a path in a socket
// address by itself, and knows nothing of the guest's root.
func (s *System) withSocketFile(path string, call func(*unix.SockaddrUnix) wasi.Errno) wasi.Errno {
	root := s.rootDir()
	switch {
	case path == "":
		return wasi.EINVAL
	case root == nil:
		return wasi.ENOTCAPABLE
	}
	fd, errno := root.openat(path, unix.O_PATH, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(fd)
	return call(&unix.SockaddrUnix{Name: procPath(fd)})
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// sockaddr is an IP address for the kernel.
func sockaddr(a wasi.Addr) unix.Sockaddr {
	if a.Family == wasi.FamilyInet4 {
		return &unix.SockaddrInet4{Port: int(a.Port), Addr: [4]byte(a.IP[:4])}
	}
	return &unix.SockaddrInet6{Port: int(a.Port), Addr: a.IP}
}

// SockLocalAddr gives the address of this end.
func (s *System) SockLocalAddr(fd uint32) (wasi.Addr, wasi.Errno) {
	f, errno := s.sockOf(fd, 0)
	if errno != 0 {
		return wasi.Addr{}, errno
	}
	sa, err := unix.Getsockname(f.fd)
	return addrOf(sa, f.local), wasi.ErrnoOf(err)
}

// SockPeerAddr gives the address of the other end.
func (s *System) SockPeerAddr(fd uint32) (wasi.Addr, wasi.Errno) {
	f, errno := s.sockOf(fd, 0)
	if errno != 0 {
		return wasi.Addr{}, errno
	}
	sa, err := unix.Getpeername(f.fd)
	return addrOf(sa, f.peer), wasi.ErrnoOf(err)
}

// addrOf is a kernel's address for the guest. path is the guest's name for a
// unix socket, since the kernel's is one of procPath.
func addrOf(sa unix.Sockaddr, path string) wasi.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		a := wasi.Addr{Family: wasi.FamilyInet4, Port: uint16(sa.Port)}
		copy(a.IP[:], sa.Addr[:])
		return a
	case *unix.SockaddrInet6:
		return wasi.Addr{Family: wasi.FamilyInet6, Port: uint16(sa.Port), IP: sa.Addr}
	case *unix.SockaddrUnix:
		return wasi.Addr{Family: wasi.FamilyUnix, Path: path}
	}
	return wasi.Addr{}
}
