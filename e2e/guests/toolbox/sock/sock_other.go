//go:build !wasip1

package sock

import (
	"net"
	"strconv"
	"time"
)

type listener struct{ net.Listener }

func (l listener) Accept() (Conn, string, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, "", err
	}
	return c.(*net.TCPConn), c.RemoteAddr().String(), nil
}

// Listen listens on an address; an empty host means every one.
func Listen(host string, port uint16) (Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	return listener{l}, nil
}

// Dial connects to a host by name or address.
func Dial(host string, port uint16, timeout time.Duration) (Conn, error) {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(int(port))), timeout)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// LookUp gives the addresses of a name.
func LookUp(host string) ([]string, error) { return net.LookupHost(host) }
