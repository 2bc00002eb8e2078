package stdio

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// maxPending is how much output waits for one client, in bytes.
const maxPending = 1 << 20

// Fanout gives the output of a guest to any number of clients. It never waits
// for one: what a client has no room for is lost to it, and a note in its place
// says how much. Safe for concurrent use.
type Fanout struct {
	some atomic.Bool // there are clients: what an ordinary write looks at

	mu      sync.Mutex
	clients map[*Client]struct{}
	closed  bool
}

// Write gives p to every client. It never fails.
func (f *Fanout) Write(p []byte) (int, error) {
	if !f.some.Load() {
		return len(p), nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.clients {
		c.put(p)
	}
	return len(p), nil
}

// Add begins to give output to a file, the write end of a pipe that it owns from
// then on.
func (f *Fanout) Add(file *os.File) *Client {
	c := &Client{fanout: f, file: file, wake: make(chan struct{}, 1), done: make(chan struct{})}
	f.mu.Lock()
	c.ending = f.closed
	if !f.closed {
		if f.clients == nil {
			f.clients = map[*Client]struct{}{}
		}
		f.clients[c] = struct{}{}
		f.some.Store(true)
	}
	f.mu.Unlock()
	go c.run()
	return c
}

func (f *Fanout) remove(c *Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.clients, c)
	f.some.Store(len(f.clients) > 0)
}

// Close gives clients what waits for them and ends them. What their pipes do not
// hold, they can take until the time given.
func (f *Fanout) Close(until time.Time) {
	f.mu.Lock()
	f.closed = true
	var clients []*Client
	for c := range f.clients {
		clients = append(clients, c)
	}
	f.mu.Unlock()
	for _, c := range clients {
		c.widen()
		c.end(until)
	}
	for _, c := range clients {
		<-c.done
	}
}

// Client is one receiver of output.
type Client struct {
	fanout *Fanout
	file   *os.File
	wake   chan struct{} // something has changed
	done   chan struct{} // closed when nothing is written any more

	mu      sync.Mutex
	pending []byte
	writing int    // bytes on their way into the file
	lost    uint64 // since pending was full
	ending  bool
}

// put adds output as far as there is room.
func (c *Client) put(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	if c.lost == 0 { // else the note comes first
		n = max(0, min(len(p), maxPending-len(c.pending)-c.writing))
	}
	c.pending = append(c.pending, p[:n]...)
	c.lost += uint64(len(p) - n)
	c.signal()
}

func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run writes what is pending until the end.
func (c *Client) run() {
	defer close(c.done)
	defer c.file.Close()
	defer c.fanout.remove(c)
	var spare []byte
	for {
		b, ending := c.next(spare[:0])
		if len(b) > 0 {
			if n, err := c.file.Write(b); err != nil { // the client has gone, or its time is over
				c.leave(b[n:])
				return
			}
			spare = b
			continue
		}
		if ending {
			return
		}
		spare = nil // an idle client keeps no memory
		<-c.wake
	}
}

// widen makes the pipe hold all that can wait for a client, as far as the kernel
// permits: then a client that is slow need not be waited for.
func (c *Client) widen() {
	c.control(func(fd int) { unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, maxPending) })
}

// leave writes what can be written without waiting. A deadline that is over, as
// it is when this goroutine comes late on a busy machine, lets nothing through
// otherwise.
func (c *Client) leave(b []byte) {
	c.control(func(fd int) {
		for len(b) > 0 {
			n, err := unix.Write(fd, b)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			b = b[n:]
		}
	})
}

func (c *Client) control(use func(fd int)) {
	raw, err := c.file.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { use(int(fd)) }) // a file that is closed needs nothing
	}
}

// next takes what is pending and leaves the empty slice given.
func (c *Client) next(empty []byte) (b []byte, ending bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b = c.pending
	if c.lost > 0 && len(b) < maxPending/2 {
		b = fmt.Appendf(b, "\n[%d bytes of output are lost here: this client reads too slowly]\n", c.lost)
		c.lost = 0
	}
	c.pending, c.writing = empty, len(b)
	return b, c.ending
}

// end makes the client end when all is written, at the time given at the latest.
func (c *Client) end(until time.Time) {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	c.file.SetWriteDeadline(until)
	c.signal()
}

// Close detaches the client at once.
func (c *Client) Close() {
	c.end(time.Now())
	<-c.done
}
