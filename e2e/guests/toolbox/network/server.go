package network

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/proc"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/sock"
)

// server is an HTTP/1.1 server with one goroutine for each connection.
type server struct {
	c    *applet.Ctx
	dir  string // served; "" answers everything with text
	text string
}

const idleTimeout = 75 * time.Second

func httpd(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "fp:h:t:v")
	if !ok || len(operands) > 0 {
		return c.Usage("[-p [HOST:]PORT] [-h DIR | -t TEXT]")
	}
	s := &server{c: c, text: o.Value('t', "hello") + "\n"}
	if dir := o.Value('h', ""); dir != "" {
		s.dir = c.Path(dir)
	}
	return s.listen(o.Value('p', "80"), func() { c.Out.Println("httpd: serving on port " + o.Value('p', "80")) })
}

// nginx is what the conformance suite takes for nginx: it serves on port 80 and
// writes its pid. An operand is only a title for its process.
func nginx(c *applet.Ctx, args []string) int {
	o, _, ok := c.Opts(args, "p:g:")
	if !ok {
		return applet.ExitUsage
	}
	s := &server{c: c, text: "Welcome to nginx!\n"}
	return s.listen(o.Value('p', "80"), func() {
		pid := strconv.Itoa(proc.Self(c))
		if err := os.WriteFile(c.Path("/var/run/nginx.pid"), []byte(pid+"\n"), 0o644); err != nil {
			c.Fail("/var/run/nginx.pid", err) // it serves nevertheless, as on a read-only root
		}
	})
}

// listen serves until the run ends. started is called when clients can connect.
func (s *server) listen(on string, started func()) int {
	host, port, err := "", uint16(0), error(nil)
	if strings.Contains(on, ":") {
		host, port, err = sock.SplitPort(on, 0)
	} else {
		port, err = sock.ParsePort(on)
	}
	if err != nil {
		return s.c.Errorf("%s", err)
	}
	l, err := sock.Listen(host, port)
	if err != nil {
		return s.c.Errorf("can't listen on port %d: %s", port, applet.Strerror(err))
	}
	started()
	s.c.Out.Flush()
	go func() {
		<-s.c.Life.Done()
		l.Close()
	}()
	for {
		conn, _, err := l.Accept()
		if err == nil {
			go s.serve(conn)
			continue
		}
		if !s.c.Alive() {
			return 0
		}
		// Out of descriptors, most likely: let some connections end.
		s.c.Errorf("accept: %s", applet.Strerror(err))
		time.Sleep(100 * time.Millisecond)
	}
}

// serve answers the requests of one connection until either side ends it.
func (s *server) serve(conn sock.Conn) {
	defer conn.Close()
	r, w := bufio.NewReader(conn), bufio.NewWriterSize(conn, 16<<10)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return
		}
		h, err := readHeader(r)
		if err == io.EOF {
			return
		}
		if err != nil {
			respond(w, "400 Bad Request", false, strings.NewReader(""), 0)
			w.Flush()
			return
		}
		if keep := s.answer(r, w, h); w.Flush() != nil || !keep {
			return
		}
	}
}

// answer handles one request and tells whether the connection stays.
func (s *server) answer(r *bufio.Reader, w *bufio.Writer, h header) (keep bool) {
	request := strings.Fields(h.first)
	if len(request) != 3 || !strings.HasPrefix(request[2], "HTTP/1.") {
		respond(w, "400 Bad Request", false, strings.NewReader(""), 0)
		return false
	}
	keep = request[2] == "HTTP/1.1" && !h.has("connection", "close") || h.has("connection", "keep-alive")
	body, err := h.body(r, false)
	if err == nil {
		_, err = io.Copy(io.Discard, body)
	}
	if err != nil {
		respond(w, "400 Bad Request", false, strings.NewReader(""), 0)
		return false
	}
	if method := request[0]; method != "GET" && method != "HEAD" && method != "POST" {
		return respond(w, "405 Method Not Allowed", keep, strings.NewReader(""), 0) && keep
	}
	content, size, status := s.content(request[1])
	if c, ok := content.(io.Closer); ok {
		defer c.Close()
	}
	if request[0] == "HEAD" {
		return respond(w, status, keep, nil, size) && keep
	}
	return respond(w, status, keep, content, size) && keep
}

// content finds what a target stands for.
func (s *server) content(target string) (r io.Reader, size int64, status string) {
	if s.dir == "" {
		return strings.NewReader(s.text), int64(len(s.text)), "200 OK"
	}
	target, _, _ = strings.Cut(target, "?")
	p := s.dir + path.Clean("/"+unescapeTarget(target))
	info, err := os.Stat(p)
	if err == nil && info.IsDir() {
		if index, err := os.Stat(p + "/index.html"); err == nil {
			p, info = p+"/index.html", index
		}
	}
	if err == nil && !info.IsDir() {
		if f, err := os.Open(p); err == nil {
			return f, info.Size(), "200 OK"
		}
	}
	if err == nil && info.IsDir() {
		text := listing(p)
		return strings.NewReader(text), int64(len(text)), "200 OK"
	}
	const text = "not found\n"
	return strings.NewReader(text), int64(len(text)), "404 Not Found"
}

func listing(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.Name())
		if e.IsDir() {
			b.WriteByte('/')
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// unescapeTarget decodes %xx; what is none stays.
func unescapeTarget(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// respond writes a response; body nil leaves it out. It tells whether the
// connection is still in step with its client.
func respond(w *bufio.Writer, status string, keep bool, body io.Reader, size int64) bool {
	connection := "close"
	if keep {
		connection = "keep-alive"
	}
	fmt.Fprintf(w, "HTTP/1.1 %s\r\nServer: toolbox\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n", status, size, connection)
	if body == nil {
		return true
	}
	n, err := io.Copy(w, io.LimitReader(body, size))
	return err == nil && n == size
}
