package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// Guests that speak HTTP over sockets of their own: in Go, and in C and Rust in
// both versions of the socket extension.
var (
	netGuests   = []string{"net1-c", "net2-c", "net1-rust", "net2-rust"}
	httpServers = append(netGuests[:4:4], "httpd-go") // the last takes longest to compile
)

// largeBody is the size of the body that each server takes and gives:
// E2E_BODY_MIB, 64 when it is not set.
func largeBody(t *testing.T) int64 {
	mib, err := strconv.ParseInt(os.Getenv("E2E_BODY_MIB"), 10, 64)
	if os.Getenv("E2E_BODY_MIB") == "" {
		return 64 << 20
	}
	must(t, err)
	return mib << 20
}

// addresses gives the pod's addresses, that of IPv4 first.
func (p *pod) addresses() (v4, v6 string) {
	p.t.Helper()
	s, err := p.node.Client.Pod(p.t.Context(), p.id)
	must(p.t, err)
	v4 = s.Network.Ip
	for _, more := range s.Network.AdditionalIps {
		v6 = more.Ip
	}
	if strings.Contains(v4, ":") {
		v4, v6 = v6, v4
	}
	if v4 == "" || v6 == "" {
		p.t.Fatalf("the pod has addresses %q and %q, want one of each family", v4, v6)
	}
	return v4, v6
}

// serve starts an HTTP server on port 8080 of both families and waits until it
// listens.
func (p *pod) serve(guestName string, more ...string) *container {
	p.t.Helper()
	args := append([]string{"serve", "0.0.0.0:8080", "[::]:8081"}, more...)
	if guestName == "httpd-go" {
		args = []string{"serve", "[::]:8080"} // one listener for both families
	}
	c := p.run(criclient.ContainerSpec{Image: p.node.program(p.t, guestName), Args: args})
	eventually(p.t, guestName+" to listen", func() bool { return len(c.lines("stdout")) >= len(args)-1 })
	return c
}

func TestGuestServersOverThePodsAddress(t *testing.T) {
	n := sharedNode(t)
	for _, name := range httpServers {
		t.Run(name, func(t *testing.T) {
			p := n.pod(t, criclient.PodSpec{})
			c := p.serve(name)
			v4, v6 := p.addresses()
			url := "http://" + net.JoinHostPort(v4, "8080")
			t.Run("keep-alive", func(t *testing.T) { testKeepAlive(t, url) })
			t.Run("64 connections", func(t *testing.T) { testConnections(t, url, 64) })
			t.Run("half-closed", func(t *testing.T) { testHalfClosed(t, net.JoinHostPort(v4, "8080")) })
			t.Run("large bodies", func(t *testing.T) { testLargeBodies(t, c, url, largeBody(t)) })
			port := "8081"
			if name == "httpd-go" {
				port = "8080"
			}
			if got := httpGet(t, http.DefaultClient, "http://"+net.JoinHostPort(v6, port)+"/six"); !strings.HasPrefix(got, "hello /six") {
				t.Errorf("over IPv6 the server says %q", got)
			}
		})
	}
}

func httpGet(t testing.TB, client *http.Client, url string) string {
	t.Helper()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return string(body)
}

// testKeepAlive makes requests that must all use one connection.
func testKeepAlive(t *testing.T, url string) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	reused := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if i.Reused {
			reused++
		}
	}})
	const requests = 50
	for i := range requests {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/%d", url, i), nil)
		must(t, err)
		answer, err := client.Do(r)
		must(t, err)
		body, err := io.ReadAll(answer.Body)
		must(t, err)
		must(t, answer.Body.Close())
		if want := fmt.Sprintf("hello /%d from ", i); !strings.HasPrefix(string(body), want) {
			t.Fatalf("got %q, want %q", body, want)
		}
	}
	if reused != requests-1 {
		t.Errorf("%d of %d requests came over the same connection, want all but the first", reused, requests)
	}
}

// testConnections has so many connections open at once, and each echo a body.
func testConnections(t *testing.T, url string, count int) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: count}, Timeout: patience}
	defer client.CloseIdleConnections()
	ready := sync.WaitGroup{}
	ready.Add(count)
	errs := inParallel(count, count, func(int) error {
		// The first half of the body is on its way, and all others are
		// connected, before the second half follows.
		front, back := body[:len(body)/2], body[len(body)/2:]
		r, w := io.Pipe()
		go func() {
			w.Write(front)
			ready.Done()
			ready.Wait()
			w.Write(back)
			w.Close()
		}()
		request, err := http.NewRequest(http.MethodPost, url+"/echo", r)
		if err != nil {
			return err
		}
		request.ContentLength = int64(len(body))
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		got, err := io.ReadAll(answer.Body)
		if err == nil && !bytes.Equal(got, body) {
			err = fmt.Errorf("%d bytes came back, of %d, or others", len(got), len(body))
		}
		return err
	})
	for _, err := range errs {
		t.Error(err)
	}
}

// testHalfClosed ends the writing half of a connection before the server has
// answered.
func testHalfClosed(t *testing.T, address string) {
	conn, err := net.Dial("tcp", address)
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: guest\r\nContent-Length: 10\r\n\r\nlast words")
	must(t, err)
	must(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	if got, err := io.ReadAll(answer.Body); err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
}

// testLargeBodies sends a body and receives one; the process must not grow by
// it.
func testLargeBodies(t *testing.T, c *container, url string, size int64) {
	pids := guestPIDs(t, c.id)
	if len(pids) != 1 {
		t.Fatalf("the container has processes %d, want one", pids)
	}
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * patience}
	defer client.CloseIdleConnections()
	before := statusKiB(t, pids[0], "VmRSS")
	r, err := client.Get(url + "/bytes?n=" + strconv.FormatInt(size, 10))
	must(t, err)
	n, err := io.Copy(io.Discard, r.Body)
	must(t, r.Body.Close())
	if n != size || err != nil {
		t.Errorf("received %d bytes, %v; want %d", n, err, size)
	}
	request, err := http.NewRequest(http.MethodPost, url+"/count", io.LimitReader(zeros{}, size))
	must(t, err)
	request.ContentLength = size
	r, err = client.Do(request)
	must(t, err)
	body, err := io.ReadAll(r.Body)
	must(t, r.Body.Close())
	if got := strings.TrimSpace(string(body)); got != strconv.FormatInt(size, 10) || err != nil {
		t.Errorf("the server counted %q, %v; want %d", got, err, size)
	}
	grown := statusKiB(t, pids[0], "VmRSS") - before
	t.Logf("%d MiB each way: %d KiB more", size>>20, grown)
	if grown > 24<<10 {
		t.Errorf("the guest's process grew by %d KiB over bodies of %d MiB", grown, size>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestGuestsCallOtherPods calls a guest in one pod from guests in another, by
// address and by name.
func TestGuestsCallOtherPods(t *testing.T) {
	n := sharedNode(t)
	server := n.pod(t, criclient.PodSpec{})
	server.serve("net2-c")
	v4, v6 := server.addresses()
	client := n.podWithNames(t, map[string]string{"web.default.svc.e2e.": v4}, "six.e2e "+v6)
	for _, name := range httpServers {
		t.Run(name, func(t *testing.T) {
			for _, url := range []string{
				"http://" + v4 + ":8080/x", "http://[" + v6 + "]:8081/x", // by address
				"http://web:8080/x", "http://web.default:8080/x", // by a name server, in two of the search domains
				"http://six.e2e:8081/x", // by the file of hosts
			} {
				c := client.run(criclient.ContainerSpec{Image: n.program(t, name), Args: []string{"get", url}, Mounts: client.mounts})
				c.wantExit(c.wait(), 0, "Completed")
				if out := c.lines("stdout"); !slices.Contains(out, "hello /x from c") {
					t.Errorf("%s: %q", url, out)
				}
			}
		})
	}
	for _, name := range netGuests {
		t.Run(name+" ends its half", func(t *testing.T) {
			c := client.run(criclient.ContainerSpec{
				Image: n.program(t, name), Args: []string{"put", "http://" + v4 + ":8080/count", "10000000"}, Mounts: client.mounts,
			})
			c.wantExit(c.wait(), 0, "Completed")
			if out := c.lines("stdout"); !slices.Contains(out, "10000000") {
				t.Errorf("the answer is %q", out)
			}
		})
		t.Run(name+" knows the ends", func(t *testing.T) {
			c := client.run(criclient.ContainerSpec{Image: n.program(t, name), Args: []string{"get", "http://" + v4 + ":8080/"}, Mounts: client.mounts})
			c.wantExit(c.wait(), 0, "Completed")
			own, _ := client.addresses()
			if out := c.lines("stdout"); len(out) == 0 || !strings.HasPrefix(out[0], "from "+own+":") || !strings.HasSuffix(out[0], " to "+v4+":8080") {
				t.Errorf("the connection is %q, want it from %s to %s:8080", out, own, v4)
			}
		})
		t.Run(name+" resolves", func(t *testing.T) {
			c := client.run(criclient.ContainerSpec{Image: n.program(t, name), Args: []string{"resolve", "web", "http"}, Mounts: client.mounts})
			c.wantExit(c.wait(), 0, "Completed")
			if out, want := c.lines("stdout"), []string{v4 + ":80"}; !slices.Equal(out, want) {
				t.Errorf("got %q, want %q", out, want)
			}
			c = client.run(criclient.ContainerSpec{Image: n.program(t, name), Args: []string{"resolve", "nobody.e2e", "http"}, Mounts: client.mounts})
			c.wantExit(c.wait(), 1, "Error")
		})
	}
}

// namedPod is a pod that resolves names.
type namedPod struct {
	*pod
	mounts []*runtime.Mount // for its containers
}

// podWithNames starts a pod whose name server knows some names, with a file of
// hosts of some lines "NAME ADDRESS".
func (n *node) podWithNames(t *testing.T, names map[string]string, hosts ...string) namedPod {
	t.Helper()
	config := n.podConfig(criclient.PodSpec{})
	config.DnsConfig = &runtime.DNSConfig{
		Servers:  []string{nameServer(t, names)},
		Searches: []string{"default.svc.e2e", "svc.e2e"},
		Options:  []string{"ndots:5"},
	}
	file := "127.0.0.1 localhost\n::1 localhost\n"
	for _, line := range hosts {
		name, address, _ := strings.Cut(line, " ")
		file += address + " " + name + "\n"
	}
	dir := writeFile(t, "hosts", file)
	return namedPod{n.podFrom(t, config, ""), []*runtime.Mount{{
		HostPath: filepath.Join(dir, "hosts"), ContainerPath: "/etc/hosts", Readonly: true,
	}}}
}

func TestGuestsExchangeDatagrams(t *testing.T) {
	n := sharedNode(t)
	server, client := n.pod(t, criclient.PodSpec{}), n.pod(t, criclient.PodSpec{})
	v4, v6 := server.addresses()
	for _, name := range []string{"httpd-go", "net2-c", "net2-rust"} { // v1 does not tell the sender's port
		t.Run(name, func(t *testing.T) {
			for network, bind := range map[string]string{v4: "0.0.0.0:9000", v6: "[::]:9001"} {
				args := []string{"udp", bind}
				if name == "httpd-go" {
					args = []string{"echo", "udp", bind}
				}
				s := server.run(criclient.ContainerSpec{Image: n.program(t, name), Args: args})
				eventually(t, "the server to listen", func() bool { return len(s.lines("stdout")) > 0 })
				_, port, _ := strings.Cut(bind[strings.LastIndex(bind, ":"):], ":")
				for _, from := range netGuests {
					text := "a datagram of " + from
					c := client.run(criclient.ContainerSpec{Image: n.program(t, from), Args: []string{"ask", net.JoinHostPort(network, port), text}})
					c.wantExit(c.wait(), 0, "Completed")
					if out := c.lines("stdout"); !slices.Equal(out, []string{text}) {
						t.Errorf("%s from %s: got %q, want %q", network, from, out, text)
					}
				}
				s.stop(5)
			}
		})
	}
	t.Run("received by v1", func(t *testing.T) {
		for _, name := range []string{"net1-c", "net1-rust"} {
			s := server.run(criclient.ContainerSpec{Image: n.program(t, name), Args: []string{"udp", "0.0.0.0:9000"}})
			eventually(t, "the server to listen", func() bool { return len(s.lines("stdout")) > 0 })
			conn, err := net.Dial("udp", net.JoinHostPort(v4, "9000"))
			must(t, err)
			_, err = io.WriteString(conn, "12345")
			must(t, err)
			must(t, conn.Close())
			eventually(t, "the datagram", func() bool { return strings.HasPrefix(strings.Join(s.lines("stdout")[1:], ""), "5 bytes") })
			s.stop(5)
		}
	})
}

// TestUnixSocketsInVolumes serves on a path that a volume shares: with another
// container, and with the host.
func TestUnixSocketsInVolumes(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	volume := []*runtime.Mount{{HostPath: dir, ContainerPath: "/run/sockets"}}
	server := p.run(criclient.ContainerSpec{
		Image: n.program(t, "net2-c"), Args: []string{"serve", "/run/sockets/http.sock"}, Mounts: volume,
	})
	server.waitLine("listening on /run/sockets/http.sock")

	client := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "http.sock"))
	}}}
	defer client.CloseIdleConnections()
	if got, want := httpGet(t, client, "http://socket/host"), "hello /host from c\n"; got != want {
		t.Errorf("the host reads %q, want %q", got, want)
	}

	c := p.run(criclient.ContainerSpec{Image: n.program(t, "net2-c"), Args: []string{"get", "unix:/run/sockets/http.sock"}, Mounts: volume})
	c.wantExit(c.wait(), 0, "Completed")
	out := c.lines("stdout")
	for _, want := range []string{"to /run/sockets/http.sock", "hello / from c"} {
		if !slices.Contains(out, want) {
			t.Errorf("the other container prints %q, without %q", out, want)
		}
	}
}

func TestSocketOptionsOfGuests(t *testing.T) {
	n := sharedNode(t)
	p := n.pod(t, criclient.PodSpec{})
	for _, name := range netGuests {
		c := p.run(criclient.ContainerSpec{Image: n.program(t, name), Args: []string{"options"}})
		c.wantExit(c.wait(), 0, "Completed")
		if out := c.lines("stdout"); !slices.Equal(out, []string{"options: ok"}) {
			t.Errorf("%s: %q", name, out)
		}
	}
}
