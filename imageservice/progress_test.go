package imageservice

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
)

// slowCodes compiles until it is let go.
type slowCodes struct {
	stubCodes
	begun, goOn chan struct{}
}

func (c *slowCodes) Code(ctx context.Context, f *os.File) (*codecache.Code, error) {
	close(c.begun)
	<-c.goOn
	return c.stubCodes.Code(ctx, f)
}

func waitProgress(t *testing.T, s *Service, ref string, ok func(PullProgress) bool) PullProgress {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		list := s.Progress(ref)
		if len(list) > 0 && ok(list[0]) {
			return list[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("progress of %s is %+v", ref, list)
		}
	}
}

func TestProgressFollowsAPull(t *testing.T) {
	f := newFixture(t)
	img := helloImage("wasi", "wasm")
	img.pack = func(_ testing.TB, b []byte) []byte { return b }
	img.layers = [][]byte{tarOf(t, entry{name: "hello.wasm", body: wasmModule("")}), tarOf(t, entry{name: "big", body: strings.Repeat("x", 300_000)})}
	f.push("img", "v1", img)
	big := digestOf(img.layers[1])
	goOn := make(chan struct{})
	f.front = func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		rec := httptest.NewRecorder()
		real.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		body := rec.Body.Bytes()
		if strings.HasSuffix(r.URL.Path, "/blobs/"+big) {
			w.Write(body[:100_000])
			w.(http.Flusher).Flush()
			<-goOn
			body = body[100_000:]
		}
		w.Write(body)
	}
	codes := &slowCodes{begun: make(chan struct{}), goOn: make(chan struct{})}
	s := openService(t, func(c *Config) { c.Code = codes })
	ref := f.host + "/img:v1"
	pulled := make(chan error, 1)
	go func() {
		_, err := s.Pull(context.Background(), PullRequest{Ref: ref})
		pulled <- err
	}()
	p := waitProgress(t, s, ref, func(p PullProgress) bool {
		return len(p.Content) == 3 && p.Content[1].State == ContentDone && p.Content[2].Done > 0
	})
	if c := p.Content[2]; p.Phase != PullDownloading || c.State != ContentDownloading || c.Digest != big || c.Done > c.Size || c.Size != int64(len(img.layers[1])) {
		t.Errorf("progress = %+v", p)
	}
	close(goOn)
	<-codes.begun
	p = waitProgress(t, s, ref, func(p PullProgress) bool { return p.Phase == PullCompiling })
	if len(p.Code) != 1 || p.Content[2].State != ContentDone || p.Content[2].Done != p.Content[2].Size {
		t.Errorf("progress = %+v, want all content and the compiler", p)
	}
	close(codes.goOn)
	if err := <-pulled; err != nil {
		t.Fatal(err)
	}
	if list := s.Progress(ref); len(list) != 0 || len(s.progress.transfers) != 0 {
		t.Errorf("after the pull: %+v, %d transfers", list, len(s.progress.transfers))
	}
	if list := s.Progress("not a name"); len(list) != 0 {
		t.Errorf("of no name: %+v", list)
	}
}

// A pull that waits for the blob of another one shows how far that one is.
func TestProgressIsSharedByPullsOfTheSameContent(t *testing.T) {
	f := newFixture(t)
	module := wasmModule("") + "\x00\xa0\x8d\x06\x01x" + strings.Repeat("y", 100_000-2)
	for _, repo := range []string{"one", "two"} {
		f.artifact(repo, dockerManifest, dockerConfig, "{}", wasmContent, "", module)
	}
	goOn, asked := make(chan struct{}), make(chan struct{}, 10)
	f.front = func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/blobs/"+digestOf([]byte(module))) {
			w.Write([]byte(module[:50_000]))
			w.(http.Flusher).Flush()
			asked <- struct{}{}
			<-goOn
			w.Write([]byte(module[50_000:]))
			return
		}
		real.ServeHTTP(w, r)
	}
	s := openService(t, nil)
	pulled := make(chan error, 2)
	for _, repo := range []string{"one", "two"} {
		go func() {
			_, err := s.Pull(context.Background(), PullRequest{Ref: f.host + "/" + repo + ":v1"})
			pulled <- err
		}()
	}
	for _, repo := range []string{"one", "two"} {
		waitProgress(t, s, f.host+"/"+repo+":v1", func(p PullProgress) bool { return len(p.Content) == 2 && p.Content[1].Done > 0 })
	}
	close(goOn)
	for range 2 {
		if err := <-pulled; err != nil {
			t.Error(err)
		}
	}
	if n := len(asked); n != 1 {
		t.Errorf("the blob was asked for %d times", n)
	}
}

func TestExplainNamesTheHolders(t *testing.T) {
	f := newFixture(t)
	f.hello("h", "latest", "wasi", "wasm")
	s := openService(t, nil)
	img := mustPull(t, s, f.host+"/h")
	for _, holder := range []string{"b", "a"} {
		if _, err := s.Acquire(context.Background(), img.ID, holder); err != nil {
			t.Fatal(err)
		}
	}
	e, err := s.Explain(context.Background(), img.ID)
	if err != nil || strings.Join(e.HeldBy, " ") != "a b" || e.FormatText == "" || e.Why == "" {
		t.Errorf("explanation = %+v, %v", e, err)
	}
}
