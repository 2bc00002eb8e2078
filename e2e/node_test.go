package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	published "github.com/cri-wasmer/cri-wasmer/e2e/images"
)

// patience is how long a test waits for what must come. E2E_PATIENCE is for
// machines that are emulated.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("E2E_PATIENCE")); err == nil {
		return d
	}
	return 60 * time.Second
}()

type nodeOptions struct {
	root  string            // of the server, when it is a special file system
	flags map[string]string // of the server
	hosts map[string]string // hosts.toml by registry
	// proxied makes the node's registry the proxy of the server.
	proxied bool
}

// node is a server with a registry. Safe for concurrent use by one test.
type node struct {
	*daemon.Daemon
	registry *images.Registry
	dir      string

	mu     sync.Mutex
	pulled map[string]string // name of an image to its reference
	serial int
}

var nodes atomic.Int64 // that were started

func startNode(t testing.TB, o nodeOptions) (*node, error) {
	dir, err := os.MkdirTemp("/tmp", "cw") // short, for the socket
	if err != nil {
		return nil, err
	}
	registry, err := images.NewRegistry()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	var env []string
	if o.proxied {
		env = []string{"HTTP_PROXY=" + registry.URL(), "NO_PROXY="}
	}
	server, err := daemon.Start(t.Context(), daemon.Options{
		Env:          env,
		Binary:       built.Server(),
		Dir:          dir,
		Root:         o.root,
		Flags:        o.flags,
		Hosts:        o.hosts,
		CgroupParent: isolate.Parent(fmt.Sprintf("default%d", nodes.Add(1))), // belongs to one server
	})
	if err != nil {
		registry.Close()
		return nil, errors.Join(err, isolate.RemoveTree(dir))
	}
	return &node{Daemon: server, registry: registry, dir: dir, pulled: map[string]string{}}, nil
}

// revive starts a server that a failed test has left dead, so that close finds its
// pods: they must not fail the tests that follow.
func (n *node) revive() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-n.Ended():
		if err := n.Start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: start of a node after a failed test:", err)
		}
	default:
	}
}

// close ends the node and all that is on it.
func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-n.Ended():
	default:
		if err := n.RemoveAllPods(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: end of a node:", err)
		}
	}
	if err := n.Destroy(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: end of a node:", err)
	}
	n.registry.Close()
}

// watch shows what the server logs during this test, if the test fails.
func (n *node) watch(t testing.TB) {
	start := len(n.Log())
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		log := n.Log()
		lines := strings.Split(log[min(start, len(log)):], "\n")
		t.Logf("the server's log during the test:\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
	})
}

// unique gives a name that no other object of the node has.
func (n *node) unique(prefix string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serial++
	return fmt.Sprintf("%s-%d", prefix, n.serial)
}

// ref is the name of an image in the registry of the node.
func (n *node) ref(repository string) string { return n.registry.Host() + "/" + repository }

// push stores an image as repository:v1 and gives its reference.
func (n *node) push(t testing.TB, repository string, a images.Artifact) string {
	t.Helper()
	if _, err := n.registry.Push(repository, "v1", a); err != nil {
		t.Fatal(err)
	}
	return n.ref(repository) + ":v1"
}

// pull pushes an image, pulls it and gives its reference.
func (n *node) pull(t testing.TB, repository string, a images.Artifact) string {
	t.Helper()
	ref := n.push(t, repository, a)
	if _, err := n.Client.Pull(t.Context(), ref); err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
	return ref
}

// once gives the reference that make gave at its first call for a name.
func (n *node) once(name string, make func() string) string {
	n.mu.Lock()
	ref := n.pulled[name]
	n.mu.Unlock()
	if ref != "" {
		return ref
	}
	ref = make()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pulled[name] = ref
	return ref
}

// program gives the reference of an image with a guest of e2e/guests as its
// entrypoint, pulled.
func (n *node) program(t testing.TB, guestName string) string {
	t.Helper()
	return n.once(guestName, func() string {
		image := images.Program(guest(t, guestName))
		image.WorkingDir = "/" // the default: another id than that of the images that tests remove
		return n.pull(t, guestName, image.Artifact())
	})
}

// toolbox gives the reference of an image that holds the tool guest under the
// names of its applets, users, and a directory /data.
func (n *node) toolbox(t testing.TB) string {
	t.Helper()
	return n.once("toolbox", func() string { return n.pull(t, "toolbox", toolboxImage(t).Artifact()) })
}

// shell gives the reference of the published toolbox image: a shell and its
// programs.
func (n *node) shell(t testing.TB) string {
	t.Helper()
	return n.once("shell", func() string {
		all, err := published.Build(guest(t, "toolbox"))
		must(t, err)
		must(t, published.Push(t.Context(), n.registry.Host(), true, all[:1]))
		ref := n.ref(all[0].Names[0])
		_, err = n.Client.Pull(t.Context(), ref)
		must(t, err)
		return ref
	})
}

var toolboxApplets = []string{
	"cat", "echo", "env", "exit", "false", "hostname", "id", "ls", "mkdir", "pwd", "rm", "sleep", "stderr",
	"status", "top", "touch", "true", "write", "yes",
}

const (
	typeHardLink  = '1'
	typeSymlink   = '2'
	typeCharDev   = '3'
	typeDirectory = '5'
)

func toolboxImage(t testing.TB) images.Rootfs {
	t.Helper()
	files := []images.File{
		{Name: "bin/", Type: typeDirectory},
		{Name: "bin/tool", Data: guest(t, "tool-go")},
		{Name: "data/", Type: typeDirectory, Mode: 0o777},
		{Name: "tmp/", Type: typeDirectory, Mode: 0o1777},
		{Name: "etc/", Type: typeDirectory},
		{Name: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\nbaker:x:1042:2042::/home/baker:/bin/sh\n")},
		{Name: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nbakers:x:2042:\nmillers:x:2043:baker\n")},
		{Name: "etc/marker", Mode: 0o644, Data: []byte("made by the image\n")},
	}
	for _, applet := range toolboxApplets {
		files = append(files, images.File{Name: "bin/" + applet, Type: typeHardLink, Link: "bin/tool"})
	}
	return images.Rootfs{
		Layers:     [][]images.File{files},
		Entrypoint: []string{"/bin/tool"},
		Cmd:        []string{"top"},
		Env:        []string{"PATH=/usr/bin:/bin"},
	}
}

// pod is a running pod of a test.
type pod struct {
	t      testing.TB
	node   *node
	id     string
	config podConfig
}

// pod starts a pod that is removed at the end of the test. A pod without name
// gets one.
func (n *node) pod(t testing.TB, spec criclient.PodSpec) *pod {
	t.Helper()
	return n.podFrom(t, n.podConfig(spec), spec.Handler)
}

// hostPod starts a pod in the node's network, which is faster.
func (n *node) hostPod(t testing.TB) *pod {
	t.Helper()
	return n.pod(t, criclient.PodSpec{HostNetwork: true})
}

// podConfig fills in what a test does not care about.
func (n *node) podConfig(spec criclient.PodSpec) podConfig {
	if spec.Name == "" {
		spec.Name = n.unique("pod")
	}
	if spec.LogDirectory == "" {
		spec.LogDirectory = filepath.Join(n.dir, "logs", spec.Name)
	}
	if spec.CgroupParent == "" {
		spec.CgroupParent = isolate.Parent("pods")
	}
	return spec.Config()
}

func (n *node) podFrom(t testing.TB, config podConfig, handler string) *pod {
	t.Helper()
	id, err := n.Client.RunPod(t.Context(), config, handler)
	if err != nil {
		t.Fatalf("run pod %s: %v", config.Metadata.Name, err)
	}
	p := &pod{t: t, node: n, id: id, config: config}
	t.Cleanup(p.remove)
	return p
}

// remove removes the pod; it may be gone already, and so may the server.
func (p *pod) remove() {
	select {
	case <-p.node.Ended():
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.node.Client.RemovePod(ctx, p.id); err != nil {
		p.t.Errorf("remove pod %s: %v", p.id, err)
	}
}
