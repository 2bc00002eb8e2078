package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// ServerConfig says what is served, and where.
type ServerConfig struct {
	// Address is host:port, or unix:// and the path of a socket, which only
	// root can open. Without a host it is on loopback.
	Address string
	Metrics *Metrics
	Pprof   bool // serve profiles below /debug/pprof/
	Logger  *slog.Logger
}

// Server serves /metrics, /healthz, /readyz, and profiles when asked to. Safe
// for concurrent use.
type Server struct {
	http     *http.Server
	listener net.Listener
	served   chan struct{} // closed when nothing is accepted any more

	mu    sync.Mutex
	ready string // why it is not ready; empty: it is
}

const unixScheme = "unix://"

// Serve begins to serve. Nothing is ready until Ready says so. The error is
// about the address.
func Serve(c ServerConfig) (*Server, error) {
	listener, err := listen(c.Address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics (option metrics.address): %w", err)
	}
	s := &Server{listener: listener, served: make(chan struct{}), ready: "starting"}
	s.http = &http.Server{
		Handler: s.routes(c), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			c.Logger.Error("serve metrics", "error", err)
		}
	}()
	c.Logger.Info("serving metrics", "address", s.Addr())
	return s, nil
}

func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, unixScheme)
	if !isUnix {
		if strings.HasPrefix(address, ":") {
			address = "localhost" + address
		}
		return net.Listen("tcp", address)
	}
	// The state directory is locked: what is there is of a daemon that has gone.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Addr is where it listens: host:port or the path of the socket.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Ready makes /readyz answer ok, or why not.
func (s *Server) Ready(whyNot string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = whyNot
}

func (s *Server) whyNot() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// Close ends the server and waits for it; the socket goes.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.served
	return err
}

func (s *Server) routes(c ServerConfig) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := s.whyNot(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	if c.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}
