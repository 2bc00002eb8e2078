package network

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/sock"
)

const dialTimeout = 30 * time.Second

// nc copies standard input to a connection and the connection to standard
// output.
func nc(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "lp:w:vzknN")
	if !ok {
		return applet.ExitUsage
	}
	timeout := dialTimeout
	if text := o.Value('w', ""); text != "" {
		seconds, ok := c.Number(text)
		if !ok {
			return 1
		}
		timeout = time.Duration(seconds) * time.Second
	}
	if o.Has('l') {
		return ncListen(c, o, operands)
	}
	if len(operands) != 2 {
		return c.Usage("[-vz] [-w SECONDS] HOST PORT | [-k] -l [-p] PORT")
	}
	port, err := sock.ParsePort(operands[1])
	if err != nil {
		return c.Errorf("%s", err)
	}
	conn, err := sock.Dial(operands[0], port, timeout)
	if err != nil {
		return c.Fail(sock.JoinPort(operands[0], port), err)
	}
	defer conn.Close()
	if o.Has('v') {
		fmt.Fprintf(c.Err, "%s open\n", sock.JoinPort(operands[0], port))
	}
	if o.Has('z') {
		return 0
	}
	return relay(c, conn)
}

func ncListen(c *applet.Ctx, o *applet.Opts, operands []string) int {
	on := o.Value('p', "")
	if len(operands) > 0 {
		on = operands[len(operands)-1]
	}
	port, err := sock.ParsePort(on)
	if err != nil {
		return c.Errorf("%s", err)
	}
	l, err := sock.Listen("", port)
	if err != nil {
		return c.Errorf("can't listen on port %d: %s", port, applet.Strerror(err))
	}
	defer l.Close()
	for {
		conn, from, err := l.Accept()
		if err != nil {
			return c.Errorf("accept: %s", applet.Strerror(err))
		}
		if o.Has('v') {
			fmt.Fprintf(c.Err, "connect from %s\n", from)
		}
		code := relay(c, conn)
		conn.Close()
		if !o.Has('k') {
			return code
		}
	}
}

// relay ends when the other side has sent everything. The end of standard input
// closes our half.
func relay(c *applet.Ctx, conn sock.Conn) int {
	go func() {
		io.Copy(conn, c.In) // the other direction sees the failure as well
		conn.CloseWrite()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := conn.Read(buf)
		c.Out.Write(buf[:n])
		c.Out.Flush()
		if err == io.EOF {
			return 0
		}
		if err != nil {
			return c.Errorf("read: %s", applet.Strerror(err))
		}
	}
}

func nslookup(c *applet.Ctx, args []string) int {
	if len(args) == 0 {
		return c.Usage("NAME")
	}
	list, err := sock.LookUp(args[0])
	if err != nil {
		return c.Errorf("can't resolve '%s'", args[0])
	}
	c.Out.Println("Name:      " + args[0])
	for i, ip := range list {
		c.Out.Printf("Address %d: %s\n", i+1, ip)
	}
	return 0
}

// fetch is the command line of wget.
type fetch struct {
	c       *applet.Ctx
	o       *applet.Opts
	timeout time.Duration
}

var wgetOptions = applet.Spec{
	Short: "qSO:T:t:cP:U:H:sD:",
	Long: map[string]byte{
		"quiet": 'q', "server-response": 'S', "output-document": 'O', "timeout": 'T', "tries": 't', "spider": 's',
		"header": 'H', "post-data": 'D', "user-agent": 'U', "no-check-certificate": 0,
	},
}

func wget(c *applet.Ctx, args []string) int {
	o, operands, ok := c.OptsOf(args, wgetOptions)
	if !ok || len(operands) == 0 {
		return c.Usage("[-qS] [-O FILE] [-T SECONDS] [--header FIELD] [--post-data TEXT] [--spider] URL...")
	}
	seconds, ok := c.Number(o.Value('T', "60"))
	if !ok {
		return 1
	}
	f := fetch{c: c, o: o, timeout: time.Duration(seconds) * time.Second}
	code := 0
	for _, url := range operands {
		if err := f.get(url); err != nil {
			code = c.Errorf("%s", applet.Strerror(err))
		}
	}
	return code
}

// target is what a URL says.
type target struct {
	host string
	port uint16
	path string
}

func parseURL(url string) (target, error) {
	rest, ok := strings.CutPrefix(url, "http://")
	if scheme, _, found := strings.Cut(url, "://"); !ok && found {
		return target{}, errors.New("not an http:// url: " + scheme)
	}
	if !ok {
		rest = url
	}
	host, p, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		return target{}, errors.New("urls with a user are not supported")
	}
	name, port, err := sock.SplitPort(host, 80)
	if err == nil && name == "" {
		err = errors.New("url without a host: " + url)
	}
	p, _, _ = strings.Cut(p, "#")
	return target{host: name, port: port, path: "/" + p}, err
}

// get fetches url, following a few redirections.
func (f fetch) get(url string) error {
	for range 5 {
		t, err := parseURL(url)
		if err != nil {
			return err
		}
		location, err := f.once(t)
		if err != nil || location == "" {
			return err
		}
		if strings.HasPrefix(location, "/") {
			location = "http://" + sock.JoinPort(t.host, t.port) + location
		}
		url = location
	}
	return errors.New("too many redirections")
}

func (f fetch) once(t target) (location string, err error) {
	conn, err := sock.Dial(t.host, t.port, min(f.timeout, dialTimeout))
	if err != nil {
		return "", fmt.Errorf("can't connect to remote host (%s): %w", t.host, asText(err))
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(f.timeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, f.request(t)); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	h, err := readHeader(r)
	if err != nil {
		return "", fmt.Errorf("no answer: %w", asText(err))
	}
	if f.o.Has('S') {
		fmt.Fprintf(f.c.Err, "  %s\n", h.first)
	}
	fields := strings.Fields(h.first)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/") {
		return "", errBadHeader
	}
	switch status, _ := strconv.Atoi(fields[1]); {
	case status >= 300 && status < 400 && h.fields["location"] != "":
		return h.fields["location"], nil
	case status < 200 || status >= 300:
		return "", errors.New("server returned error: " + h.first)
	}
	if f.o.Has('s') {
		return "", nil
	}
	return "", f.save(t, h, r)
}

// asText keeps the reason of err in the words of strerror(3).
func asText(err error) error { return errors.New(applet.Strerror(err)) }

func (f fetch) request(t target) string {
	method, body := "GET", ""
	extra := "User-Agent: " + f.o.Value('U', "Wget") + "\r\n"
	for _, field := range f.o.Values('H') {
		extra += field + "\r\n"
	}
	if f.o.Has('D') {
		method, body = "POST", f.o.Value('D', "")
		extra += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	host := t.host
	if t.port != 80 {
		host = sock.JoinPort(t.host, t.port)
	}
	return method + " " + t.path + " HTTP/1.1\r\nHost: " + host + "\r\n" + extra + "Connection: close\r\n\r\n" + body
}

func (f fetch) save(t target, h header, r *bufio.Reader) error {
	body, err := h.body(r, true)
	if err != nil {
		return err
	}
	name := f.o.Value('O', path.Base(t.path))
	switch {
	case name == "-":
		_, err = io.Copy(f.c.Out, body)
		return err
	case name == "/" || name == ".":
		name = "index.html"
	}
	out, err := os.Create(f.c.Path(path.Join(f.o.Value('P', ""), name)))
	if err != nil {
		return err
	}
	_, err = io.Copy(out, body)
	if err = errors.Join(err, out.Close()); err == nil && !f.o.Has('q') {
		fmt.Fprintf(f.c.Err, "'%s' saved\n", name)
	}
	return err
}
