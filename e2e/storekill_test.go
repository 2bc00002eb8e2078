package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/imageservice"
)

// storeKills is how often the server is killed; the variable STORE_KILLS, which
// `make store-kill` sets, says otherwise.
func storeKills(t *testing.T) int {
	text := os.Getenv("STORE_KILLS")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// killedStore is a server that is killed while clients pull and remove images.
type killedStore struct {
	*node
	refs   []string
	random *rand.Rand

	mu    sync.Mutex
	under map[string]int // calls that run, by what they do
}

// newKilledStore pushes images of each kind: layers that are shared and not,
// artifacts, modules that take long to compile and modules that do not.
func newKilledStore(t *testing.T, seed uint64) *killedStore {
	k := &killedStore{node: ownNode(t, nodeOptions{}), random: rand.New(rand.NewPCG(seed, seed)), under: map[string]int{}}
	filler := make([]byte, 8<<20)
	for i := range filler {
		filler[i] = byte(k.random.Uint32() >> (i % 7))
	}
	shared := []images.File{{Name: "usr/share/filler", Data: filler}, {Name: "etc/motd", Data: []byte("hello")}}
	for i, g := range []string{"exit-c", "tool-go", "exit-c", "hello-go"} {
		r := images.Program(guest(t, g))
		r.Layers[0][0].Data = append(r.Layers[0][0].Data, customSection(fmt.Sprint("killed ", i))...)
		r.Layers = append([][]images.File{shared}, r.Layers...)
		k.refs = append(k.refs, k.push(t, fmt.Sprint("killed/rootfs", i), r.Artifact()))
	}
	module := append(guest(t, "hello-c"), customSection("killed artifact")...)
	k.refs = append(k.refs, k.push(t, "killed/krustlet", images.Krustlet(module)), k.push(t, "killed/cncf", images.CNCF(module)))
	return k
}

// client pulls and removes images at random until the server is gone.
func (k *killedStore) client(ctx context.Context, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	for ctx.Err() == nil {
		ref := k.refs[random.IntN(len(k.refs))]
		if random.IntN(3) == 0 {
			k.call("remove", func() error {
				_, err := k.Client.Images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: ref}})
				return err
			})
			continue
		}
		k.call("pull", func() error { _, err := k.Client.Pull(ctx, ref); return err })
	}
}

func (k *killedStore) call(what string, f func() error) {
	k.count(what, 1)
	defer k.count(what, -1)
	if f() != nil { // the server is gone, or about to
		time.Sleep(time.Millisecond)
	}
}

func (k *killedStore) count(what string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.under[what] += n
}

// at tells what was going on when the server was killed.
func (k *killedStore) at() map[string]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	doing := map[string]bool{}
	for what, n := range k.under {
		doing[what] = n > 0
	}
	entries, _ := os.ReadDir(filepath.Join(k.Root(), "code", "tmp"))
	doing["compile"] = len(entries) > 0
	entries, _ = os.ReadDir(filepath.Join(k.Root(), "images", "tmp"))
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), "-")
		doing["store "+name] = true
	}
	return doing
}

// round lets clients work for a moment, kills the server, and looks at what it
// has left.
func (k *killedStore) round(t *testing.T, seed uint64) map[string]bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range uint64(4) {
		clients.Go(func() { k.client(ctx, seed*10+i) })
	}
	time.Sleep(time.Duration(k.random.IntN(600)) * time.Millisecond)
	doing := k.at()
	must(t, k.Kill())
	cancel()
	clients.Wait()
	left := k.examine(t, false)
	for _, p := range left.Problems {
		if p.Kind != imageservice.ProblemLeftover && p.Kind != imageservice.ProblemOrphan {
			t.Errorf("after the kill: %s", p)
		}
	}
	must(t, k.Start(t.Context()))
	after := k.examine(t, true)
	for _, p := range after.Problems {
		t.Errorf("after the restart: %s", p)
	}
	return doing
}

// examine checks the store, in depth.
func (k *killedStore) examine(t *testing.T, live bool) *imageservice.CheckResult {
	t.Helper()
	r, err := imageservice.Check(t.Context(), imageservice.CheckConfig{
		Root: filepath.Join(k.Root(), "images"), CodeDir: filepath.Join(k.Root(), "code"), Deep: true,
	})
	must(t, err)
	if r.Live != live {
		t.Errorf("a server runs on the store: %v, want %v", r.Live, live)
	}
	return r
}

// Whenever the server is killed, what it leaves is whole: no image lacks
// anything, nothing partial is ever used, and what is of no use goes with the
// next start.
func TestKilledStoreStaysWhole(t *testing.T) {
	k := newKilledStore(t, 1)
	kills := storeKills(t)
	met := map[string]int{}
	for i := range kills {
		for what, yes := range k.round(t, uint64(i)) {
			if yes {
				met[what]++
			}
		}
		if t.Failed() {
			t.Fatalf("after %d kills", i+1)
		}
	}
	t.Logf("%d kills; met while running: %v", kills, met)
	p := k.hostPod(t)
	for _, ref := range k.refs {
		id, err := k.Client.Pull(t.Context(), ref)
		must(t, err)
		c := p.run(criclient.ContainerSpec{Image: id, Command: commandOf(ref), Args: []string{"0"}})
		if s := c.wait(); s.ExitCode != 0 {
			t.Errorf("%s: exit code %d, %s", ref, s.ExitCode, s.Message)
		}
		must(t, k.Client.Remove(t.Context(), c.id))
	}
	if r := k.examine(t, true); !r.Clean() || r.Images != len(k.refs) {
		t.Errorf("at the end: %+v", r)
	}
}

// commandOf gives the command for images whose entrypoint needs one.
func commandOf(ref string) []string {
	if strings.Contains(ref, "rootfs1") { // the toolbox
		return []string{"/app.wasm", "true"}
	}
	return nil
}
