package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	//lint:ignore SA1019 client-go still speaks of its types
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// forwarders are the ways in which a client can have ports forwarded.
var forwarders = map[string]func(*rest.Config, *url.URL) (httpstream.Dialer, error){
	"SPDY": func(c *rest.Config, u *url.URL) (httpstream.Dialer, error) {
		transport, upgrader, err := spdy.RoundTripperFor(c)
		return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u), err
	},
	"websocket": func(c *rest.Config, u *url.URL) (httpstream.Dialer, error) {
		return portforward.NewSPDYOverWebsocketDialer(u, c)
	},
}

// forward forwards a port of the pod and gives the address that leads there.
func (p *pod) forward(t testing.TB, transport string, port int) string {
	t.Helper()
	r, err := p.node.Client.RuntimeServiceClient.PortForward(t.Context(), &runtime.PortForwardRequest{PodSandboxId: p.id, Port: []int32{int32(port)}})
	must(t, err)
	u, err := url.Parse(r.Url)
	must(t, err)
	dialer, err := forwarders[transport](&rest.Config{Host: u.Host}, u)
	must(t, err)
	stop, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.New(dialer, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- f.ForwardPorts() }()
	t.Cleanup(func() {
		close(stop)
		<-ended
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("forward port %d: %v", port, err)
	}
	ports, err := f.GetPorts()
	must(t, err)
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
}

// serveIn serves connections to an address in the network of a pod; empty: of
// the node.
func serveIn(t testing.TB, netns, address string, serve func(*net.TCPConn)) (port int) {
	t.Helper()
	type result struct {
		listener net.Listener
		err      error
	}
	results := make(chan result)
	go func() {
		goruntime.LockOSThread() // for ever: the thread ends with this goroutine
		if netns != "" {
			ns, err := os.Open(netns)
			if err == nil {
				err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
				_ = ns.Close()
			}
			if err != nil {
				results <- result{err: err}
				return
			}
		}
		l, err := net.Listen("tcp", address)
		results <- result{l, err}
	}()
	r := <-results
	must(t, r.err)
	t.Cleanup(func() { _ = r.listener.Close() })
	go func() {
		for {
			conn, err := r.listener.Accept()
			if err != nil {
				return
			}
			go serve(conn.(*net.TCPConn))
		}
	}()
	return r.listener.Addr().(*net.TCPAddr).Port
}

// echoAll gives back all that it was sent, once it was all sent.
func echoAll(conn *net.TCPConn) {
	defer conn.Close()
	data, err := io.ReadAll(conn)
	if err == nil {
		_, _ = conn.Write(data)
	}
}

func exchange(address string, data []byte) ([]byte, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(data); err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

func podNetNS(t *testing.T, n *node, p *pod) string {
	t.Helper()
	c := p.run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	return fmt.Sprintf("/proc/%d/ns/net", guestPIDs(t, c.id)[0])
}

func TestPortForward(t *testing.T) {
	n := sharedNode(t)
	p := n.pod(t, criclient.PodSpec{})
	netns := podNetNS(t, n, p)
	host := n.hostPod(t)
	for name := range forwarders {
		for what, tc := range map[string]struct {
			pod            *pod
			netns, address string
		}{
			"IPv4":            {p, netns, "127.0.0.1:0"},
			"IPv6":            {p, netns, "[::1]:0"},
			"all addresses":   {p, netns, ":0"},
			"the node's IPv4": {host, "", "127.0.0.1:0"},
			"the node's IPv6": {host, "", "[::1]:0"},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				address := tc.pod.forward(t, name, serveIn(t, tc.netns, tc.address, echoAll))
				want := bytes.Repeat([]byte("half-closed "), 100000)
				got, err := exchange(address, want)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
				}
			})
		}
	}
}

func TestPortForwardServesManyConnections(t *testing.T) {
	n := sharedNode(t)
	p := n.pod(t, criclient.PodSpec{})
	netns := podNetNS(t, n, p)
	for name := range forwarders {
		t.Run(name, func(t *testing.T) {
			address := p.forward(t, name, serveIn(t, netns, "127.0.0.1:0", echoAll))
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					want := []byte(strings.Repeat(fmt.Sprint(i), 10000))
					got, err := exchange(address, want)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("connection %d: got %d bytes, %v, want %d", i, len(got), err, len(want))
					}
				})
			}
			all.Wait()
		})
	}
}

// A server that speaks first and closes ends the client's connection, too.
func TestPortForwardGivesTheServersEnd(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	address := p.forward(t, "SPDY", serveIn(t, "", "127.0.0.1:0", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "good bye\n")
		_ = c.Close()
	}))
	if got, err := dialText(address); err != nil || got != "good bye\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A connection that leads through a server ends with it; what listens in the pod
// goes on, and is reached through the next server.
func TestPortForwardAcrossARestartOfTheServer(t *testing.T) {
	for name, end := range map[string]func(*node) error{
		"stopped": func(n *node) error { return n.Stop() },
		"killed":  func(n *node) error { return n.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			n := ownNode(t, nodeOptions{})
			p := n.pod(t, criclient.PodSpec{})
			hungUp := make(chan error, 1)
			netns := podNetNS(t, n, p)
			port := serveIn(t, netns, "127.0.0.1:0", func(c *net.TCPConn) {
				_, err := io.Copy(c, c)
				_ = c.Close()
				hungUp <- err
			})
			conn, err := net.Dial("tcp", p.forward(t, "SPDY", port))
			must(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "ping")
			must(t, err)
			_, err = io.ReadFull(conn, make([]byte, 4))
			must(t, err)
			must(t, end(n))
			must(t, conn.SetReadDeadline(time.Now().Add(patience)))
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the client's connection outlives the server: %v", err)
			}
			select {
			case <-hungUp:
			case <-time.After(patience):
				t.Error("the pod's connection outlives the server")
			}
			must(t, n.Start(t.Context()))
			port = serveIn(t, netns, "127.0.0.1:0", echoAll)
			if got, err := exchange(p.forward(t, "SPDY", port), []byte("pong")); err != nil || string(got) != "pong" {
				t.Errorf("through the next server: %q, %v", got, err)
			}
		})
	}
}

func TestPortForwardToAPortWithoutAServer(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	port := serveIn(t, "", "127.0.0.1:0", echoAll)
	address := p.forward(t, "SPDY", port+1)
	if got, err := exchange(address, nil); len(got) != 0 {
		t.Errorf("got %q, %v from a port on which nothing listens", got, err)
	}
}
