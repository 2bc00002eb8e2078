package walkthrough

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	page = "../../docs/walkthrough.md"

	// startTimeout leaves time to build Kubernetes.
	startTimeout = 20 * time.Minute
	stopTimeout  = 5 * time.Minute
)

func TestWalkthrough(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: make cluster makes namespaces, mounts and control groups")
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parse(string(data))
	if err != nil {
		t.Fatal(err)
	}
	reader := &person{dir: t.TempDir()}
	// Debian's rustc has the target, which that of a rustup may lack.
	reader.exports = fmt.Sprintf("export GOBIN=%[1]s HOME=%[1]s GOPATH=%[2]s GOCACHE=%[3]s PATH=%[1]s:/usr/bin:$PATH\n",
		reader.dir, goEnv(t, "GOPATH"), goEnv(t, "GOCACHE"))
	for _, b := range blocks {
		switch b.note {
		case noteNotRun:
		case noteStarted:
			reader.exports += start(t, b)
		case "":
			reader.follow(t, b)
		default:
			t.Fatalf("line %d: nobody knows what %q means", b.line, b.note)
		}
		if t.Failed() {
			return // the rest builds on it
		}
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// person has a terminal in a directory.
type person struct {
	dir     string
	exports string // what was pasted into the terminal
}

// follow runs a block and compares what it prints.
func (p *person) follow(t *testing.T, b block) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", p.exports+b.commands)
	cmd.Dir = p.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("line %d: %v\n%s%s%s", b.line, err, b.commands, &stdout, &stderr)
	}
	if b.output != nil && !matches(b.output, stdout.String()) {
		t.Errorf("line %d: the page shows\n%s\nbut there is\n%s", b.line, strings.Join(b.output, "\n"), &stdout)
	}
}

// start starts a block at the top of the repository, waits until its cluster is
// ready, and gives the lines that it says to paste. It ends with the test as by
// Ctrl-C.
func start(t *testing.T, b block) (exports string) {
	t.Helper()
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-eu", "-c", b.commands)
	cmd.Dir = repository
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for all of them
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &announcement{done: make(chan struct{}), ready: make(chan struct{})}
	go r.read(out)
	t.Cleanup(func() { interrupt(t, cmd, r) })
	select {
	case <-r.ready:
		return r.exports.String()
	case <-r.done:
		t.Fatalf("line %d: the cluster ended\n%s\n%s", b.line, &r.all, &stderr)
	case <-time.After(startTimeout):
		t.Fatalf("line %d: the cluster is not ready after %v", b.line, startTimeout)
	}
	return ""
}

// interrupt ends the cluster, which must leave in good order.
func interrupt(t *testing.T, cmd *exec.Cmd, r *announcement) {
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Errorf("interrupt the cluster: %v", err)
	}
	select {
	case <-r.done:
	case <-time.After(stopTimeout):
		t.Errorf("the cluster does not end on Ctrl-C within %v", stopTimeout)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-r.done
	}
	_ = cmd.Wait() // make says that it was interrupted
	if !strings.HasSuffix(strings.TrimSpace(r.all.String()), "the cluster has ended") {
		t.Errorf("the cluster did not end in good order:\n%s", &r.all)
	}
}

// announcement is what `make cluster` prints. Its fields may be read when the
// channel is closed that says so.
type announcement struct {
	exports strings.Builder // when ready
	all     strings.Builder // when done
	ready   chan struct{}
	done    chan struct{}
}

func (r *announcement) read(from io.Reader) {
	defer close(r.done)
	for lines := bufio.NewScanner(from); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		r.all.WriteString(line + "\n")
		switch {
		case strings.HasPrefix(line, "export "):
			r.exports.WriteString(line + "\n")
		case line == "Ctrl-C ends the cluster.":
			close(r.ready)
		}
	}
}
