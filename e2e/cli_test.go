package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// cliResult is what one run of the command line gave.
type cliResult struct {
	out, errs string
	code      int
}

// cli runs a command of the tested binary against the node.
func (n *node) cli(t testing.TB, stdin string, args ...string) cliResult {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built.Server(), append(args, "--socket", n.Socket())...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir(), "CRI_WASMER_CONFIG=")
	err := cmd.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatalf("%v: %v", args, err)
	}
	return cliResult{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// mustCLI wants success and gives the output.
func (n *node) mustCLI(t testing.TB, args ...string) string {
	t.Helper()
	r := n.cli(t, "", args...)
	if r.code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, r.code, r.errs)
	}
	return r.out
}

func wantText(t testing.TB, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}

func TestImagesWithoutCrictl(t *testing.T) {
	n := sharedNode(t)
	module := append(guest(t, "hello-c"), customSection(n.unique("cli"))...)
	ref := n.push(t, "cli/hello", images.CNCF(module))
	pulled := n.cli(t, "", "pull", ref)
	if pulled.code != 0 || pulled.out != n.image(t, ref).GetId()+"\n" {
		t.Fatalf("pull prints %q, ends with %d: %s", pulled.out, pulled.code, pulled.errs)
	}
	wantText(t, "what pull tells", pulled.errs, "pulled "+ref, "CNCF Wasm artifact")
	id := strings.TrimSpace(pulled.out)

	wantText(t, "images", n.mustCLI(t, "images"), "REPOSITORY", n.ref("cli/hello")+" ", "cncf-wasm", "ready (cranelift)")
	if out := n.mustCLI(t, "images", "-q"); !strings.Contains(out, id+"\n") {
		t.Errorf("images -q lacks the id: %s", out)
	}
	text := n.mustCLI(t, "inspect", ref)
	wantText(t, "inspect", text, ref, id, "Platform    wasip1/wasm: the only image under this name", "wasi_snapshot_preview1",
		", all met", "cranelift: ready", "compiled in", "Exports", "_start", "Memory", "Runs here   yes")

	var e struct {
		Image    struct{ ID, Format string }
		Module   struct{ ABI string }
		Code     []struct{ Compiler, State string }
		WouldRun bool
	}
	must(t, json.Unmarshal([]byte(n.mustCLI(t, "inspect", id, "-o", "json")), &e))
	if e.Image.ID != id || e.Image.Format != "cncf-wasm" || !e.WouldRun || len(e.Code) != 1 || e.Code[0].State != "ready" {
		t.Errorf("inspect -o json: %+v", e)
	}

	p := n.hostPod(t)
	c := p.run(criclient.ContainerSpec{Image: ref})
	c.wait()
	refused := n.cli(t, "", "rmi", ref)
	if refused.code != 1 || n.image(t, ref) == nil {
		t.Errorf("rmi of an image in use ends with %d, the image is %v", refused.code, n.image(t, ref))
	}
	wantText(t, "rmi of an image in use", refused.errs, ref+" is in use by container "+c.id[:13], "exited", "--force")
	must(t, n.Client.Remove(t.Context(), c.id))
	wantText(t, "rmi", n.mustCLI(t, "rmi", ref), "untagged "+ref, "removed "+id)
	gone := n.cli(t, "", "rmi", ref)
	if gone.code != 1 {
		t.Errorf("rmi of what is not there ends with %d", gone.code)
	}
	wantText(t, "rmi of what is not there", gone.errs, ref, "no such image")
	wantText(t, "inspect of what is not there", n.cli(t, "", "inspect", ref).errs, "is not on this node", "cri-wasmer pull")
}

func TestForcedRemovalNamesWhoKeepsTheContent(t *testing.T) {
	n := sharedNode(t)
	a := freshImage(t, n)
	ref := n.pull(t, "cli/forced", a)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: ref})
	c.wait()
	wantText(t, "rmi --force", n.mustCLI(t, "rmi", "--force", ref), "untagged "+ref, "stays for container "+c.id[:13])
	if n.image(t, ref) != nil {
		t.Error("the image is still there")
	}
	must(t, n.Client.Remove(t.Context(), c.id))
}

func TestUnusedImagesAreRemoved(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	unused, used := n.pull(t, "unused", freshImage(t, n)), n.pull(t, "used", images.Krustlet(guest(t, "hello-c")))
	n.hostPod(t).run(criclient.ContainerSpec{Image: used}).wait()
	wantText(t, "rmi --unused", n.mustCLI(t, "rmi", "--unused"), "untagged "+unused)
	if n.image(t, unused) != nil || n.image(t, used) == nil {
		t.Errorf("left are %v and %v", n.image(t, unused), n.image(t, used))
	}
}

func TestPullTellsWhatDoesNotRun(t *testing.T) {
	n := sharedNode(t)
	ref := n.push(t, "cli/native", images.Program([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00")).Artifact())
	r := n.cli(t, "", "pull", ref)
	if r.code != 0 {
		t.Errorf("exit code %d", r.code)
	}
	wantText(t, "pull", r.errs, "it does not run here", "native ELF binary (x86-64)")
	wantText(t, "images", n.mustCLI(t, "images"), "does not run here")
	wantText(t, "inspect", n.mustCLI(t, "inspect", ref), "Runs here   no: entrypoint /app.wasm is a native ELF binary")
	wantText(t, "pull of nothing", n.cli(t, "", "pull", n.ref("cli/nothing:v1")).errs, "cli/nothing:v1", "404")
	n.removeImage(t, ref)
}

func TestPullTakesCredentials(t *testing.T) {
	n := sharedNode(t)
	ref := n.push(t, "cli/private", freshImage(t, n))
	n.registry.SetFault(images.BasicAuth("robot", "s3cret"))
	defer n.registry.SetFault(nil)
	if r := n.cli(t, "", "pull", ref); r.code != 1 {
		t.Errorf("pull without credentials ends with %d", r.code)
	}
	docker := filepath.Join(t.TempDir(), "docker.json")
	auth := fmt.Sprintf(`{"auths":{%q:{"auth":"cm9ib3Q6czNjcmV0"}}}`, n.registry.Host())
	must(t, os.WriteFile(docker, []byte(auth), 0o600))
	for _, tc := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"--creds", "robot:s3cret"}},
		{"s3cret\n", []string{"--creds", "robot"}},
		{"", []string{"--docker-config", docker}},
	} {
		r := n.cli(t, tc.stdin, append([]string{"pull", ref}, tc.args...)...)
		if r.code != 0 {
			t.Errorf("%v: %s", tc.args, r.errs)
		}
		n.removeImage(t, ref)
	}
}

// half sends half of each blob above 100 kB, and the rest when it is told to.
func half(goOn <-chan struct{}) images.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		for key, values := range answer.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(answer.Code)
		if len(body) < 100_000 {
			_, _ = w.Write(body)
			return
		}
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		_, _ = w.Write(body[len(body)/2:])
	}
}

func TestProgressOfAPullIsSeen(t *testing.T) {
	n := sharedNode(t)
	module := append(guest(t, "hello-go"), customSection(n.unique("progress"))...)
	ref := n.push(t, "cli/progress", images.Krustlet(module))
	goOn := make(chan struct{})
	n.registry.SetFault(half(goOn))
	defer n.registry.SetFault(nil)

	told := filepath.Join(t.TempDir(), "told")
	stderr, err := os.Create(told)
	must(t, err)
	defer stderr.Close()
	cmd := exec.CommandContext(t.Context(), built.Server(), "pull", ref, "--socket", n.Socket())
	cmd.Stderr = stderr
	must(t, cmd.Start())
	var pulls []struct {
		Ref, Phase string
		Content    []struct {
			Digest, State string
			Size, Done    int64
		}
	}
	eventually(t, "the module's download in the status", func() bool {
		r, err := n.Client.Images.ImageStatus(t.Context(), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}, Verbose: true})
		must(t, err)
		if r.Info["pull"] == "" {
			return false
		}
		must(t, json.Unmarshal([]byte(r.Info["pull"]), &pulls))
		return len(pulls) == 1 && len(pulls[0].Content) == 2 && pulls[0].Content[1].State == "downloading"
	})
	if pulls[0].Ref != ref || pulls[0].Phase != "downloading" {
		t.Errorf("progress is %+v", pulls)
	}
	if c := pulls[0].Content[1]; c.Size != int64(len(module)) || c.Digest != images.Digest(module) || c.Done > c.Size {
		t.Errorf("the module is shown as %+v, it has %d bytes", c, len(module))
	}
	wantText(t, "inspect meanwhile", n.cli(t, "", "inspect", ref).errs, "is being pulled (downloading)")
	line := "downloading " + strings.TrimPrefix(images.Digest(module), "sha256:")[:13]
	tells := func() string {
		text, err := os.ReadFile(told)
		must(t, err)
		return string(text)
	}
	eventually(t, "a line about the download", func() bool { return strings.Contains(tells(), line) })
	close(goOn)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("pull: %v: %s", err, tells())
	}
	wantText(t, "what pull tells", tells(), "pulled "+ref)
	n.removeImage(t, ref)
}
