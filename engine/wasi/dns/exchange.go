package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// payload is the size of answers over UDP that is offered by EDNS0.
const payload = 1232

var errMismatch = errors.New("the answer is not to this question")

// exchange asks one server, by TCP when the answer does not fit into a packet.
func (c *config) exchange(server netip.AddrPort, q dnsmessage.Question) (*dnsmessage.Message, error) {
	var id [2]byte
	if _, err := unix.Getrandom(id[:], 0); err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: binary.NativeEndian.Uint16(id[:]), RecursionDesired: true},
		Questions: []dnsmessage.Question{q},
	}
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(payload, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	m.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
	packed, err := m.Pack()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(c.timeout)
	if !c.tcp {
		answer, err := overUDP(server, packed, &m, deadline)
		if err != nil || !answer.Truncated {
			return answer, err
		}
	}
	return overTCP(server, packed, &m, deadline)
}

// conn is a socket that never blocks beyond its deadline.
type conn struct {
	fd       int
	deadline time.Time
}

func dial(server netip.AddrPort, kind int, deadline time.Time) (*conn, error) {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(server.Port()), Addr: server.Addr().As16(), ZoneId: zoneID(server.Addr().Zone())})
	if server.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(server.Port()), Addr: server.Addr().As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, deadline: deadline}
	err = unix.Connect(fd, sa)
	if err == unix.EINPROGRESS {
		err = c.connected()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// zoneID is the number of the link that a link-local address belongs to, 0 when
// it says none.
func zoneID(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil || zone == "" {
		return uint32(n)
	}
	ifr, err := unix.NewIfreq(zone)
	if err != nil {
		return 0
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) != nil {
		return 0
	}
	return ifr.Uint32()
}

func (c *conn) close() { unix.Close(c.fd) }

func (c *conn) connected() error {
	if err := c.wait(unix.POLLOUT); err != nil {
		return err
	}
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// wait waits for an event until the deadline.
func (c *conn) wait(events int16) error {
	for {
		left := time.Until(c.deadline)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		ts := unix.NsecToTimespec(int64(left))
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(c.fd), Events: events}}, &ts, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n > 0:
			return nil
		}
	}
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, p)
		switch {
		case err == unix.EAGAIN:
			if err := c.wait(unix.POLLIN); err != nil {
				return 0, err
			}
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write writes all of p.
func (c *conn) Write(p []byte) (int, error) {
	for sent := 0; ; {
		n, err := unix.SendmsgN(c.fd, p[sent:], nil, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EAGAIN:
			if err := c.wait(unix.POLLOUT); err != nil {
				return sent, err
			}
		case err == unix.EINTR:
		case err != nil:
			return sent, err
		default:
			if sent += n; sent >= len(p) {
				return sent, nil
			}
		}
	}
}

// overUDP passes over packets that answer something else, which anyone can
// send.
func overUDP(server netip.AddrPort, packed []byte, q *dnsmessage.Message, deadline time.Time) (*dnsmessage.Message, error) {
	c, err := dial(server, unix.SOCK_DGRAM, deadline)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if _, err := c.Write(packed); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if answer, err := parse(buf[:n], q); err == nil {
			return answer, nil
		}
	}
}

func overTCP(server netip.AddrPort, packed []byte, q *dnsmessage.Message, deadline time.Time) (*dnsmessage.Message, error) {
	c, err := dial(server, unix.SOCK_STREAM, deadline)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, buf); err != nil {
		return nil, err
	}
	return parse(buf, q)
}

// parse reads an answer and checks that it is one to the question. An answer
// that was cut may end anywhere.
func parse(b []byte, q *dnsmessage.Message) (*dnsmessage.Message, error) {
	var p dnsmessage.Parser
	header, err := p.Start(b)
	if err != nil {
		return nil, err
	}
	if !header.Response || header.ID != q.ID {
		return nil, errMismatch
	}
	asked, err := p.Question()
	if err != nil || asked.Type != q.Questions[0].Type || !strings.EqualFold(asked.Name.String(), q.Questions[0].Name.String()) {
		return nil, errMismatch
	}
	if header.Truncated {
		return &dnsmessage.Message{Header: header}, nil
	}
	answer := &dnsmessage.Message{}
	if err := answer.Unpack(b); err != nil {
		return nil, err
	}
	return answer, nil
}
