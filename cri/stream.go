package cri

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// StreamConfig wires the streaming server.
type StreamConfig struct {
	Address         string // host:port; port 0: any
	Manager         *sandbox.Manager
	TLS             *tls.Config   // nil: plain http
	IdleTimeout     time.Duration // of a connection on which nothing moves; 0: 4 hours
	CreationTimeout time.Duration // for a client to open its streams; 0: 30 s
	Logger          *slog.Logger
}

// Streams serves exec, attach and port-forward: a gRPC request gets a URL with
// a one-time token, and whoever comes with it within a minute gets the streams.
// It speaks SPDY (channel.k8s.io to v4, portforward.k8s.io) and websocket
// (channel.k8s.io to v5, SPDY/3.1+portforward.k8s.io). Safe for concurrent use.
//
// A session ends when its guest ends, when its client has gone, or at Close.
// What the client's going means for a command, see execute.
type Streams struct {
	StreamConfig
	http   *http.Server
	base   url.URL
	tokens tokens
	ctx    context.Context // until Close
	cancel context.CancelFunc

	served   chan struct{} // closed when no connection is taken any more
	sessions sync.WaitGroup

	mu     sync.Mutex
	conns  map[*streamConn]struct{}
	closed bool
}

// OpenStreams listens and serves.
func OpenStreams(c StreamConfig) (*Streams, error) {
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 4 * time.Hour
	}
	if c.CreationTimeout == 0 {
		c.CreationTimeout = remotecommand.DefaultStreamCreationTimeout
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for streams (option stream.address): %w", err)
	}
	s := &Streams{
		StreamConfig: c, base: url.URL{Scheme: "http", Host: listener.Addr().String()},
		served: make(chan struct{}), conns: map[*streamConn]struct{}{},
	}
	if c.TLS != nil {
		s.base.Scheme = "https"
		listener = tls.NewListener(listener, c.TLS)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler: s.routes(), ConnContext: connContext, ReadHeaderTimeout: c.CreationTimeout,
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	klog.SetSlogLogger(slog.New(calm{c.Logger.Handler()}))
	go s.serve(&streamListener{listener, s})
	return s, nil
}

func (s *Streams) serve(l net.Listener) {
	defer close(s.served)
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		s.Logger.Error("serve streams", "error", err)
	}
}

// Close ends all sessions and waits for them.
func (s *Streams) Close() error {
	s.cancel()
	err := s.http.Close()
	<-s.served
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns { // sessions have taken theirs from the server
		c.Close()
	}
	s.sessions.Wait()
	return err
}

func (s *Streams) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{token}", func(w http.ResponseWriter, r *http.Request) {
		session(s, w, r, func(q *runtimev1.ExecRequest) { s.serveExec(w, r, q) })
	})
	mux.HandleFunc("/attach/{token}", func(w http.ResponseWriter, r *http.Request) {
		session(s, w, r, func(q *runtimev1.AttachRequest) { s.serveAttach(w, r, q) })
	})
	mux.HandleFunc("/portforward/{token}", func(w http.ResponseWriter, r *http.Request) {
		session(s, w, r, func(q *runtimev1.PortForwardRequest) { s.servePortForward(w, r, q) })
	})
	return mux
}

// session serves the request that a token stands for.
func session[T any](s *Streams, w http.ResponseWriter, r *http.Request, serve func(T)) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	q, ok := s.tokens.take(r.PathValue("token")).(T)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if !s.begin() {
		http.Error(w, "the server is ending", http.StatusServiceUnavailable)
		return
	}
	defer s.sessions.Done()
	serve(q)
}

func (s *Streams) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.sessions.Add(1)
	return true
}

func (s *Streams) serveExec(w http.ResponseWriter, r *http.Request, q *runtimev1.ExecRequest) {
	o := &remotecommand.Options{Stdin: q.Stdin, Stdout: q.Stdout, Stderr: q.Stderr, TTY: q.Tty}
	g := guests{s, o}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		s.serveChannels(w, r, o, func(in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error {
			return g.ExecInContainer(r.Context(), "", "", q.ContainerId, q.Cmd, in, out, err, q.Tty, resize, 0)
		})
		return
	}
	remotecommand.ServeExec(w, r, g, "", "", q.ContainerId, q.Cmd, o, s.IdleTimeout, s.CreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Streams) serveAttach(w http.ResponseWriter, r *http.Request, q *runtimev1.AttachRequest) {
	o := &remotecommand.Options{Stdin: q.Stdin, Stdout: q.Stdout, Stderr: q.Stderr, TTY: q.Tty}
	g := guests{s, o}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		s.serveChannels(w, r, o, func(in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error {
			return g.AttachContainer(r.Context(), "", "", q.ContainerId, in, out, err, q.Tty, resize)
		})
		return
	}
	remotecommand.ServeAttach(w, r, g, "", "", q.ContainerId, o, s.IdleTimeout, s.CreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Streams) servePortForward(w http.ResponseWriter, r *http.Request, q *runtimev1.PortForwardRequest) {
	options, err := portforward.BuildV4Options(q.Port)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	serve := func(w http.ResponseWriter, r *http.Request) {
		portforward.ServePortForward(w, r, ports{s, r.Context()}, q.PodSandboxId, "", options,
			s.IdleTimeout, s.CreationTimeout, portforward.SupportedProtocols)
	}
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		serveTunnel(w, r, serve)
		return
	}
	serve(w, r)
}

// calm lowers what the library calls errors, most of them the clients': nobody
// has to act.
type calm struct{ slog.Handler }

// Handle implements slog.Handler.
func (c calm) Handle(ctx context.Context, r slog.Record) error {
	r.Level = min(r.Level, slog.LevelWarn)
	return c.Handler.Handle(ctx, r)
}

// streamListener makes each connection say when its client has gone. It stands
// above TLS, where a client can leave without closing what is below.
type streamListener struct {
	net.Listener
	s *Streams
}

func (l *streamListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &streamConn{Conn: raw, s: l.s}
	c.ctx, c.gone = context.WithCancel(l.s.ctx)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.conns != nil {
		l.s.conns[c] = struct{}{}
	}
	return c, nil
}

// streamConn is a connection whose ctx ends with it. The http package lets go
// of a connection that is upgraded, so that the request's context would not.
type streamConn struct {
	net.Conn
	s    *Streams
	ctx  context.Context
	gone context.CancelFunc
}

func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // the http package interrupts its own reads
		c.gone()
	}
	return n, err
}

func (c *streamConn) Close() error {
	c.gone()
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

func connContext(ctx context.Context, c net.Conn) context.Context {
	if sc, ok := c.(*streamConn); ok {
		return sc.ctx
	}
	return ctx
}
