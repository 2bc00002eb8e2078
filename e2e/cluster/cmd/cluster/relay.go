package main

import (
	"errors"
	"io"
	"net"
	"sync"
)

// way copies the connections of a listener to where dial leads. Safe for
// concurrent use.
type way struct {
	listener net.Listener
	dial     func() (net.Conn, error)
	done     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]bool
}

func relay(l net.Listener, dial func() (net.Conn, error)) *way {
	w := &way{listener: l, dial: dial, open: map[net.Conn]bool{}}
	w.done.Go(w.accept)
	return w
}

// Close ends the listener and all connections.
func (w *way) Close() error {
	err := w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for c := range w.open {
		err = errors.Join(err, c.Close())
	}
	w.mu.Unlock()
	w.done.Wait()
	return err
}

func (w *way) accept() {
	for {
		in, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		w.done.Go(func() { w.connect(in) })
	}
}

func (w *way) connect(in net.Conn) {
	out, err := w.dial()
	if err != nil {
		_ = in.Close() // the client sees it
		return
	}
	if !w.keep(in, out) {
		return
	}
	defer w.drop(in, out)
	back := make(chan struct{}) // closed when out has ended
	go func() {
		defer close(back)
		copyHalf(in, out)
	}()
	copyHalf(out, in)
	<-back
}

// copyHalf copies one direction and hands its end on.
func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from) // either side may go at any time
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// keep remembers connections for Close; false when that was called already.
func (w *way) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.closed {
			_ = c.Close()
			continue
		}
		w.open[c] = true
	}
	return !w.closed
}

func (w *way) drop(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.open, c)
		_ = c.Close() // it may be closed
	}
}
