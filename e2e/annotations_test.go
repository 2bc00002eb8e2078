package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// annotated starts a pod with annotations.
func (n *node) annotated(t testing.TB, host bool, annotations map[string]string) *pod {
	t.Helper()
	config := n.podConfig(criclient.PodSpec{HostNetwork: host})
	config.Annotations = annotations
	return n.podFrom(t, config, "")
}

func TestAnnotationsThatAreNotUnderstoodAreRefused(t *testing.T) {
	n := sharedNode(t)
	for _, c := range []struct {
		key, value string
		parts      []string
	}{
		{"trcae.cri-wasmer.dev/main", "on", []string{"trcae.cri-wasmer.dev/main", "no such feature", "trace.cri-wasmer.dev/<container>", "listen.cri-wasmer.dev/<container>"}},
		{"cri-wasmer.dev/main", "on", []string{"no such feature", "trace.cri-wasmer.dev/<container>"}},
		{"trace.cri-wasmer.dev", "on", []string{"names no container"}},
		{"trace.cri-wasmer.dev/main", "yes", []string{`"yes"`, "on or off", "listen.cri-wasmer.dev/<container>"}},
		{"listen.cri-wasmer.dev/main", "tcp://:http", []string{"tcp://:http", "no port"}},
		{"listen.cri-wasmer.dev/main", "tcp://:80 nmae=x", []string{"nmae=x"}},
	} {
		config := n.podConfig(criclient.PodSpec{HostNetwork: true})
		config.Annotations = map[string]string{c.key: c.value, "example.com/other": "is none of ours"}
		_, err := n.Client.RunPod(t.Context(), config, "")
		wantCode(t, "RunPodSandbox with "+c.key+": "+c.value, err, codes.InvalidArgument, c.parts...)
	}
	p := n.hostPod(t)
	config := criclient.ContainerSpec{Name: "main", Image: n.program(t, "hello-c")}.Config()
	config.Annotations = map[string]string{"trace.cri-wasmer.dev/other": "on"}
	_, err := n.Client.Create(t.Context(), p.id, p.config, config)
	wantCode(t, "CreateContainer", err, codes.InvalidArgument, "trace.cri-wasmer.dev/other", `this container is "main"`)

	config.Annotations, config.LogPath = map[string]string{"trace.cri-wasmer.dev/main": "on"}, ""
	_, err = n.Client.Create(t.Context(), p.id, p.config, config)
	wantCode(t, "CreateContainer without a log", err, codes.InvalidArgument, "main", "log_path")
}

// traceOf reads the trace of a container with the log at path.
func traceOf(t testing.TB, log string) string {
	t.Helper()
	b, err := os.ReadFile(strings.TrimSuffix(log, ".log") + ".wasi-trace")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestATracedContainerHasALineForEachCall(t *testing.T) {
	n := sharedNode(t)
	p := n.annotated(t, true, map[string]string{"trace.cri-wasmer.dev/traced": "on"})
	quiet := p.run(criclient.ContainerSpec{Name: "quiet", Image: n.program(t, "hello-c")})
	quiet.wantExit(quiet.wait(), 0, "Completed")
	if names, _ := filepath.Glob(filepath.Dir(quiet.logPath()) + "/*trace*"); len(names) > 0 {
		t.Errorf("a container without the annotation has %q", names)
	}

	c := p.run(criclient.ContainerSpec{Name: "traced", Image: n.toolbox(t), Command: []string{"/bin/top"}})
	eventually(t, "the guest to wait", func() bool { return strings.Contains(traceOf(t, c.logPath()), "fd_prestat_get") })
	c.exec("/bin/cat", "/etc/marker")
	s, _ := c.stop(10)
	c.wantExit(s, 143, "Error")
	trace := traceOf(t, s.LogPath)
	for _, want := range []string{
		`Z # /bin/top starts as \["/bin/top"\]`,
		`Z fd_prestat_get\(fd=3\) = success stat=dir/1 <\d+µs>`,
		`Z \[exec [0-9a-f]{12}\] path_open\(fd=3, flags=follow, path="etc/marker", .*\) = success opened=\d+ <\d+µs>`,
		`Z \[exec [0-9a-f]{12}\] fd_read\(fd=\d+, iovs=\[\d+\]\) = success nread=18/"made by the image\\n" <\d+µs>`,
		`Z \[exec [0-9a-f]{12}\] # exit code 0`,
		`Z poll_oneoff\(.*\) = \?`,
		`Z # exit code 143: stopped by SIGTERM`,
	} {
		if !regexp.MustCompile(`(?m)^2\d{3}-\d\d-\d\dT[0-9:.]+` + want + `$`).MatchString(trace) {
			t.Errorf("the trace has no line %s:\n%s", want, trace)
		}
	}
	path := strings.TrimSuffix(s.LogPath, ".log") + ".wasi-trace"
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("trace: %v, %v, want a file that only root reads", info, err)
	}
	must(t, n.Client.Remove(t.Context(), c.id))
	if names, _ := filepath.Glob(filepath.Dir(path) + "/*trace*"); len(names) > 0 {
		t.Errorf("the removed container left %q", names)
	}
}

func TestTheServerCanTraceAllContainersAndBoundsTraces(t *testing.T) {
	const size = 256 << 10
	n := ownNode(t, nodeOptions{flags: map[string]string{"wasi-trace": "true", "wasi-trace-size": "256KiB"}})
	p := n.annotated(t, true, map[string]string{"trace.cri-wasmer.dev/quiet": "off"})
	image := n.program(t, "ticker-c")
	quiet := p.run(criclient.ContainerSpec{Name: "quiet", Image: image, Args: []string{"0", "10"}})
	c := p.run(criclient.ContainerSpec{Name: "chatty", Image: image, Args: []string{"0", "10000"}})
	quiet.wantExit(quiet.wait(), 0, "Completed")
	c.wantExit(c.wait(), 0, "Completed")
	if names, _ := filepath.Glob(filepath.Dir(quiet.logPath()) + "/*trace*"); len(names) > 0 {
		t.Errorf("a container that wants no trace has %q", names)
	}
	now, before := traceOf(t, c.logPath()), ""
	if b, err := os.ReadFile(strings.TrimSuffix(c.logPath(), ".log") + ".wasi-trace.1"); err == nil {
		before = string(b)
	}
	if total := len(now) + len(before); total > size*5/4 || len(before) < size/3 {
		t.Errorf("the trace has %d bytes, of which %d in the older file, want at most %d", total, len(before), size)
	}
	lines := strings.SplitAfter(before+now, "\n")
	for _, line := range lines[:len(lines)-1] { // moved between calls, never within a line
		if !regexp.MustCompile(`^2\d{3}-.*Z [a-z_]+\(.*\) = .*\n$|Z # `).MatchString(line) {
			t.Fatalf("line %q", line)
		}
	}
	if last := lines[len(lines)-2]; !strings.HasSuffix(last, "# exit code 0\n") {
		t.Errorf("the trace ends with %q", last)
	}
}

func TestAFullDiskDoesNotStopATracedContainer(t *testing.T) {
	n := sharedNode(t)
	disk := smallDisk(t, 1)
	config := n.podConfig(criclient.PodSpec{HostNetwork: true, LogDirectory: filepath.Join(disk, "logs")})
	config.Annotations = map[string]string{"trace.cri-wasmer.dev/main": "on"}
	p := n.podFrom(t, config, "")
	c := p.run(criclient.ContainerSpec{Name: "main", Image: n.program(t, "ticker-c"), Args: []string{"0", "20000"}})
	c.wantExit(c.wait(), 0, "Completed")
	var state unix.Statfs_t
	must(t, unix.Statfs(disk, &state))
	if state.Bfree != 0 {
		t.Errorf("the disk was to be full, but has %d free blocks", state.Bfree)
	}
	must(t, n.Client.Remove(t.Context(), c.id))
}

func get(url string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

func TestAGuestServesOnSocketsThatItFindsOpen(t *testing.T) {
	n := sharedNode(t)
	shared := t.TempDir()
	must(t, os.Chmod(shared, 0o777))
	p := n.annotated(t, false, map[string]string{
		"listen.cri-wasmer.dev/go": "tcp://:8080 name=web, tcp://127.0.0.1:9000\nunix:///run/shared/web.sock mode=0660",
		"listen.cri-wasmer.dev/c":  "tcp://0.0.0.0:7000",
	})
	volume := &runtime.Mount{HostPath: shared, ContainerPath: "/run/shared"}
	spec := criclient.ContainerSpec{Name: "go", Image: n.program(t, "activated-go"), Mounts: []*runtime.Mount{volume}}
	c := p.run(spec)
	c.waitLine("serving")
	if got := fmt.Sprint(c.lines("stdout")); !strings.Contains(got, "web at descriptor 4") || !strings.Contains(got, "tcp-9000 at descriptor 5") || !strings.Contains(got, "unix at descriptor 6") {
		t.Errorf("the guest found %s", got)
	}
	ip := podIP(t, n, p)
	for range 3 {
		if got, err := get("http://" + net.JoinHostPort(ip, "8080") + "/x"); got != "web answers /x\n" {
			t.Fatalf("through the pod's address: %q, %v", got, err)
		}
	}
	if got, err := get("http://" + net.JoinHostPort(ip, "9000")); err == nil {
		t.Errorf("a socket of the loopback address answers outside: %q", got)
	}
	conn, err := net.Dial("unix", filepath.Join(shared, "web.sock"))
	must(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET /u HTTP/1.0\r\n\r\n")
	if b, err := io.ReadAll(conn); !strings.HasSuffix(string(b), "unix answers /u\n") {
		t.Errorf("through the unix socket: %q, %v", b, err)
	}
	if info, err := os.Stat(filepath.Join(shared, "web.sock")); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket file: %v, %v", info, err)
	}
	r, err := n.Client.Exec(t.Context(), c.id, 30, "/app.wasm")
	if err != nil || r.ExitCode != 1 || !strings.Contains(string(r.Stderr), "LISTEN_FDS") {
		t.Errorf("an exec, which has no sockets: %v, %v", r, err)
	}
	c.stop(10)
	again := p.createFrom(attempt(1, spec)) // the same ports and file
	again.start()
	again.waitLine("serving")

	for i, args := range [][]string{nil, {"block"}} {
		c := p.createFrom(attempt(uint32(i), criclient.ContainerSpec{Name: "c", Image: n.program(t, "activated-c"), Args: args}))
		c.start()
		c.waitLine("1 sockets for process 1, the first is 4")
		conn, err := net.Dial("tcp", net.JoinHostPort(ip, "7000"))
		must(t, err)
		fmt.Fprintln(conn, "hello")
		if line, err := bufio.NewReader(conn).ReadString('\n'); line != "echo: hello\n" {
			t.Errorf("the C guest %v answers %q, %v", args, line, err)
		}
		conn.Close()
		s, _ := c.stop(10)
		c.wantExit(s, 143, "Error")
	}
}

// attempt is the nth container of one name, with a log of its own.
func attempt(nth uint32, spec criclient.ContainerSpec) containerConfig {
	config := spec.Config()
	config.Metadata.Attempt = nth
	config.LogPath = filepath.Join(config.Metadata.Name, fmt.Sprintf("%d.log", nth))
	return config
}

func TestASocketThatCannotBeHadFailsTheStart(t *testing.T) {
	n := sharedNode(t)
	p := n.annotated(t, false, map[string]string{
		"listen.cri-wasmer.dev/first":  "tcp://:8080",
		"listen.cri-wasmer.dev/second": "tcp://:8081, tcp://:8080",
		"listen.cri-wasmer.dev/third":  "tcp://192.0.2.1:80",
		"listen.cri-wasmer.dev/fourth": "unix:///no/such/dir/socket",
		"listen.cri-wasmer.dev/fifth":  "tcp://:8081",
	})
	image := n.program(t, "top-c")
	p.run(criclient.ContainerSpec{Name: "first", Image: image})
	for name, parts := range map[string][]string{
		"second": {"tcp://:8080", "address already in use"},
		"third":  {"tcp://192.0.2.1:80", "cannot assign requested address"},
		"fourth": {"unix:///no/such/dir/socket", "no such file or directory"},
	} {
		c := p.create(criclient.ContainerSpec{Name: name, Image: image})
		err := n.Client.Start(t.Context(), c.id)
		wantCode(t, "start of "+name, err, codes.FailedPrecondition, parts...)
		c.wantExit(c.status(), 128, "StartError")
		wantParts(t, "message of "+name, fmt.Errorf("%s", c.status().Message), parts...)
	}
	p.run(criclient.ContainerSpec{Name: "fifth", Image: image}) // what failed holds no socket
}

func TestAHostNetworkPodNeedsTheRightToListenAtLowPorts(t *testing.T) {
	n := sharedNode(t)
	p := n.annotated(t, true, map[string]string{"listen.cri-wasmer.dev/main": "tcp://127.0.0.1:81"})
	config := criclient.ContainerSpec{Name: "main", Image: n.program(t, "top-c")}.Config()
	config.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1000}
	c := p.createFrom(config)
	wantCode(t, "start", n.Client.Start(t.Context(), c.id), codes.InvalidArgument, "tcp://127.0.0.1:81", "NET_BIND_SERVICE")
}

// A socket's file belongs to the user of its container, also as the host counts
// users, in the root filesystem and on a volume.
func TestASocketsFileBelongsToItsContainer(t *testing.T) {
	n := sharedNode(t)
	config := n.userNSConfig(criclient.PodSpec{})
	config.Annotations = map[string]string{"listen.cri-wasmer.dev/main": "unix:///own.sock, unix:///plain/v.sock, unix:///mapped/v.sock"}
	p := n.podFrom(t, config, "")
	plain, mapped := t.TempDir(), t.TempDir()
	container := criclient.ContainerSpec{Name: "main", Image: n.program(t, "activated-go"), Mounts: []*runtime.Mount{
		{HostPath: plain, ContainerPath: "/plain"}, {HostPath: mapped, ContainerPath: "/mapped", UidMappings: mapping(), GidMappings: mapping()},
	}}.Config()
	container.Linux.SecurityContext.NamespaceOptions.UsernsOptions = config.Linux.SecurityContext.NamespaceOptions.UsernsOptions
	container.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1000}
	container.Linux.SecurityContext.RunAsGroup = &runtime.Int64Value{Value: 1000}
	c := p.createFrom(container)
	c.start()
	c.waitLine("serving")
	for _, path := range []string{"/own.sock", "/plain/v.sock", "/mapped/v.sock"} {
		c.wantOwner(path, firstID+1000)
	}
	conn, err := net.Dial("unix", filepath.Join(mapped, "v.sock"))
	must(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET /u HTTP/1.0\r\n\r\n")
	if b, err := io.ReadAll(conn); !strings.HasSuffix(string(b), "answers /u\n") {
		t.Errorf("through the unix socket: %q, %v", b, err)
	}
}

func TestListenersAndTraceOutliveTheServer(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	p := n.annotated(t, false, map[string]string{"listen.cri-wasmer.dev/c": "tcp://:7000", "trace.cri-wasmer.dev/c": "on"})
	c := p.create(criclient.ContainerSpec{Name: "c", Image: n.program(t, "activated-c")})
	must(t, n.Kill())
	must(t, n.Daemon.Start(t.Context()))
	c.start()
	c.waitLine("1 sockets for process 1, the first is 4")
	must(t, n.Kill())
	must(t, n.Daemon.Start(t.Context()))
	var conn net.Conn
	eventually(t, "the guest to be reached", func() (ok bool) { // the kernel may remember another pod by this address for a while
		var err error
		conn, err = net.DialTimeout("tcp", net.JoinHostPort(podIP(t, n, p), "7000"), time.Second)
		return err == nil
	})
	defer conn.Close()
	fmt.Fprintln(conn, "hello")
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "echo: hello\n" {
		t.Errorf("the guest answers %q, %v", line, err)
	}
	s, _ := c.stop(10)
	c.wantExit(s, 143, "Error")
	if trace := traceOf(t, s.LogPath); !strings.Contains(trace, `sock_recv(fd=5, `) || !strings.Contains(trace, "# exit code 143") {
		t.Errorf("the trace has no call of after the restarts, or no end:\n%s", trace)
	}
}
