package sock

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// socket is a connection or listener in the hands of Go's poller.
type socket struct {
	fd   int32
	file *os.File
}

func check(errno uint32) error {
	if errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}

// adopt makes an open descriptor a socket that never blocks the whole program.
func adopt(fd int32) (*socket, error) {
	if err := syscall.SetNonblock(int(fd), true); err != nil {
		syscall.Close(int(fd))
		return nil, err
	}
	return &socket{fd: fd, file: os.NewFile(uintptr(fd), "socket")}, nil
}

func open(family int32) (*socket, error) {
	var fd int32
	if err := check(sockOpen(family, typeStream, &fd)); err != nil {
		return nil, err
	}
	return adopt(fd)
}

func (s *socket) Read(p []byte) (int, error)        { return s.file.Read(p) }
func (s *socket) Write(p []byte) (int, error)       { return s.file.Write(p) }
func (s *socket) Close() error                      { return s.file.Close() }
func (s *socket) SetReadDeadline(t time.Time) error { return s.file.SetReadDeadline(t) }
func (s *socket) CloseWrite() error                 { return check(sockShutdown(s.fd, shutdownWrite)) }

// Accept waits in the poller until the descriptor is readable.
func (s *socket) Accept() (Conn, string, error) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return nil, "", err
	}
	var fd int32
	var errno syscall.Errno
	err = raw.Read(func(uintptr) bool {
		for {
			errno = syscall.Errno(sockAccept(s.fd, 0, &fd))
			if errno != syscall.ECONNABORTED && errno != syscall.EINTR {
				return errno != syscall.EAGAIN
			}
		}
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return nil, "", err
	}
	conn, err := adopt(fd)
	if err != nil {
		return nil, "", err
	}
	return conn, conn.peer(), nil
}

func (s *socket) peer() string {
	var pin runtime.Pinner
	defer pin.Unpin()
	a := &address{}
	var port uint32
	if errno := sockPeerAddress(s.fd, a.buffer(&pin), &port); errno != 0 {
		return "?"
	}
	return JoinPort(a.addr().String(), uint16(port))
}

func (a *address) buffer(pin *runtime.Pinner) *buffer {
	return &buffer{at: pointTo(pin, a), size: uint32(unsafe.Sizeof(*a))}
}

func (a *address) addr() netip.Addr {
	if a.family == familyInet4 {
		return netip.AddrFrom4([4]byte(a.bytes[:4]))
	}
	return netip.AddrFrom16([16]byte(a.bytes[:16])).Unmap()
}

// with calls f with the host's form of ip.
func with(ip netip.Addr, f func(addr *buffer) uint32) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	a := &address{family: uint16(familyOf(ip))}
	copy(a.bytes[:], ip.AsSlice())
	return check(f(a.buffer(&pin)))
}

func familyOf(ip netip.Addr) int32 {
	if ip.Is4() {
		return familyInet4
	}
	return familyInet6
}

// Listen listens on an address; an empty host means every one, of both
// families where the system has IPv6.
func Listen(host string, port uint16) (Listener, error) {
	if host == "" {
		if l, err := listen(netip.IPv6Unspecified(), port); err == nil || errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
		host = "0.0.0.0"
	}
	ips, err := lookUp(host)
	if err != nil {
		return nil, err
	}
	return listen(ips[0], port)
}

func listen(ip netip.Addr, port uint16) (Listener, error) {
	s, err := open(familyOf(ip))
	if err != nil {
		return nil, err
	}
	one := int32(1)
	err = errors.Join(
		check(sockSetOption(s.fd, levelSocket, optReuseAddress, &one, 4)),
		with(ip, func(addr *buffer) uint32 { return sockBind(s.fd, addr, uint32(port)) }),
	)
	if err == nil {
		err = check(sockListen(s.fd, 128))
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Dial connects to a host by name or address, trying one address after the
// other within the timeout.
func Dial(host string, port uint16, timeout time.Duration) (Conn, error) {
	ips, err := lookUp(host)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(timeout)
	for _, ip := range ips {
		var s *socket
		if s, err = dial(ip, port, deadline); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func dial(ip netip.Addr, port uint16, deadline time.Time) (*socket, error) {
	s, err := open(familyOf(ip))
	if err != nil {
		return nil, err
	}
	err = with(ip, func(addr *buffer) uint32 { return sockConnect(s.fd, addr, uint32(port)) })
	if errors.Is(err, syscall.EINPROGRESS) || errors.Is(err, syscall.EAGAIN) {
		err = s.connected(deadline)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// connected waits until the socket is writable, which it is when the attempt
// has ended, and gives the result.
func (s *socket) connected(deadline time.Time) error {
	if err := s.file.SetWriteDeadline(deadline); err != nil {
		return err
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	waited := false
	err = raw.Write(func(uintptr) bool {
		done := waited
		waited = true
		return done
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return syscall.ETIMEDOUT
	}
	var result int32
	err = errors.Join(err, check(sockGetOption(s.fd, levelSocket, optError, &result, 4)), s.file.SetWriteDeadline(time.Time{}))
	if err == nil && result != 0 {
		err = linuxError(result)
	}
	return err
}

// linuxError translates SO_ERROR, which hosts hand on as the kernel's number
// and not WASI's, as far as it matters to a client.
func linuxError(n int32) error {
	switch n {
	case 101:
		return syscall.ENETUNREACH
	case 110:
		return syscall.ETIMEDOUT
	case 111:
		return syscall.ECONNREFUSED
	case 113:
		return syscall.EHOSTUNREACH
	}
	return syscall.Errno(n)
}

// LookUp gives the addresses of a name.
func LookUp(host string) ([]string, error) {
	ips, err := lookUp(host)
	var list []string
	for _, ip := range ips {
		list = append(list, ip.String())
	}
	return list, err
}

func lookUp(host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	answer := newAnswer(&pin)
	first := answer.list[0].next // the first entry only points to the others
	hints := info{family: familyAny, kind: typeStream}
	node, service := []byte(host), []byte("0")
	var count uint32
	err := check(sockAddressInfo(unsafe.Pointer(unsafe.SliceData(node)), uint32(len(node)),
		unsafe.Pointer(unsafe.SliceData(service)), uint32(len(service)), &hints, &first, mostAddresses, &count))
	if err != nil || count == 0 {
		return nil, errors.New("bad address '" + strings.ToValidUTF8(host, "?") + "'")
	}
	return answer.addresses(int(min(count, mostAddresses))), nil
}

const (
	mostAddresses = 8
	// addressData is what hosts take for room for IPv6: port, then address.
	addressData = 26
)

// answer is the room for what sock_getaddrinfo finds.
type answer struct {
	list  [mostAddresses + 1]info
	addrs [mostAddresses + 1]infoAddress
	data  [mostAddresses + 1][addressData]byte
}

func newAnswer(pin *runtime.Pinner) *answer {
	a := &answer{}
	pin.Pin(a)
	for i := range a.list {
		a.addrs[i] = infoAddress{size: addressData, data: inside(&a.data[i])}
		a.list[i].addr = inside(&a.addrs[i])
		if i+1 < len(a.list) {
			a.list[i].next = inside(&a.list[i+1])
		}
	}
	return a
}

// inside points to a part of something pinned.
func inside[T any](part *T) pointer { return pointer(uintptr(unsafe.Pointer(part))) }

// addresses reads what the host has written, each address once.
func (a *answer) addresses(count int) []netip.Addr {
	var ips []netip.Addr
	for i := 1; i <= count; i++ {
		found := address{family: uint16(a.addrs[i].family)}
		copy(found.bytes[:], a.data[i][2:])
		if ip := found.addr(); !slices.Contains(ips, ip) {
			ips = append(ips, ip)
		}
	}
	return ips
}
