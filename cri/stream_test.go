package cri

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func TestATokenIsGoodOnceAndForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tk tokens
		first, err := tk.add("first")
		if err != nil {
			t.Fatal(err)
		}
		second, err := tk.add("second")
		if err != nil {
			t.Fatal(err)
		}
		if first == second || len(first) < 26 {
			t.Errorf("tokens %q and %q can be guessed", first, second)
		}
		if got := tk.take(first); got != "first" {
			t.Errorf("take = %v, want first", got)
		}
		if got := tk.take(first); got != nil {
			t.Errorf("taken twice: %v", got)
		}
		time.Sleep(tokenLife + time.Second)
		if got := tk.take(second); got != nil {
			t.Errorf("after its life the token gives %v", got)
		}
	})
}

func TestTokensAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tk tokens
		for range maxTokens {
			if _, err := tk.add(1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tk.add(1); !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("one more: %v, want ErrUnavailable", err)
		}
		time.Sleep(tokenLife + time.Second)
		if _, err := tk.add(1); err != nil {
			t.Errorf("after the others' life: %v", err)
		}
	})
}

func TestEncodeStatus(t *testing.T) {
	tests := []struct {
		name                 string
		err                  error
		status, reason, code string
	}{
		{"success", nil, "Success", "", ""},
		{"exit code", exitStatus(42), "Failure", "NonZeroExitCode", "42"},
		{"wrapped exit code", fmt.Errorf("x: %w", exitStatus(1)), "Failure", "NonZeroExitCode", "1"},
		{"another error", errors.New("no"), "Failure", "InternalError", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got sessionStatus
			if err := json.Unmarshal(encodeStatus(tt.err), &got); err != nil {
				t.Fatal(err)
			}
			code := ""
			if got.Details != nil {
				code = got.Details.Causes[0].Message
			}
			if got.Status != tt.status || got.Reason != tt.reason || code != tt.code {
				t.Errorf("got %+v with code %q", got, code)
			}
		})
	}
}

func TestOutputsFitAMessage(t *testing.T) {
	for _, tt := range []struct{ stdout, stderr, wantOut, wantErr int }{
		{0, 0, 0, 0}, {3, 4, 3, 4}, {10, 0, 10, 0}, {0, 10, 0, 10}, {11, 0, 10, 0}, {0, 11, 0, 10},
		{20, 20, 5, 5}, {20, 2, 8, 2}, {2, 20, 2, 8},
	} {
		o, e := fit(make([]byte, tt.stdout), make([]byte, tt.stderr), 10)
		if len(o) != tt.wantOut || len(e) != tt.wantErr {
			t.Errorf("of %d and %d bytes %d and %d stay, want %d and %d", tt.stdout, tt.stderr, len(o), len(e), tt.wantOut, tt.wantErr)
		}
	}
}

func openStreams(t *testing.T) *Streams {
	t.Helper()
	s, err := OpenStreams(StreamConfig{Address: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStrangersAreTurnedAway(t *testing.T) {
	s := openStreams(t)
	defer s.Close()
	u, err := s.url("exec", &runtimev1.ExecRequest{})
	if err != nil {
		t.Fatal(err)
	}
	token := u[strings.LastIndex(u, "/")+1:]
	base := strings.TrimSuffix(u, "/exec/"+token)
	for _, tt := range []struct {
		name, method, path string
		want               int
	}{
		{"no token", "POST", "/exec/", http.StatusNotFound},
		{"wrong token", "POST", "/exec/AAAA", http.StatusNotFound},
		{"wrong method", "PUT", "/exec/" + token, http.StatusMethodNotAllowed},
		{"elsewhere", "GET", "/", http.StatusNotFound},
		{"token of another kind", "POST", "/attach/" + token, http.StatusNotFound},
		{"token that was tried", "POST", "/exec/" + token, http.StatusNotFound},
	} {
		q, err := http.NewRequest(tt.method, base+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, r.StatusCode, tt.want)
		}
	}
}

func TestStreamsOverTLS(t *testing.T) {
	lender := httptest.NewTLSServer(nil) // for its certificate
	defer lender.Close()
	s, err := OpenStreams(StreamConfig{Address: "127.0.0.1:0", TLS: &tls.Config{Certificates: lender.TLS.Certificates}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ended := make(chan struct{})
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			go io.Copy(io.Discard, conn)
		}
		<-r.Context().Done()
		close(ended)
	})
	u, err := s.url("exec", &runtimev1.ExecRequest{})
	if err != nil || !strings.HasPrefix(u, "https://") {
		t.Fatalf("url %q, %v", u, err)
	}
	client, err := tls.Dial("tcp", s.base.Host, &tls.Config{RootCAs: lender.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	client.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the session outlives its connection")
	}
}

// A request's context ends with its connection even when that is upgraded, and
// Close ends what is left.
func TestSessionsEndWithTheirConnections(t *testing.T) {
	for name, end := range map[string]func(s *Streams, client net.Conn){
		"client": func(_ *Streams, client net.Conn) { client.Close() },
		"server": func(s *Streams, _ net.Conn) { s.cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			s := openStreams(t)
			began, ended := make(chan bool), make(chan error, 1)
			s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				go io.Copy(io.Discard, conn)
				close(began)
				select {
				case <-r.Context().Done():
					ended <- nil
				case <-time.After(10 * time.Second):
					ended <- errors.New("the context outlives the connection")
				}
				conn.Close()
			})
			client, err := net.Dial("tcp", s.base.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			fmt.Fprintf(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			<-began
			end(s, client)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if _, err := net.Dial("tcp", s.base.Host); err == nil {
				t.Error("a closed server takes connections")
			}
		})
	}
}

func TestAnEndingServerBeginsNoSession(t *testing.T) {
	s := openStreams(t)
	token, err := s.tokens.add(&runtimev1.ExecRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest("POST", "/exec/"+token, nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want %d", w.Code, http.StatusServiceUnavailable)
	}
}
