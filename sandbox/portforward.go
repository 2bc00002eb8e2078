package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Dialer connects to what listens in a pod. Safe for concurrent use.
type Dialer interface {
	// DialLoopback opens a TCP connection to a port of the loopback addresses,
	// the IPv4 one first, of the network namespace at the path netns; empty: of
	// the host's.
	DialLoopback(ctx context.Context, netns string, port uint16) (DuplexConn, error)
}

// DuplexConn is a connection whose two directions end one by one.
type DuplexConn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// PortForward connects a client to a port of a ready pod and copies until both
// directions have ended, or ctx has. Closing stream ends only what goes to the
// client. The error is nil once a connection was there: how it ended is between
// the two.
func (m *Manager) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	p, err := m.Pod(id)
	if err != nil {
		return err
	}
	if phase := p.phase(); phase != PhaseReady {
		return fmt.Errorf("%s is %s: %w", p.name(), phase, ErrPrecondition)
	}
	if port < 1 || port > 65535 {
		return fmt.Errorf("port %d: %w", port, ErrInvalid)
	}
	conn, err := m.Dialer.DialLoopback(ctx, p.Status().NetNS, uint16(port))
	if err != nil {
		return fmt.Errorf("connect to port %d of the pod: %w", port, err)
	}
	var once sync.Once
	hangUp := func() { once.Do(func() { conn.Close() }) }
	defer hangUp()
	defer context.AfterFunc(ctx, hangUp)()
	join(conn, stream)
	return nil
}

// join copies both ways until both have ended. What cannot be delivered ends its
// direction on both sides.
func join(conn DuplexConn, stream io.ReadWriteCloser) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := io.Copy(conn, stream); err != nil {
			io.Copy(io.Discard, stream) // other streams share its connection, which must not stand still
		}
		conn.CloseWrite()
	}()
	if _, err := io.Copy(stream, conn); err != nil && !errors.Is(err, io.EOF) {
		conn.Close() // a broken direction leaves no half to use
	}
	stream.Close()
	<-done
}
