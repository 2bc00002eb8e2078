package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// childEnv makes this test's binary the command itself.
const childEnv = "WASITEST_COMMAND"

var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "wasitest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built.dir, built.paths = dir, map[string]string{}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// guestModule builds a guest of e2e/guests/go once.
func guestModule(t *testing.T, name string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if path := built.paths[name]; path != "" {
		return path
	}
	out := filepath.Join(built.dir, name+".wasm")
	cmd := exec.Command("go", "build", "-o", out, "-ldflags=-s -w", "./"+name)
	cmd.Dir = "../../e2e/guests/go"
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-buildvcs=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, text)
	}
	built.paths[name] = out
	return out
}

// command runs a guest with a root filesystem of its own.
func command(t *testing.T, root, module string, args ...string) *exec.Cmd {
	t.Helper()
	all := append([]string{"run", "-cache", built.dir, "-dir", root + ":/", module}, args...)
	cmd := exec.Command(os.Args[0], all...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// rootfs is a root filesystem with a hosts file.
func rootfs(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost web\n::1 six\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// listening starts a guest that listens and gives the address that it prints.
func listening(t *testing.T, root string, args ...string) string {
	t.Helper()
	cmd := command(t, root, guestModule(t, "httpd"), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("the guest said %q, %v", line, err)
	}
	return address
}

func TestGuestServesHTTP(t *testing.T) {
	address := listening(t, rootfs(t), "serve", "127.0.0.1:0")
	client := &http.Client{Timeout: time.Minute}
	t.Run("keep-alive", func(t *testing.T) {
		for i := range 20 {
			if got := fetch(t, client, fmt.Sprintf("http://%s/%d", address, i)); got != fmt.Sprintf("hello /%d from HTTP/1.1\n", i) {
				t.Fatalf("got %q", got)
			}
		}
	})
	t.Run("64 connections", func(t *testing.T) {
		var wait sync.WaitGroup
		body := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
		for range 64 {
			wait.Go(func() {
				own := &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
				defer own.CloseIdleConnections()
				r, err := own.Post("http://"+address+"/echo", "application/octet-stream", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, body) {
					t.Errorf("the echo has %d bytes, %v; want %d", len(got), err, len(body))
				}
			})
		}
		wait.Wait()
	})
	t.Run("a body of 1 GiB", func(t *testing.T) {
		if testing.Short() {
			t.Skip("moves a gigabyte: not with -short")
		}
		r, err := client.Get("http://" + address + "/bytes?n=1073741824")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if n, err := io.Copy(io.Discard, r.Body); n != 1<<30 || err != nil {
			t.Errorf("got %d bytes, %v", n, err)
		}
	})
}

func fetch(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGuestCallsHTTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "host says", r.Host) })}
	go server.Serve(l)
	defer server.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	got, err := command(t, rootfs(t), guestModule(t, "httpd"), "get", "http://127.0.0.1:"+port+"/").Output()
	if want := "200 OK\nhost says 127.0.0.1:" + port + "\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	l2, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l2.Close() // nobody listens there now
	cmd := command(t, rootfs(t), guestModule(t, "httpd"), "get", "http://"+l2.Addr().String()+"/")
	cmd.Stderr = nil
	if _, err := cmd.Output(); err == nil || !strings.Contains(string(err.(*exec.ExitError).Stderr), "refused") {
		t.Errorf("a refused connection: %v", err)
	}
}

// TestGuestEchoes sends through two guests: one serves, one calls.
func TestGuestEchoes(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6", "udp4", "udp6", "unix"} {
		t.Run(network, func(t *testing.T) {
			root := rootfs(t)
			address := map[string]string{
				"tcp4": "127.0.0.1:0", "udp4": "127.0.0.1:0", "tcp6": "[::1]:0", "udp6": "[::1]:0", "unix": "/etc/s.sock",
			}[network]
			if strings.HasSuffix(network, "6") && !hasIPv6() {
				t.Skip("this machine has no IPv6 loopback")
			}
			address = listening(t, root, "echo", network, address)
			message := strings.Repeat("a message that comes back\n", 20)
			cmd := command(t, root, guestModule(t, "httpd"), "dial", network, address)
			cmd.Stdin = strings.NewReader(message)
			if got, err := cmd.Output(); err != nil || string(got) != message {
				t.Errorf("got %d bytes %q, %v; want %d", len(got), got, err, len(message))
			}
			if network == "unix" {
				if _, err := os.Stat(filepath.Join(root, "etc/s.sock")); err != nil {
					t.Errorf("the socket is not in the guest's root: %v", err)
				}
			}
		})
	}
}

func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func TestHalfClosedConnections(t *testing.T) {
	address := listening(t, rootfs(t), "echo", "tcp4", "127.0.0.1:0")
	for range 10 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "last words")
		c.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "last words" {
			t.Errorf("got %q, %v", got, err)
		}
		c.Close()
	}
}
