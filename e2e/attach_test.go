package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/remotecommand"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// attachURL asks for the streams that the options have.
func (c *container) attachURL(o remotecommand.StreamOptions) string {
	c.t.Helper()
	r, err := c.pod.node.Client.RuntimeServiceClient.Attach(c.t.Context(), &runtime.AttachRequest{
		ContainerId: c.id, Tty: o.Tty, Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil,
	})
	if err != nil {
		c.t.Fatalf("attach: %v", err)
	}
	return r.Url
}

// client is an attached client, or one of a command.
type client struct {
	t     *testing.T
	stdin io.WriteCloser
	out   io.Reader
	leave context.CancelFunc
	ended chan error
}

// talk connects a client with stdin and stdout to a URL.
func talk(t *testing.T, transport string, tty bool, open func(remotecommand.StreamOptions) string) *client {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	o := remotecommand.StreamOptions{Stdin: inR, Stdout: outW, Tty: tty}
	ctx, leave := context.WithCancel(t.Context())
	c := &client{t: t, stdin: inW, out: outR, leave: leave, ended: make(chan error, 1)}
	e := executor(t, transport, open(o))
	go func() {
		err := e.StreamWithContext(ctx, o)
		outW.Close()
		c.ended <- err
	}()
	t.Cleanup(func() {
		leave()
		inW.Close()
		outR.Close()
	})
	return c
}

func (c *client) say(text string) {
	c.t.Helper()
	_, err := io.WriteString(c.stdin, text)
	must(c.t, err)
}

func (c *client) expect(text string) {
	c.t.Helper()
	expect(c.t, c.out, text)
}

// end waits for the end of the stream.
func (c *client) end() error {
	c.t.Helper()
	go io.Copy(io.Discard, c.out)
	select {
	case err := <-c.ended:
		return err
	case <-time.After(patience):
		c.t.Fatal("the stream does not end")
		return nil
	}
}

// interactive runs cat with an open stdin.
func interactive(t *testing.T, n *node, change func(containerConfig)) *container {
	t.Helper()
	config := criclient.ContainerSpec{Name: n.unique("cat"), Image: n.toolbox(t), Command: []string{"/bin/cat"}}.Config()
	config.Stdin = true
	change(config)
	c := n.hostPod(t).createFrom(config)
	c.start()
	return c
}

func TestExecWithATerminal(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	eachTransport(t, func(t *testing.T, transport string) {
		cat := func(t *testing.T, command ...string) *client {
			return talk(t, transport, true, func(o remotecommand.StreamOptions) string { return c.execURL(o, command...) })
		}
		t.Run("echoes, and ends by its key", func(t *testing.T) {
			s := cat(t, "cat")
			s.say("hello\n")
			s.expect("hello\r\nhello\r\n")
			s.say("\x04")
			if code := exitCode(t, s.end()); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
		t.Run("ends with its input", func(t *testing.T) {
			s := cat(t, "cat")
			s.say("unfinished")
			s.expect("unfinished")
			must(t, s.stdin.Close())
			if code := exitCode(t, s.end()); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
		t.Run("is interrupted by its key", func(t *testing.T) {
			s := cat(t, "top")
			s.expect("up\r\n")
			s.say("\x03")
			if code := exitCode(t, s.end()); code != 130 {
				t.Errorf("exit code %d, want 130", code)
			}
		})
		t.Run("has a type", func(t *testing.T) {
			s := cat(t, "env")
			s.expect("TERM=xterm\r\n")
			if code := exitCode(t, s.end()); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
	})
}

func TestAttachFeedsStdin(t *testing.T) {
	n := sharedNode(t)
	eachTransport(t, func(t *testing.T, transport string) {
		c := interactive(t, n, func(c containerConfig) { c.StdinOnce = true })
		s := talk(t, transport, false, c.attachURL)
		s.say("one\n")
		s.expect("one\n")
		s.say("two\n")
		s.expect("two\n")
		must(t, s.stdin.Close())
		must(t, s.end())
		if st := c.wait(); st.ExitCode != 0 {
			t.Errorf("exit code %d, want 0", st.ExitCode)
		}
	})
}

// Containers that end as soon as they have answered: none of their clients comes
// away without the answer.
func TestAttachToContainersThatEndAtOnce(t *testing.T) {
	const count, atOnce = 48, 8
	n := sharedNode(t)
	p := n.hostPod(t)
	image := n.shell(t)
	for _, err := range inParallel(atOnce, count, func(i int) error {
		config := criclient.ContainerSpec{Name: n.unique("quick"), Image: image, Command: []string{"sh", "-c", "read x; echo you say $x"}}.Config()
		config.Stdin, config.StdinOnce = true, true
		id, err := n.Client.Create(t.Context(), p.id, p.config, config)
		if err != nil {
			return err
		}
		if err := n.Client.Start(t.Context(), id); err != nil {
			return err
		}
		r, err := n.Client.RuntimeServiceClient.Attach(t.Context(), &runtime.AttachRequest{ContainerId: id, Stdin: true, Stdout: true})
		if err != nil {
			return err
		}
		var out bytes.Buffer
		transport := []string{"SPDY", "websocket"}[i%2]
		err = executor(t, transport, r.Url).StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("hello\n"), Stdout: &out})
		if err != nil || out.String() != "you say hello\n" {
			return fmt.Errorf("%s: the client got %q, %w", transport, &out, err)
		}
		return nil
	}) {
		t.Error(err)
	}
}

// A client that comes after its container's end learns that it does: what it came
// for is in the log.
func TestAttachAfterTheContainersEnd(t *testing.T) {
	n := sharedNode(t)
	eachTransport(t, func(t *testing.T, transport string) {
		c := interactive(t, n, func(c containerConfig) { c.StdinOnce = true })
		s := talk(t, transport, false, c.attachURL)
		late := executor(t, transport, c.attachURL(remotecommand.StreamOptions{Stdout: io.Discard}))
		must(t, s.stdin.Close())
		must(t, s.end())
		c.wait()
		err := late.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "not running") {
			t.Errorf("got %v, want an error that says so", err)
		}
	})
}

// Without stdin_once a container's input is open for the next client.
func TestAttachAgain(t *testing.T) {
	n := sharedNode(t)
	c := interactive(t, n, func(containerConfig) {})
	for range 3 {
		s := talk(t, "SPDY", false, c.attachURL)
		s.say("again\n")
		s.expect("again\n")
		must(t, s.stdin.Close())
		s.leave()
		s.end()
	}
	if s := c.status(); s.State != running {
		t.Errorf("after its clients the container is %v", s.State)
	}
}

func TestAttachServesSeveralClients(t *testing.T) {
	n := sharedNode(t)
	c := interactive(t, n, func(c containerConfig) { c.Tty = true })
	a, b := talk(t, "SPDY", true, c.attachURL), talk(t, "SPDY", true, c.attachURL)
	a.say("from a\n")
	a.expect("from a\r\nfrom a\r\n")
	b.say("from b\n")
	b.expect("from b\r\nfrom b\r\n") // both are attached by now
	a.expect("from b\r\nfrom b\r\n")
	a.say("from a again\n")
	a.expect("from a again\r\nfrom a again\r\n")
	b.expect("from a again\r\nfrom a again\r\n")
	b.say("\x03")
	must(t, a.end())
	must(t, b.end())
	if st := c.wait(); st.ExitCode != 130 {
		t.Errorf("exit code %d, want 130", st.ExitCode)
	}
}

// All that a worker does for its clients passes its own system call filter.
func TestAttachUnderTheDefaultFilter(t *testing.T) {
	n := sharedNode(t)
	for name, tty := range map[string]bool{"pipes": false, "terminal": true} {
		t.Run(name, func(t *testing.T) {
			c := interactive(t, n, func(c containerConfig) {
				c.Tty, c.StdinOnce = tty, true
				c.Linux.SecurityContext.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
				c.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1042}
			})
			end, command := "ping\n", []string{"cat"}
			if tty {
				end = "ping\r\nping\r\n"
			}
			exec := func(o remotecommand.StreamOptions) string { return c.execURL(o, command...) }
			for _, open := range []func(remotecommand.StreamOptions) string{exec, c.attachURL} {
				s := talk(t, "SPDY", tty, open)
				s.say("ping\n")
				s.expect(end)
				must(t, s.stdin.Close())
				must(t, s.end())
			}
			if st := c.wait(); st.ExitCode != 0 {
				t.Errorf("exit code %d, want 0", st.ExitCode)
			}
		})
	}
}

func TestATerminalsOutputIsInTheLog(t *testing.T) {
	n := sharedNode(t)
	config := criclient.ContainerSpec{Name: n.unique("tty"), Image: n.toolbox(t), Command: []string{"/bin/yes", "1000"}}.Config()
	config.Tty = true
	c := n.hostPod(t).createFrom(config)
	c.start()
	c.wait()
	lines := c.lines("stdout")
	if len(lines) != 1000 || strings.TrimSpace(lines[999]) != "line 999" {
		t.Errorf("%d lines in the log, want 1000", len(lines))
	}
}

// A client that does not read loses output; the guest goes on.
func TestAttachedClientThatDoesNotRead(t *testing.T) {
	n := sharedNode(t)
	c := interactive(t, n, func(containerConfig) {})
	r, w := io.Pipe() // nobody reads
	defer r.Close()
	o := remotecommand.StreamOptions{Stdout: w}
	stuck := executor(t, "SPDY", c.attachURL(o))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	go stuck.StreamWithContext(ctx, o)
	s := talk(t, "SPDY", false, c.attachURL)
	const size = 32 << 20
	go func() {
		block := bytes.Repeat([]byte("0123456789abcde\n"), 1<<12)
		for n := 0; n < size; n += len(block) {
			if _, err := s.stdin.Write(block); err != nil {
				return
			}
		}
		for { // even this client may have been too slow for the flood
			if _, err := s.stdin.Write([]byte("the end\n")); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	s.expect("the end\n")
}

func TestAttachAfterARestartOfTheServer(t *testing.T) {
	for name, end := range map[string]func(*node) error{
		"stopped": func(n *node) error { return n.Stop() },
		"killed":  func(n *node) error { return n.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			n := ownNode(t, nodeOptions{})
			terminal := interactive(t, n, func(c containerConfig) { c.Tty = true })
			plain := interactive(t, n, func(containerConfig) {})
			before := talk(t, "SPDY", true, terminal.attachURL)
			before.say("before\n")
			before.expect("before\r\nbefore\r\n")
			must(t, end(n))
			before.end() // with or without an error: that it ends
			must(t, n.Start(t.Context()))
			after := talk(t, "SPDY", true, terminal.attachURL)
			after.say("after\n")
			after.expect("after\r\nafter\r\n")
			other := talk(t, "SPDY", false, plain.attachURL)
			other.say("after\n")
			other.expect("after\n")
		})
	}
}

// Commands cannot be reached any more once their server has gone: those that
// talk to a client end by it.
func TestExecEndsWithItsServer(t *testing.T) {
	for name, end := range map[string]func(*node) error{
		"stopped": func(n *node) error { return n.Stop() },
		"killed":  func(n *node) error { return n.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			n := ownNode(t, nodeOptions{})
			c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
			c.waitLine("up")
			plain := talk(t, "SPDY", false, func(o remotecommand.StreamOptions) string { return c.execURL(o, "cat") })
			plain.say("ping\n")
			plain.expect("ping\n")
			terminal := talk(t, "SPDY", true, func(o remotecommand.StreamOptions) string { return c.execURL(o, "top") })
			terminal.expect("up\r\n")
			must(t, end(n))
			plain.end()
			terminal.end()
			eventually(t, "the end of both commands", func() bool { return len(guestPIDs(t, c.id)) == 1 })
			must(t, n.Start(t.Context()))
			if s := c.status(); s.State != running {
				t.Errorf("the container is %v", s.State)
			}
		})
	}
}

// A job that nobody talks to ends with a server that is stopped. When the server
// is killed it goes on, and ends with its container.
func TestCommandsWithoutAClientWhenTheServerEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		end   func(*node) error
		alive int
	}{
		"stopped": {func(n *node) error { return n.Stop() }, 1},
		"killed":  {func(n *node) error { return n.Kill() }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			n := ownNode(t, nodeOptions{})
			c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.shell(t), Command: []string{"sleep", "3600"}})
			o := remotecommand.StreamOptions{Stdout: io.Discard}
			// Commands that print nothing: whose output nobody reads ends by printing.
			job := func(name string) []string { return []string{"sh", "-c", "touch /" + name + "; sleep 3600"} }
			streamed := executor(t, "SPDY", c.execURL(o, job("streamed")...))
			go streamed.StreamWithContext(t.Context(), o)
			go n.Client.Exec(t.Context(), c.id, 0, job("plain")...)
			// A worker whose server goes before its guest has begun ends.
			eventually(t, "both commands", func() bool {
				r, err := n.Client.Exec(t.Context(), c.id, 20, "ls", "/streamed", "/plain")
				return err == nil && r.ExitCode == 0
			})
			eventually(t, "no other command", func() bool { return len(guestPIDs(t, c.id)) == 3 })
			must(t, tc.end(n))
			eventually(t, "what becomes of the commands", func() bool { return len(guestPIDs(t, c.id)) == tc.alive })
			must(t, n.Start(t.Context()))
			if s := c.status(); s.State != running {
				t.Errorf("the container is %v", s.State)
			}
			must(t, n.Client.Remove(t.Context(), c.id))
			if left := guestPIDs(t, c.id); len(left) > 0 {
				t.Errorf("processes %d outlive their container", left)
			}
		})
	}
}
