package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// follower is a kubectl that goes on, such as logs -f, while the test looks at
// what it prints. Its methods are for one goroutine.
type follower struct {
	n              *namespace
	what           string
	stdout, stderr output
	cancel         context.CancelFunc
	ended          chan struct{} // closed when it has ended
	err            error         // how, when it has
}

// follow starts kubectl in the namespace. It ends with the test at the latest.
func (n *namespace) follow(stdin string, args ...string) *follower {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	f := &follower{n: n, what: "kubectl " + strings.Join(args, " "), cancel: cancel, ended: make(chan struct{})}
	cmd := n.c.Command(ctx, append([]string{"-n", n.name}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &f.stdout, &f.stderr
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	go func() {
		f.err = cmd.Wait()
		close(f.ended)
	}()
	n.t.Cleanup(f.stop)
	return f
}

// until waits until what was printed contains text, and gives all of it.
func (f *follower) until(text string) string {
	f.n.t.Helper()
	f.n.eventually("the output of "+f.what, func() error {
		// First whether it has ended: what it printed is complete then.
		over := false
		select {
		case <-f.ended:
			over = true
		default:
		}
		if got := f.stdout.String(); !strings.Contains(got, text) {
			err := fmt.Errorf("it printed %q, and %q as errors; want %q", got, &f.stderr, text)
			if over {
				f.n.t.Fatal(f.what, ": it has ended: ", err)
			}
			return err
		}
		return nil
	})
	return f.stdout.String()
}

// wait waits until it ends by itself, and gives what it printed.
func (f *follower) wait() (string, error) {
	f.n.t.Helper()
	f.n.eventually("the end of "+f.what, func() error {
		select {
		case <-f.ended:
			return nil
		default:
			return errors.New("it goes on")
		}
	})
	return f.stdout.String(), f.err
}

// stop ends kubectl; what it has done in the cluster goes on.
func (f *follower) stop() {
	f.cancel()
	<-f.ended
}

// output is what a program has written so far. Safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
