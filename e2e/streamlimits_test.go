package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	//lint:ignore SA1019 client-go still speaks of its types
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// dialSPDY opens a connection without streams.
func dialSPDY(t *testing.T, rawURL string, config *rest.Config, protocols ...string) (httpstream.Connection, string) {
	t.Helper()
	u, err := url.Parse(rawURL)
	must(t, err)
	transport, upgrader, err := spdy.RoundTripperFor(config)
	must(t, err)
	conn, protocol, err := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u).Dial(protocols...)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, protocol
}

// Clients of every age are served in the newest protocol that they know.
func TestStreamingProtocolsOfAllVersions(t *testing.T) {
	n := sharedNode(t)
	c := shellPod(t, n)
	o := remotecommand.StreamOptions{Stdout: io.Discard}
	for protocol, status := range map[string]string{
		"channel.k8s.io":    "", // has none to speak of
		"v2.channel.k8s.io": "exit status 3",
		"v3.channel.k8s.io": "exit status 3",
		"v4.channel.k8s.io": `"reason":"ExitCode","message":"3"`,
	} {
		t.Run(protocol, func(t *testing.T) {
			conn, got := dialSPDY(t, c.execURL(o, "sh", "-c", "echo to stdout; exit 3"), &rest.Config{}, protocol)
			if got != protocol {
				t.Errorf("the server speaks %q", got)
			}
			var streams [2]httpstream.Stream
			for i, kind := range []string{"error", "stdout"} {
				s, err := conn.CreateStream(http.Header{"Streamtype": {kind}})
				must(t, err)
				streams[i] = s
			}
			expect(t, streams[1], "to stdout\n")
			text, err := io.ReadAll(streams[0])
			if status != "" && (err != nil || !strings.Contains(string(text), status)) {
				t.Errorf("the status is %q, %v, want %q in it", text, err, status)
			}
		})
	}
}

// sizes is a terminal whose size the test changes.
type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &size
}

func TestTerminalsFollowTheirClientsSize(t *testing.T) {
	n := sharedNode(t)
	eachTransport(t, func(t *testing.T, transport string) {
		c := interactive(t, n, func(c containerConfig) { c.Tty = true })
		own := guestPIDs(t, c.id)
		for name, tc := range map[string]struct {
			url func(remotecommand.StreamOptions) string
			pid func() int
		}{
			"attach": {c.attachURL, func() int { return own[0] }},
			"exec": {func(o remotecommand.StreamOptions) string { return c.execURL(o, "cat") }, func() int {
				for _, pid := range guestPIDs(t, c.id) {
					if !slices.Contains(own, pid) {
						return pid
					}
				}
				return 0
			}},
		} {
			t.Run(name, func(t *testing.T) {
				in, w := io.Pipe()
				defer w.Close()
				window := make(sizes, 1)
				defer close(window)
				o := remotecommand.StreamOptions{Stdin: in, Stdout: io.Discard, Tty: true, TerminalSizeQueue: window}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				e := executor(t, transport, tc.url(o))
				go e.StreamWithContext(ctx, o)
				for _, size := range []remotecommand.TerminalSize{{Width: 101, Height: 33}, {Width: 77, Height: 11}} {
					window <- size
					eventually(t, "the size of the window", func() bool { return windowOf(tc.pid()) == size })
				}
			})
		}
	})
}

// windowOf is the size of the terminal that a process has for stdin.
func windowOf(pid int) (size remotecommand.TerminalSize) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/0", pid), os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return size
	}
	defer f.Close()
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return size
	}
	return remotecommand.TerminalSize{Width: w.Col, Height: w.Row}
}

func TestStreamsOnWhichNothingMovesEnd(t *testing.T) {
	n := ownNode(t, nodeOptions{flags: map[string]string{"stream-idle-timeout": "1s", "stream-creation-timeout": "1s"}})
	config := criclient.ContainerSpec{Image: n.program(t, "echo-c")}.Config()
	config.Stdin = true // waits
	c := n.hostPod(t).createFrom(config)
	c.start()
	eachTransport(t, func(t *testing.T, transport string) {
		s := talk(t, transport, false, func(o remotecommand.StreamOptions) string { return c.execURL(o, "/app.wasm") })
		s.say("ping\n")
		s.expect("ping\n")
		s.end() // with or without an error: that it ends
		eventually(t, "the end of the command", func() bool { return len(guestPIDs(t, c.id)) == 1 })
	})
	t.Run("without streams", func(t *testing.T) {
		conn, _ := dialSPDY(t, c.execURL(remotecommand.StreamOptions{Stdout: io.Discard}, "/app.wasm"), &rest.Config{}, "v4.channel.k8s.io")
		select {
		case <-conn.CloseChan():
		case <-time.After(patience):
			t.Error("a client that opens no stream keeps its connection")
		}
	})
}

func TestStreamsOverTLSWithTheConfiguredCertificate(t *testing.T) {
	cert, key, pool := certificate(t)
	n := ownNode(t, nodeOptions{flags: map[string]string{"stream-tls-cert": cert, "stream-tls-key": key}})
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	o := remotecommand.StreamOptions{Stdout: io.Discard}
	u := c.execURL(o, "/app.wasm")
	if !strings.HasPrefix(u, "https://") {
		t.Fatalf("the URL is %s", u)
	}
	_, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"}}}).Get(u[:strings.LastIndex(u, "/")] + "/AAAA")
	must(t, err)
	conn, _ := dialSPDY(t, u, &rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, "v4.channel.k8s.io")
	for _, kind := range []string{"error", "stdout"} {
		s, err := conn.CreateStream(http.Header{"Streamtype": {kind}})
		must(t, err)
		if kind == "stdout" {
			expect(t, s, "up\n")
		}
	}
}

// certificate writes that of a test server, which is good for example.com.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	lender := httptest.NewTLSServer(nil)
	defer lender.Close()
	pair := lender.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	must(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	pool = x509.NewCertPool()
	pool.AddCert(lender.Certificate())
	return cert, key, pool
}
