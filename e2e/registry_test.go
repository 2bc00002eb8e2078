package e2e

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// freshImage is an image that no test has pulled before.
func freshImage(t *testing.T, n *node) images.Artifact {
	t.Helper()
	image := images.Program(guest(t, "exit-c"))
	image.Layers[0][0].Data = append(image.Layers[0][0].Data, customSection(n.unique("fresh"))...)
	return image.Artifact()
}

// customSection is a section that says nothing to the engine, but makes the
// module a different one.
func customSection(name string) []byte {
	content := append([]byte{byte(len(name))}, name...)
	return append([]byte{0, byte(len(content))}, content...)
}

func TestRegistryFaults(t *testing.T) {
	n := sharedNode(t)
	for name, tc := range map[string]struct {
		fault images.Fault
		parts []string
	}{
		"down":               {images.Down, nil},
		"server error":       {images.Status(http.StatusInternalServerError), []string{"500"}},
		"too many requests":  {images.Status(http.StatusTooManyRequests), []string{"429"}},
		"forbidden":          {images.Status(http.StatusForbidden), []string{"403"}},
		"unauthorized":       {images.BasicAuth("user", "secret"), []string{"401"}},
		"blob server error":  {images.OnBlobs(images.Status(http.StatusBadGateway)), []string{"502"}},
		"truncated blob":     {images.OnBlobs(images.Truncate), nil},
		"wrong blob":         {images.OnBlobs(images.Lie), []string{"sha256"}},
		"truncated manifest": {images.OnManifests(images.Truncate), nil},
		"endless blob":       {images.OnBlobs(images.Endless), nil},
		"no manifest":        {images.OnManifests(images.Status(http.StatusNotFound)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := freshImage(t, n)
			ref := n.push(t, "faulty", a)
			before := files(t, n.Root())
			n.registry.SetFault(tc.fault)
			ctx, cancel := contextWithTimeout(t, patience)
			defer cancel()
			start := time.Now()
			_, err := n.Client.Pull(ctx, ref)
			n.registry.SetFault(nil)
			t.Logf("after %v: %v", time.Since(start).Round(time.Millisecond), err)
			wantError(t, "pull", err, append([]string{ref}, tc.parts...)...)
			if code := status.Code(err); code == codes.DeadlineExceeded || code == codes.Canceled {
				t.Errorf("the pull ended with the client's patience: %v", err)
			}
			if i := n.image(t, ref); i != nil {
				t.Errorf("the image is there: %v", i)
			}
			wantNoMoreFiles(t, n.Root(), before)
			if _, err := n.Client.Pull(t.Context(), ref); err != nil {
				t.Errorf("pull after the fault: %v", err)
			}
			n.removeImage(t, ref)
		})
	}
}

// A manifest that a tag gives cannot be checked against the tag; one that a
// digest gives can.
func TestManifestThatIsNotItsDigestIsRefused(t *testing.T) {
	n := sharedNode(t)
	a := freshImage(t, n)
	n.push(t, "lying", a)
	n.registry.SetFault(images.OnManifests(images.Lie))
	defer n.registry.SetFault(nil)
	_, err := n.Client.Pull(t.Context(), n.ref("lying")+"@"+a.Digest())
	wantError(t, "pull by digest", err, "sha256")
}

func TestPassingFaultIsNotSeen(t *testing.T) {
	n := sharedNode(t)
	for name, fault := range map[string]images.Fault{
		"service unavailable": images.Status(http.StatusServiceUnavailable),
		"truncated":           images.Truncate,
	} {
		ref := n.push(t, "passing", freshImage(t, n))
		n.registry.SetFault(images.OnBlobs(images.Times(1, fault)))
		if _, err := n.Client.Pull(t.Context(), ref); err != nil {
			t.Errorf("%s, once, ended the pull: %v", name, err)
		}
		n.registry.SetFault(nil)
	}
}

func TestPullEndsWithItsClient(t *testing.T) {
	n := sharedNode(t)
	ref := n.push(t, "slow", freshImage(t, n))
	before := files(t, n.Root())
	n.registry.SetFault(images.OnBlobs(images.Slow(time.Hour)))
	ctx, cancel := contextWithTimeout(t, 500*time.Millisecond)
	defer cancel()
	_, err := n.Client.Pull(ctx, ref)
	n.registry.SetFault(nil)
	wantCode(t, "pull that the client gave up", err, codes.DeadlineExceeded)
	wantNoMoreFiles(t, n.Root(), before)
	if _, err := n.Client.Pull(t.Context(), ref); err != nil {
		t.Errorf("pull after that: %v", err)
	}
}

func TestOnePullForManyClients(t *testing.T) {
	n := sharedNode(t)
	a := freshImage(t, n)
	ref := n.push(t, "together", a)
	n.registry.Requests()
	n.registry.SetFault(images.OnBlobs(images.Slow(100 * time.Millisecond)))
	defer n.registry.SetFault(nil)
	errs := make(chan error, 8)
	for range 8 {
		go func() {
			_, err := n.Client.Pull(t.Context(), ref)
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Errorf("pull: %v", err)
		}
	}
	count := 0
	for _, r := range n.registry.Requests() {
		if r == "GET /v2/together/blobs/"+a.Layers[0].Digest() {
			count++
		}
	}
	if count != 1 {
		t.Errorf("8 clients made %d requests for the layer, want 1", count)
	}
}

func TestCredentialsOfThePullRequest(t *testing.T) {
	n := sharedNode(t)
	ref := n.push(t, "private", freshImage(t, n))
	n.registry.SetFault(images.BasicAuth("user", "secret"))
	defer n.registry.SetFault(nil)
	encoded := base64.StdEncoding.EncodeToString([]byte("user:secret"))
	for name, tc := range map[string]struct {
		auth *runtime.AuthConfig
		ok   bool
	}{
		"none":              {nil, false},
		"wrong password":    {&runtime.AuthConfig{Username: "user", Password: "guess"}, false},
		"user and password": {&runtime.AuthConfig{Username: "user", Password: "secret"}, true},
		"encoded":           {&runtime.AuthConfig{Auth: encoded}, true},
	} {
		_, err := n.Client.Images.PullImage(t.Context(), &runtime.PullImageRequest{
			Image: &runtime.ImageSpec{Image: ref}, Auth: tc.auth,
		})
		if (err == nil) != tc.ok {
			t.Errorf("%s: got %v, want success %v", name, err, tc.ok)
		}
		if err != nil && strings.Contains(err.Error(), "guess") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
		n.removeImage(t, ref)
	}
}

func TestRegistryWithItsOwnCertificate(t *testing.T) {
	n := sharedNode(t)
	secure, err := images.NewTLSRegistry()
	must(t, err)
	defer secure.Close()
	_, err = secure.Push("app", "v1", freshImage(t, n))
	must(t, err)
	ref := secure.Host() + "/app:v1"
	_, err = n.Client.Pull(t.Context(), ref)
	wantError(t, "pull without the certificate", err, "certificate")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(ca, secure.CA(), 0o644))
	must(t, n.SetHosts(secure.Host(), fmt.Sprintf("server = %q\n[host.%q]\n  ca = %q\n", secure.URL(), secure.URL(), ca)))
	if _, err := n.Client.Pull(t.Context(), ref); err != nil {
		t.Errorf("pull with the certificate in hosts.toml: %v", err)
	}
}

// Nothing of a hostile archive lands outside, and no device is made inside.
func TestHostileLayers(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	outside := t.TempDir()
	up := strings.Repeat("../", 30)
	program := images.File{Name: "app.wasm", Data: guest(t, "exit-c")}
	for name, layers := range map[string][][]images.File{
		"dot dot":        {{program, {Name: up + outside[1:] + "/evil", Data: []byte("evil")}}},
		"dot dot dir":    {{program, {Name: "a/../../" + up + outside[1:] + "/evil", Data: []byte("evil")}}},
		"absolute":       {{program, {Name: outside + "/evil", Data: []byte("evil")}}},
		"symlink":        {{program, {Name: "out", Type: typeSymlink, Link: outside}, {Name: "out/evil", Data: []byte("evil")}}},
		"later layer":    {{program, {Name: "out", Type: typeSymlink, Link: outside}}, {{Name: "out/evil", Data: []byte("evil")}}},
		"hard link":      {{program, {Name: "evil", Type: typeHardLink, Link: up + "etc/passwd"}}},
		"device":         {{program, {Name: "dev/kmsg", Type: typeCharDev, Major: 1, Minor: 11}}},
		"whiteout of ..": {{program}, {{Name: up + outside[1:] + "/.wh.kept", Data: nil}}},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.WriteFile(filepath.Join(outside, "kept"), nil, 0o644))
			image := images.Rootfs{Layers: layers, Entrypoint: []string{"/app.wasm"}}
			ref := n.push(t, "hostile-layers", image.Artifact())
			id, err := n.Client.Pull(t.Context(), ref)
			t.Logf("pull: %v", err)
			if entries := files(t, outside); len(entries) != 2 || !entries[filepath.Join(outside, "kept")] {
				t.Errorf("outside of the image there is %v", entries)
			}
			wantNoDevices(t, n.Root())
			if err != nil {
				if i := n.image(t, ref); i != nil {
					t.Errorf("the refused image is there: %v", i)
				}
				return
			}
			c := p.run(criclient.ContainerSpec{Image: id})
			c.wantExit(c.wait(), 0, "Completed")
			must(t, n.Client.Remove(t.Context(), c.id))
			n.removeImage(t, ref)
		})
	}
}

// files are all paths below dir, dir included.
func files(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			all[path] = true
		}
		return nil // what goes away meanwhile is not there
	})
	must(t, err)
	return all
}

func wantNoMoreFiles(t *testing.T, dir string, before map[string]bool) {
	t.Helper()
	var more []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		more = nil
		for path := range files(t, dir) {
			if !before[path] {
				more = append(more, path)
			}
		}
		if len(more) == 0 {
			return
		}
	}
	t.Errorf("left behind: %q", sorted(more...))
}

// wantNoDevices looks for device nodes; overlay marks removed files by one with
// the number 0.
func wantNoDevices(t *testing.T, dir string) {
	t.Helper()
	for path := range files(t, dir) {
		info, err := os.Lstat(path)
		if err == nil && info.Mode()&fs.ModeDevice != 0 && deviceNumber(info) != 0 {
			t.Errorf("%s is a device", path)
		}
	}
}

func deviceNumber(info fs.FileInfo) uint64 {
	return info.Sys().(*syscall.Stat_t).Rdev
}
