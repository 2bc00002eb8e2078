package network

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

func newCtx(life context.Context, dir, name, stdin string, out, errs io.Writer) *applet.Ctx {
	return &applet.Ctx{Name: name, In: strings.NewReader(stdin), Out: applet.NewOutput(out), Err: errs, Dir: dir, Life: life}
}

// freePort gives a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// start runs a server until the test ends and gives its address.
func start(t *testing.T, f applet.Func, name string, args ...string) (address string) {
	t.Helper()
	port := freePort(t)
	life, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		applet.Call(newCtx(life, t.TempDir(), name, "", io.Discard, io.Discard), f, append(args, "-p", port))
	}()
	t.Cleanup(func() { cancel(); <-done })
	address = "127.0.0.1:" + port
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestServerServesADirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a b.txt": "spaced", "sub/index.html": "index", "big": strings.Repeat("x", 1<<20)} {
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	base := "http://" + start(t, httpd, "httpd", "-h", dir)
	for path, want := range map[string]string{
		"/a%20b.txt": "spaced", "/sub/": "index", "/sub?x=1": "index", "/": "a b.txt\nbig\nsub/\n", "/big": strings.Repeat("x", 1<<20),
	} {
		if status, body := get(t, base+path); status != 200 || body != want {
			t.Errorf("%s: got %d, %.40q", path, status, body)
		}
	}
	for _, path := range []string{"/nosuch", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"} {
		if status, _ := get(t, base+path); status != 404 {
			t.Errorf("%s: got %d, want 404", path, status)
		}
	}
}

func TestServerTakesManyConnections(t *testing.T) {
	base := "http://" + start(t, nginx, "nginx", "nginx: master process")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				res, err := http.Get(base)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != 200 {
					t.Errorf("got %d", res.StatusCode)
				}
			}
		})
	}
	wg.Wait()
}

// exchange sends raw bytes and gives all that comes back.
func exchange(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, request)
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestServerSpeaksHTTP(t *testing.T) {
	address := start(t, httpd, "httpd", "-t", "hi")
	for name, c := range map[string]struct {
		request  string
		statuses []string
		bodies   int
	}{
		"1.0":                {"GET / HTTP/1.0\r\n\r\n", []string{"200 OK"}, 1},
		"1.1 kept alive":     {"GET / HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\nConnection: close\r\n\r\n", []string{"200 OK", "200 OK"}, 2},
		"head":               {"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n", []string{"200 OK"}, 0},
		"body of a length":   {"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n", []string{"200 OK", "200 OK"}, 2},
		"chunked body":       {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n", []string{"200 OK", "200 OK"}, 2},
		"other method":       {"PUT / HTTP/1.0\r\n\r\n", []string{"405 Method Not Allowed"}, 0},
		"no request":         {"nonsense\r\n\r\n", []string{"400 Bad Request"}, 0},
		"field without name": {"GET / HTTP/1.1\r\nnonsense\r\n\r\n", []string{"400 Bad Request"}, 0},
		"endless header":     {"GET / HTTP/1.1\r\nA: " + strings.Repeat("x", maxHeader) + "\r\n\r\n", []string{"400 Bad Request"}, 0},
		"cut header":         {"GET / HTTP/1.1\r\nA: b", []string{"400 Bad Request"}, 0},
		"cut body":           {"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", []string{"400 Bad Request"}, 0},
		"nothing":            {"", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			answer := exchange(t, address, c.request)
			var statuses []string
			for line := range strings.Lines(answer) {
				if text, ok := strings.CutPrefix(line, "HTTP/1.1 "); ok {
					statuses = append(statuses, strings.TrimSpace(text))
				}
			}
			if strings.Join(statuses, ",") != strings.Join(c.statuses, ",") || strings.Count(answer, "\r\n\r\nhi\n") != c.bodies {
				t.Errorf("got %q", answer)
			}
		})
	}
}

func TestServerRefusesATakenPort(t *testing.T) {
	_, port, _ := strings.Cut(start(t, httpd, "httpd"), ":")
	var errs bytes.Buffer
	code := applet.Call(newCtx(t.Context(), "/", "httpd", "", io.Discard, &errs), httpd, []string{"-p", port})
	if want := "httpd: can't listen on port " + port + ": Address already in use\n"; code != 1 || errs.String() != want {
		t.Errorf("got %d, %q, want %q", code, errs.String(), want)
	}
}

func TestWget(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/text", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/chunked":
			io.WriteString(w, "part1 ")
			w.(http.Flusher).Flush()
			io.WriteString(w, "part2")
		case "/text":
			io.WriteString(w, "text")
		case "/echo":
			body, _ := io.ReadAll(r.Body)
			io.WriteString(w, r.Method+" "+string(body)+" "+r.Header.Get("X-Test"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer site.Close()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		out  string
		err  string
		code int
	}{
		"to standard output": {[]string{"-qO-", site.URL + "/text"}, "text", "", 0},
		"chunked":            {[]string{"-q", "-O", "-", site.URL + "/chunked"}, "part1 part2", "", 0},
		"redirection":        {[]string{"-qO-", site.URL + "/moved"}, "text", "", 0},
		"endless":            {[]string{"-qO-", site.URL + "/loop"}, "", "wget: Too many redirections\n", 1},
		"posted":             {[]string{"-qO-", "--header", "X-Test: h", "--post-data", "d", site.URL + "/echo"}, "POST d h", "", 0},
		"missing":            {[]string{"-qO-", site.URL + "/nosuch"}, "", "wget: Server returned error: HTTP/1.1 404 Not Found\n", 1},
		"spider":             {[]string{"-q", "--spider", site.URL + "/text"}, "", "", 0},
		"saved":              {[]string{site.URL + "/text"}, "", "'text' saved\n", 0},
		"https":              {[]string{"https://x/"}, "", "wget: Not an http:// url: https\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := applet.Call(newCtx(t.Context(), dir, "wget", "", &out, &errs), wget, c.args)
			if out.String() != c.out || errs.String() != c.err || code != c.code {
				t.Errorf("got %q, %q, %d", out.String(), errs.String(), code)
			}
		})
	}
	if text, err := os.ReadFile(filepath.Join(dir, "text")); err != nil || string(text) != "text" {
		t.Errorf("saved file: got %q, %v", text, err)
	}
}

// signalled is a buffer that tells when something has come.
type signalled struct {
	bytes.Buffer
	once sync.Once
	come chan struct{} // closed at the first write
}

func (s *signalled) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	s.once.Do(func() { close(s.come) })
	return n, err
}

// after is a reader that waits before it gives its text.
type after struct {
	wait <-chan struct{}
	text io.Reader
}

func (a after) Read(p []byte) (int, error) {
	<-a.wait
	return a.text.Read(p)
}

func TestNcCarriesBothDirections(t *testing.T) {
	port := freePort(t)
	received := &signalled{come: make(chan struct{})}
	done := make(chan int)
	go func() {
		c := newCtx(t.Context(), "/", "nc", "", received, io.Discard)
		c.In = after{received.come, strings.NewReader("from server")}
		done <- applet.Call(c, nc, []string{"-l", "-p", port})
	}()
	out := &signalled{come: make(chan struct{})}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c := newCtx(t.Context(), "/", "nc", "", out, io.Discard)
		c.In = io.MultiReader(strings.NewReader("from client"), after{out.come, strings.NewReader("")})
		code := applet.Call(c, nc, []string{"127.0.0.1", port})
		if code == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d", code)
		}
	}
	if code := <-done; code != 0 || received.String() != "from client" || out.String() != "from server" {
		t.Errorf("got %d, %q, %q", code, received.String(), out.String())
	}
}

func TestNcReportsARefusedConnection(t *testing.T) {
	port := freePort(t)
	var errs bytes.Buffer
	code := applet.Call(newCtx(t.Context(), "/", "nc", "", io.Discard, &errs), nc, []string{"-z", "127.0.0.1", port})
	if want := "nc: 127.0.0.1:" + port + ": Connection refused\n"; code != 1 || errs.String() != want {
		t.Errorf("got %d, %q, want %q", code, errs.String(), want)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
	f.Add("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		c := newCtx(t.Context(), "/", "httpd", "", io.Discard, io.Discard)
		s := &server{c: c, text: "x"}
		s.serve(&memoryConn{in: strings.NewReader(text), out: &out})
		if out.Len() > 0 && !strings.HasPrefix(out.String(), "HTTP/1.1 ") {
			t.Errorf("got %q", out.String())
		}
	})
}

// memoryConn is a connection whose other side has sent everything.
type memoryConn struct {
	in  io.Reader
	out io.Writer
}

func (c *memoryConn) Read(p []byte) (int, error)      { return c.in.Read(p) }
func (c *memoryConn) Write(p []byte) (int, error)     { return c.out.Write(p) }
func (c *memoryConn) Close() error                    { return nil }
func (c *memoryConn) CloseWrite() error               { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error { return nil }
