package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

const manifestJSON = `{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}}`

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// fake is a registry with one manifest and one blob whose behaviour a test
// changes.
type fake struct {
	*httptest.Server
	host string
	blob []byte

	mu       sync.Mutex
	requests []*http.Request
	before   func(w http.ResponseWriter, r *http.Request) bool // true: answered
	serve    func(w http.ResponseWriter, r *http.Request)      // for the blob
}

func newFake(t *testing.T, tls bool) *fake {
	t.Helper()
	f := &fake{blob: bytes.Repeat([]byte("0123456789abcdef"), 20_000)}
	h := http.HandlerFunc(f.handle)
	if tls {
		f.Server = httptest.NewUnstartedServer(h)
		f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		f.StartTLS()
	} else {
		f.Server = httptest.NewServer(h)
	}
	t.Cleanup(f.Close)
	_, f.host, _ = strings.Cut(f.URL, "://")
	return f
}

func (f *fake) handle(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Clone(context.Background()))
	before, serve := f.before, f.serve
	f.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	switch path := r.URL.Path; {
	case path == "/v2/":
	case strings.Contains(path, "/manifests/"):
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json; charset=utf-8")
		io.WriteString(w, manifestJSON)
	case strings.Contains(path, "/blobs/") && serve != nil:
		serve(w, r)
	case strings.Contains(path, "/blobs/"):
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.blob))
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) seen() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

func newClient(t *testing.T, dirs ...string) *Client {
	t.Helper()
	c := NewClient(Options{CertsDirs: dirs, Backoff: time.Millisecond, StallTimeout: 300 * time.Millisecond, MaxDownloads: 2})
	t.Cleanup(func() { c.Close() })
	return c
}

func session(t *testing.T, c *Client, domain string, auth Auth) *Session {
	t.Helper()
	s, err := c.Session(domain, "team/app", auth)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readBlob(ctx context.Context, s *Session, d string, size int64) ([]byte, error) {
	r, err := s.Blob(ctx, d, size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestLoopbackFallsBackToPlainHTTP(t *testing.T) {
	f := newFake(t, false)
	m, err := session(t, newClient(t), f.host, Auth{}).Manifest(context.Background(), "v1")
	if err != nil || m.Digest != digest([]byte(manifestJSON)) || m.MediaType != "application/vnd.oci.image.manifest.v1+json" {
		t.Fatalf("Manifest = %+v, %v", m, err)
	}
}

func TestHTTPSNeedsAKnownCA(t *testing.T) {
	f := newFake(t, true)
	_, err := session(t, newClient(t), f.host, Auth{}).Manifest(context.Background(), "v1")
	if !errors.Is(err, imgerr.ErrUnavailable) || !strings.HasPrefix(err.Error(), "RegistryUnavailable: ") || !strings.Contains(err.Error(), "CA in hosts.toml") {
		t.Errorf("unknown CA: %v, want RegistryUnavailable with the remedy", err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})))
	write(t, filepath.Join(dir, f.host, "hosts.toml"), fmt.Sprintf("server = %q\nca = \"../ca.pem\"\n", f.URL))
	if _, err := session(t, newClient(t, dir), f.host, Auth{}).Manifest(context.Background(), "v1"); err != nil {
		t.Errorf("with the CA: %v", err)
	}
	write(t, filepath.Join(dir, f.host, "hosts.toml"), fmt.Sprintf("server = %q\nskip_verify = true\n", f.URL))
	if _, err := session(t, newClient(t, dir), f.host, Auth{}).Manifest(context.Background(), "v1"); err != nil {
		t.Errorf("with skip_verify: %v", err)
	}
}

func TestMirrorsAreAskedInOrder(t *testing.T) {
	broken, partial, full := newFake(t, false), newFake(t, false), newFake(t, false)
	broken.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true }
	dir := t.TempDir()
	write(t, filepath.Join(dir, "registry.example.com", "hosts.toml"), fmt.Sprintf(`
server = "https://registry.invalid"
[host."http://%s"]
[host."http://%s"]
  capabilities = ["pull"]
[host."http://%s/v2/proxy"]
  override_path = true
  [host."http://%s/v2/proxy".header]
  X-Secret = "s"
`, broken.host, partial.host, full.host, full.host))
	s := session(t, newClient(t, dir), "registry.example.com", Auth{Username: "u", Password: "hunter22"})
	if _, err := s.Manifest(context.Background(), "v1"); err != nil {
		t.Fatal(err)
	}
	if n := len(partial.seen()); n != 0 {
		t.Errorf("a mirror without the capability was asked %d times for a tag", n)
	}
	reqs := full.seen()
	last := reqs[len(reqs)-1]
	if last.URL.Path != "/v2/proxy/team/app/manifests/v1" || last.URL.Query().Get("ns") != "registry.example.com" || last.Header.Get("X-Secret") != "s" {
		t.Errorf("mirror was asked for %s with %v", last.URL, last.Header)
	}
	if data, err := readBlob(context.Background(), s, digest(partial.blob), int64(len(partial.blob))); err != nil || !bytes.Equal(data, partial.blob) {
		t.Errorf("blob: %d bytes, %v", len(data), err)
	}
	if len(partial.seen()) == 0 {
		t.Error("the pull mirror was not asked for a blob")
	}
	for _, f := range []*fake{broken, partial, full} {
		for _, r := range f.seen() {
			if r.Header.Get("Authorization") != "" {
				t.Errorf("the credential of the registry was sent to a mirror: %s", r.URL)
			}
		}
	}
}

func TestBasicAndTokenAuth(t *testing.T) {
	const user, pass = "alice", "correct-horse"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass))
	requireBasic := func(f *fake) {
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Authorization") == basic {
				return false
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
	}
	requireToken := func(f *fake) {
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				if r.Method == "POST" {
					r.ParseForm()
					if r.Form.Get("refresh_token") != "identity-token" {
						w.WriteHeader(401)
						return true
					}
				} else if r.Header.Get("Authorization") != basic {
					w.WriteHeader(401)
					return true
				}
				io.WriteString(w, `{"token":"granted-token","access_token":"granted-token"}`)
				return true
			}
			if h := r.Header.Get("Authorization"); h == "Bearer granted-token" || h == "Bearer registry-token" {
				return false
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="s",scope="repository:team/app:pull"`, f.host))
			w.WriteHeader(401)
			return true
		}
	}
	good := Auth{Username: user, Password: pass}
	for _, tc := range []struct {
		name  string
		setup func(*fake)
		auth  Auth
		ok    bool
	}{
		{"basic", requireBasic, good, true},
		{"basic in one field", requireBasic, Auth{Auth: base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))}, true},
		{"basic without padding", requireBasic, Auth{Auth: strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(user+":"+pass)), "=")}, true},
		{"basic, wrong", requireBasic, Auth{Username: user, Password: "wrong-horse"}, false},
		{"basic, anonymous", requireBasic, Auth{}, false},
		{"token", requireToken, good, true},
		{"token, wrong", requireToken, Auth{Username: user, Password: "wrong-horse"}, false},
		{"identity token", requireToken, Auth{IdentityToken: "identity-token"}, true},
		{"registry token", requireToken, Auth{RegistryToken: "registry-token"}, true},
		{"for another server", requireBasic, Auth{Username: user, Password: pass, ServerAddress: "https://other.example.com/v1/"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, false)
			tc.setup(f)
			s := session(t, newClient(t), f.host, tc.auth)
			_, err := s.Manifest(context.Background(), "v1")
			if tc.ok {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := readBlob(context.Background(), s, digest(f.blob), int64(len(f.blob))); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, imgerr.ErrUnauthorized) {
				t.Errorf("error = %v, want ErrUnauthorized", err)
			}
			for _, secret := range []string{pass, "wrong-horse", tc.auth.Auth} {
				if secret != "" && strings.Contains(fmt.Sprint(err), secret) {
					t.Errorf("the error shows a credential: %v", err)
				}
			}
		})
	}
}

func TestCredentialsNeverShow(t *testing.T) {
	a := Auth{Username: "u", Password: "hunter22", Auth: "dTpodW50ZXIyMg==", IdentityToken: "idtok", RegistryToken: "regtok"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("pull", "auth", a, "ptr", &a)
	text := fmt.Sprintf("%v %+v %#v %s ", a, a, a, &a) + log.String()
	for _, secret := range []string{"hunter22", "dTpo", "idtok", "regtok"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q shows %q", text, secret)
		}
	}
	f := newFake(t, false)
	f.before = func(w http.ResponseWriter, _ *http.Request) bool { // echoes what it was sent
		w.WriteHeader(403)
		io.WriteString(w, `{"errors":[{"code":"DENIED","message":"no, hunter22 is wrong"}]}`)
		return true
	}
	_, err := session(t, newClient(t), f.host, Auth{Username: "u", Password: "hunter22"}).Manifest(context.Background(), "v1")
	if !errors.Is(err, imgerr.ErrUnauthorized) || strings.Contains(err.Error(), "hunter22") || !strings.Contains(err.Error(), "DENIED") {
		t.Errorf("error = %v, want the registry's words without the password", err)
	}
}

func TestBadAuthFieldIsReported(t *testing.T) {
	_, err := newClient(t).Session("127.0.0.1:1", "a", Auth{Auth: "!!!"})
	if !errors.Is(err, imgerr.ErrUnauthorized) || strings.Contains(err.Error(), "!!!") {
		t.Errorf("error = %v", err)
	}
}

func TestDockerConfigGivesTheNodesCredentials(t *testing.T) {
	f := newFake(t, false)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u == "node" && p == "node-pass" {
			return false
		}
		w.Header().Set("WWW-Authenticate", "Basic realm=x")
		w.WriteHeader(401)
		return true
	}
	file := filepath.Join(t.TempDir(), "config.json")
	write(t, file, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, f.host, base64.StdEncoding.EncodeToString([]byte("node:node-pass"))))
	c := NewClient(Options{DockerConfig: file, Backoff: time.Millisecond})
	defer c.Close()
	if _, err := session(t, c, f.host, Auth{}).Manifest(context.Background(), "v1"); err != nil {
		t.Error(err)
	}
	if _, err := session(t, c, f.host, Auth{Username: "x", Password: "other"}).Manifest(context.Background(), "v1"); !errors.Is(err, imgerr.ErrUnauthorized) {
		t.Errorf("the pull's own credential must win: %v", err)
	}
}

func TestPassingFailuresAreRetried(t *testing.T) {
	for name, status := range map[string]int{"503": 503, "500": 500, "429": 429, "408": 408} {
		f := newFake(t, false)
		var n atomic.Int32
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v2/" && n.Add(1) < 4 {
				w.WriteHeader(status)
				return true
			}
			return false
		}
		if _, err := session(t, newClient(t), f.host, Auth{}).Manifest(context.Background(), "v1"); err != nil {
			t.Errorf("%s three times: %v", name, err)
		}
	}
	for status, kind := range map[int]error{404: imgerr.ErrNotFound, 403: imgerr.ErrUnauthorized, 400: imgerr.ErrUnavailable, 503: imgerr.ErrUnavailable} {
		f := newFake(t, false)
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" {
				return false
			}
			w.WriteHeader(status)
			return true
		}
		_, err := session(t, newClient(t), f.host, Auth{}).Manifest(context.Background(), "v1")
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), f.host) {
			t.Errorf("%d: %v, want %v that names the host", status, err, kind)
		}
		if got := strings.HasPrefix(err.Error(), "RegistryUnavailable: "); got != (kind == imgerr.ErrUnavailable) {
			t.Errorf("%d: text %q", status, err)
		}
	}
}

func TestARegistryThatIsDown(t *testing.T) {
	f := newFake(t, false)
	f.Close()
	_, err := session(t, newClient(t), f.host, Auth{}).Manifest(context.Background(), "v1")
	if !errors.Is(err, imgerr.ErrUnavailable) || !strings.HasPrefix(err.Error(), "RegistryUnavailable: registry https://"+f.host) {
		t.Errorf("error = %v", err)
	}
}

func TestBrokenDownloadsAreResumed(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		f := newFake(t, false)
		var sent atomic.Int64
		f.serve = func(w http.ResponseWriter, r *http.Request) {
			off, last := 0, 0
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &off, &last); err == nil && ranges {
				if last != len(f.blob)-1 {
					t.Errorf("asked for a range to %d, want %d", last, len(f.blob)-1)
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, len(f.blob)-1, len(f.blob)))
				w.Header().Set("Content-Length", fmt.Sprint(len(f.blob)-off))
				w.WriteHeader(206)
			} else if ranges && r.Header.Get("Range") != "" { // as some do that want to be told where a range ends
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			} else {
				off = 0
				w.Header().Set("Content-Length", fmt.Sprint(len(f.blob)))
			}
			// Each connection gets a little further before it breaks.
			end := min(len(f.blob), int(sent.Add(100_000)))
			if off < end {
				w.Write(f.blob[off:end])
			}
		}
		s := session(t, newClient(t), f.host, Auth{})
		data, err := readBlob(context.Background(), s, digest(f.blob), int64(len(f.blob)))
		if err != nil || !bytes.Equal(data, f.blob) {
			t.Errorf("ranges %v: %d bytes, %v", ranges, len(data), err)
		}
	}
}

func TestAStalledDownloadIsResumed(t *testing.T) {
	f := newFake(t, false)
	var n atomic.Int32
	release := make(chan struct{})
	defer close(release)
	f.serve = func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Write(f.blob[:1000])
			w.(http.Flusher).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.blob))
	}
	data, err := readBlob(context.Background(), session(t, newClient(t), f.host, Auth{}), digest(f.blob), int64(len(f.blob)))
	if err != nil || !bytes.Equal(data, f.blob) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestLiesAboutContentAreFound(t *testing.T) {
	f := newFake(t, false)
	good := digest(f.blob)
	size := int64(len(f.blob))
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request){
		"other content": func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("x"), int(size))) },
		"truncated":     func(w http.ResponseWriter, _ *http.Request) { w.Write(f.blob[:size/2]) },
		"empty":         func(http.ResponseWriter, *http.Request) {},
		"too long":      func(w http.ResponseWriter, _ *http.Request) { w.Write(f.blob); w.Write([]byte("tail")) },
	} {
		f.mu.Lock()
		f.serve = serve
		f.mu.Unlock()
		s := session(t, newClient(t), f.host, Auth{})
		_, err := readBlob(context.Background(), s, good, size)
		if !errors.Is(err, imgerr.ErrDigestMismatch) || !strings.Contains(err.Error(), f.host) {
			t.Errorf("%s: %v, want ErrDigestMismatch that names the host", name, err)
		}
		if s.HasOther(good) {
			t.Errorf("%s: the only host lied and would be asked again", name)
		}
	}
	s := session(t, newClient(t), f.host, Auth{})
	if _, err := s.Manifest(context.Background(), good); !errors.Is(err, imgerr.ErrDigestMismatch) {
		t.Errorf("manifest by another digest: %v", err)
	}
	f.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Docker-Content-Digest", good)
		return false
	}
	if _, err := s.Manifest(context.Background(), "v1"); !errors.Is(err, imgerr.ErrDigestMismatch) {
		t.Errorf("manifest with a false header: %v", err)
	}
}

func TestAHugeManifestIsRefused(t *testing.T) {
	f := newFake(t, false)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		for range 100 {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
				break
			}
		}
		return true
	}
	if _, err := session(t, newClient(t), f.host, Auth{}).Manifest(context.Background(), "v1"); !errors.Is(err, imgerr.ErrLimit) {
		t.Errorf("error = %v, want ErrLimit", err)
	}
}

func TestRedirectsDoNotCarryCredentials(t *testing.T) {
	store := newFake(t, false)
	f := newFake(t, false)
	f.serve = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, store.URL+"/v2/store/blobs/x?signature=topsecret", http.StatusTemporaryRedirect)
	}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if _, _, ok := r.BasicAuth(); ok {
			return false
		}
		w.Header().Set("WWW-Authenticate", "Basic realm=x")
		w.WriteHeader(401)
		return true
	}
	auth := Auth{Username: "u", Password: "hunter22"}
	data, err := readBlob(context.Background(), session(t, newClient(t), f.host, auth), digest(f.blob), int64(len(f.blob)))
	if err != nil || !bytes.Equal(data, f.blob) {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	for _, r := range store.seen() {
		if r.Header.Get("Authorization") != "" {
			t.Error("the credential followed a redirect")
		}
	}
	store.Close()
	_, err = readBlob(context.Background(), session(t, newClient(t), f.host, auth), digest(f.blob), int64(len(f.blob)))
	if !errors.Is(err, imgerr.ErrUnavailable) || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("error = %v, want one without the signature of the redirect", err)
	}
}

func TestCancellationEndsADownloadAtOnce(t *testing.T) {
	f := newFake(t, false)
	release := make(chan struct{})
	defer close(release)
	f.serve = func(w http.ResponseWriter, r *http.Request) {
		w.Write(f.blob[:10])
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	c := newClient(t)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	_, err := readBlob(ctx, session(t, c, f.host, Auth{}), digest(f.blob), int64(len(f.blob)))
	if !errors.Is(err, context.Canceled) || time.Since(begin) > time.Second {
		t.Errorf("error = %v after %s", err, time.Since(begin))
	}
	if !c.downloads.TryAcquire(2) {
		t.Error("a place under the download limit was lost")
	}
}
