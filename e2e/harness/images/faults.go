package images

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Fault answers a request in place of the registry; next is the registry.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Down closes every connection without an answer.
func Down(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	hangUp(w)
}

// Status answers every request with this code and the error document of a
// registry.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"errors":[{"code":"FAULT","message":"told to answer %d"}]}`, code)
	}
}

// Times applies f to the first n requests and then lets all pass.
func Times(n int64, f Fault) Fault {
	var seen atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if seen.Add(1) <= n {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// OnBlobs applies f to the content of blobs only.
func OnBlobs(f Fault) Fault { return onPath("/blobs/sha256:", f) }

// OnManifests applies f to manifests only.
func OnManifests(f Fault) Fault { return onPath("/manifests/", f) }

// After calls f once, after the first request with part in its path has been
// answered.
func After(part string, f func()) Fault {
	var once sync.Once
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(w, r)
		if strings.Contains(r.URL.Path, part) {
			once.Do(f)
		}
	}
}

func onPath(part string, f Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, part) {
			next.ServeHTTP(w, r)
			return
		}
		f(w, r, next)
	}
}

// Truncate promises the whole content, sends half of it and hangs up.
func Truncate(w http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := record(r, next)
	body := answer.Body.Bytes()
	copyHeader(w, answer)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body[:len(body)/2]) // the client may be gone already
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	hangUp(w)
}

// Lie sends content of the right length with one bit changed.
func Lie(w http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := record(r, next)
	body := answer.Body.Bytes()
	if len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	copyHeader(w, answer)
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

// Endless sends the content and then zeros until the client goes.
func Endless(w http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := record(r, next)
	copyHeader(w, answer)
	w.Header().Del("Content-Length")
	w.WriteHeader(answer.Code)
	_, err := w.Write(answer.Body.Bytes())
	zeros := make([]byte, 1<<20)
	for err == nil && r.Context().Err() == nil {
		_, err = w.Write(zeros)
	}
}

// Slow waits before every answer, or until the client goes.
func Slow(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(d):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// BasicAuth refuses all requests without this user and password.
func BasicAuth(user, password string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if u, p, ok := r.BasicAuth(); ok && u == user && p == password {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	}
}

func record(r *http.Request, next http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	return rec
}

func copyHeader(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
}

// hangUp closes the connection.
func hangUp(w http.ResponseWriter) {
	h, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := h.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.Close()
}
