package signature

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/imageservice/registry"
	verifyv1 "github.com/cri-wasmer/cri-wasmer/proto/verify/v1"
)

// The test binary is its own fake verifier, a copy of which is named for what
// it does. The real one is tested with the daemon.
func TestMain(m *testing.M) {
	if verdict, ok := strings.CutPrefix(filepath.Base(os.Args[0]), "verify-"); ok {
		fakeVerify(verdict)
		return
	}
	os.Exit(m.Run())
}

func fakeVerify(how string) {
	var req verifyv1.Request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	resp := verifyv1.Response{Version: verifyv1.Version}
	switch how {
	case "accepts":
		resp.Accepted, resp.By = true, fmt.Sprintf("%s, %d signatures", req.Demand.Cosign.Keys[0].Name, len(req.Signatures))
	case "lingers": // another process holds its output open
		child := exec.Command("/bin/sleep", "3")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		resp.Accepted, resp.By = true, "k.pub, 1 signatures"
	case "refuses":
		resp.Reasons = []string{"it is forged"}
	case "complains":
		resp.Error = "the key is no key"
	case "fails":
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(2)
	case "hangs":
		time.Sleep(time.Minute)
	case "old":
		resp.Version = 99
	case "babbles":
		fmt.Println("hello")
		return
	}
	json.NewEncoder(os.Stdout).Encode(resp)
}

// program makes a verifier that does what is said.
func program(t *testing.T, how string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "verify") // open to nobody, as the verifier runs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "verify-"+how)
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

const publicKey = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"

func policyFile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	writeKeys(t, dir)
	file := filepath.Join(dir, "policy.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// writeKeys puts files into a directory that policies name.
func writeKeys(t testing.TB, dir string) {
	t.Helper()
	for name, data := range map[string]string{
		"k.pub": publicKey, "empty.pub": "", "ca.pem": strings.ReplaceAll(publicKey, "PUBLIC KEY", "CERTIFICATE"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheLongestPrefixOfWholeElementsDecides(t *testing.T) {
	p, err := Load(policyFile(t, `
rule = [
  { prefix = "*", require = "none" },
  { prefix = "r.example.com", require = "reject" },
  { prefix = "r.example.com/team/", require = "cosign", keys = ["k.pub"] },
  { prefix = "r.example.com/team/free", require = "none" },
  { prefix = "r.example.com/notary", require = "notation", authorities = ["ca.pem"], level = "permissive" },
]`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"docker.io/library/busybox": "", "r.example.com/x": Reject, "r.example.com/team": Cosign, "r.example.com/team/app": Cosign,
		"r.example.com/teams/app": Reject, "r.example.com/team/free": "", "r.example.com/team/free/x": "", "r.example.com/team/freedom": Cosign,
		"r.example.community/x": "", "r.example.com:5000/x": "", "r.example.com/notary/x": Notation,
	} {
		got := ""
		if r := p.For(name); r != nil {
			got = r.Require
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestAWrongPolicyIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		`x = 1`: "unknown key",
		`rule = [{ prefix = "*", require = "maybe" }]`:                                              "want one of none, reject, cosign, notation",
		`rule = [{ prefix = "*", require = "cosign" }]`:                                             "cosign needs keys",
		`rule = [{ prefix = "*", require = "cosign", keys = ["k.pub"], level = "strict" }]`:         "notation's",
		`rule = [{ prefix = "*", require = "cosign", keys = ["missing.pub"] }]`:                     "missing.pub",
		`rule = [{ prefix = "*", require = "cosign", keys = ["empty.pub"] }]`:                       "no public key",
		`rule = [{ prefix = "*", require = "cosign", keys = ["k.pub"], log_keys = ["ca.pem"] }]`:    "no public key",
		`rule = [{ prefix = "*", require = "notation" }]`:                                           "needs authorities",
		`rule = [{ prefix = "*", require = "notation", authorities = ["ca.pem"], level = "skip" }]`: "want one of strict",
		`rule = [{ prefix = "*", require = "reject", keys = ["k.pub"] }]`:                           "needs no keys",
		`rule = [{ prefix = "a.b", require = "none" }, { prefix = "a.b/", require = "reject" }]`:    "second one",
		`rule = [{ require = "none" }]`:                                                             "is empty",
		`rule = [{ prefix = "/", require = "none" }]`:                                               "is empty",
		`rule = [{ prefix = "team/app", require = "reject" }]`:                                      "does not begin with a registry",
		`rule = [{ prefix = "https://a.b/c", require = "reject" }]`:                                 "covers nothing",
		`rule = [{ prefix = "index.docker.io/library", require = "reject" }]`:                       "docker.io",
		`rule = [{ prefix = "docker.io/library/busybox:1", require = "reject" }]`:                   "tag or digest",
		`rule = [{ prefix = "a.b/c@sha256:00", require = "reject" }]`:                               "tag or digest",
		`rule = [{ prefix = "a.b/*", require = "reject" }]`:                                         "whole elements",
		`rule = [{ prefix = "a.b/C", require = "reject" }]`:                                         "lower case",
		`rule = [`: "policy.toml",
	} {
		if _, err := Load(policyFile(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

// repository is a Source in memory.
type repository struct {
	manifests map[string]string
	blobs     map[string]string
	referrers string
	err       error
}

func (r *repository) Manifest(_ context.Context, target string) (*registry.Manifest, error) {
	m, ok := r.manifests[target]
	if !ok {
		return nil, cmpErr(r.err)
	}
	return &registry.Manifest{Data: []byte(m)}, nil
}

func cmpErr(err error) error {
	if err != nil {
		return err
	}
	return &imgerr.Error{Kind: imgerr.ErrNotFound}
}

func (r *repository) Blob(_ context.Context, digest string, _ int64) (io.ReadCloser, error) {
	b, ok := r.blobs[digest]
	if !ok {
		return nil, cmpErr(r.err)
	}
	return io.NopCloser(strings.NewReader(b)), nil
}

func (r *repository) Referrers(context.Context, string) (*registry.Manifest, error) {
	if r.referrers == "" {
		return nil, nil
	}
	return &registry.Manifest{Data: []byte(r.referrers)}, nil
}

var (
	hexA   = strings.Repeat("a", 64)
	hexB   = strings.Repeat("b", 64)
	target = verifyv1.Target{MediaType: registry.TypeOCIManifest, Digest: "sha256:" + hexA, Size: 2}
)

func layer(mediaType, digest string, size int) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%s","size":%d}`, mediaType, digest, size)
}

func manifest(layers ...string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`, layer(typeConfig, hexB, 2), strings.Join(layers, ","))
}

func signed() *repository {
	return &repository{
		manifests: map[string]string{"sha256-" + hexA + ".sig": manifest(layer(typeSimple, hexB, 4), layer(typeSimple, hexA, maxPayload+1), layer("text/plain", hexA, 4))},
		blobs:     map[string]string{"sha256:" + hexB: "data"},
	}
}

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		how  string
		src  *repository
		kind error
		text string
	}{
		{"accepts", signed(), nil, ""},
		{"lingers", signed(), nil, ""},
		{"refuses", signed(), imgerr.ErrSignature, "it is forged"},
		{"complains", signed(), imgerr.ErrSignature, "the key is no key"},
		{"fails", signed(), imgerr.ErrSignature, "out of luck"},
		{"hangs", signed(), imgerr.ErrSignature, "no verdict"},
		{"old", signed(), imgerr.ErrSignature, "speaks version 99"},
		{"babbles", signed(), imgerr.ErrSignature, "does not parse"},
		{"accepts", &repository{}, imgerr.ErrSignature, "has none"},
		{"accepts", &repository{manifests: map[string]string{"sha256-" + hexA + ".sig": "no manifest"}}, imgerr.ErrSignature, "has none"},
		{"accepts", &repository{err: &imgerr.Error{Kind: imgerr.ErrUnavailable, Text: "down"}}, imgerr.ErrUnavailable, "down"},
		{"accepts", &repository{referrers: "no index"}, imgerr.ErrMalformed, "referrers"},
		{"accepts", &repository{manifests: map[string]string{"sha256-" + hexA + ".sig": manifest(many(maxSignatures + 1)...)}, blobs: map[string]string{"sha256:" + hexB: "x"}}, imgerr.ErrSignature, "more than"},
	} {
		file := policyFile(t, `rule = [{ prefix = "r.example.com", require = "cosign", keys = ["k.pub"] }]`)
		timeout := 20 * time.Second
		if tc.how == "hangs" {
			timeout = 200 * time.Millisecond
		}
		v, err := New(Config{Policy: file, Program: program(t, tc.how), Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		verdict, err := v.Check(context.Background(), tc.src, "r.example.com/app", target)
		if tc.kind == nil {
			if err != nil || verdict == nil || verdict.Digest != target.Digest || !strings.HasSuffix(verdict.By, "k.pub, 1 signatures") {
				t.Errorf("%s: %+v, %v", tc.how, verdict, err)
			}
			continue
		}
		if verdict != nil || !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %+v, %v, want an error of kind %v with %q", tc.how, verdict, err, tc.kind, tc.text)
		}
	}
}

func many(n int) []string {
	var list []string
	for range n {
		list = append(list, layer(typeSimple, hexB, 4))
	}
	return list
}

func TestThePolicyIsReadForEachCheck(t *testing.T) {
	file := policyFile(t, "")
	v, err := New(Config{Policy: file, Program: program(t, "accepts")})
	if err != nil {
		t.Fatal(err)
	}
	check := func() error {
		_, err := v.Check(context.Background(), &repository{}, "r.example.com/app", target)
		return err
	}
	if err := check(); err != nil {
		t.Errorf("without a rule: %v", err)
	}
	os.WriteFile(file, []byte(`rule = [{ prefix = "*", require = "reject" }]`), 0o644)
	if err := check(); !errors.Is(err, imgerr.ErrSignature) {
		t.Errorf("with a rule that rejects: %v", err)
	}
	os.WriteFile(file, []byte(`rule = [`), 0o644)
	if err := check(); !errors.Is(err, imgerr.ErrSignature) {
		t.Errorf("with a policy that does not parse: %v", err)
	}
	os.Remove(file)
	if err := check(); !errors.Is(err, imgerr.ErrSignature) {
		t.Errorf("without the file: %v", err)
	}
}

func TestNewWantsPolicyAndProgram(t *testing.T) {
	if v, err := New(Config{}); v != nil || err != nil {
		t.Errorf("without a policy: %v, %v", v, err)
	}
	if _, err := New(Config{Policy: "/missing.toml", Program: "/bin/true"}); err == nil {
		t.Error("a missing policy is accepted")
	}
	if _, err := New(Config{Policy: policyFile(t, ""), Program: "/missing"}); err == nil {
		t.Error("a missing program is accepted")
	}
}

func TestReferrersAreFoundByType(t *testing.T) {
	child := func(digest, artifactType string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%s","size":2,"artifactType":%q}`, registry.TypeOCIManifest, digest, artifactType)
	}
	index := func(children ...string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, strings.Join(children, ","))
	}
	notary := `{"schemaVersion":2,"artifactType":"` + typeNotation + `",` + manifest(layer("application/jose+json", hexB, 4))[len(`{"schemaVersion":2,`):]
	src := &repository{
		referrers: index(child(hexA, typeNotation), child(hexB, typeBundle+".v0.3+json"), child(strings.Repeat("c", 64), "text/plain")),
		manifests: map[string]string{"sha256:" + hexA: notary, "sha256:" + hexB: manifest(layer(typeBundle+".v0.3+json", hexB, 4))},
		blobs:     map[string]string{"sha256:" + hexB: "data"},
	}
	for require, want := range map[string]string{Cosign: verifyv1.KindBundle, Notation: verifyv1.KindNotation} {
		found, err := gather(context.Background(), src, require, target.Digest)
		if err != nil || len(found) != 1 || found[0].Kind != want || !bytes.Equal(found[0].Payload, []byte("data")) {
			t.Errorf("%s: %+v, %v", require, found, err)
		}
	}
}

// FuzzPolicy: whatever a policy file holds ends in a policy or an error.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`rule = [{ prefix = "*", require = "reject" }]`), "registry.example.com/team/app")
	f.Add([]byte("[[rule]]\nprefix = \"a.b/c\"\nrequire = \"cosign\"\nkeys = [\"k.pub\"]\nlog_keys = [\"k.pub\"]\n"), "a.b/c/d")
	f.Add([]byte("[[rule]]\nprefix = \"a.b\"\nrequire = \"notation\"\nauthorities = [\"ca.pem\"]\nidentities = [\"x\"]\nlevel = \"audit\"\n"), "a.b")
	f.Add([]byte(`rule = [{ prefix = "a.b/", require = "none" }, { prefix = "a.b/c", require = "reject" }]`), "a.b/d")
	dir := f.TempDir()
	writeKeys(f, dir)
	f.Fuzz(func(t *testing.T, data []byte, repository string) {
		p, err := parse(data, filepath.Join(dir, "policy.toml"))
		if err != nil {
			return
		}
		best := -1
		for _, r := range p.Rules {
			if r.Prefix == "*" || repository == r.Prefix || strings.HasPrefix(repository, r.Prefix+"/") {
				best = max(best, len(r.Prefix))
			}
			if (r.demand.Cosign != nil) != (r.Require == Cosign) || (r.demand.Notation != nil) != (r.Require == Notation) {
				t.Fatalf("%+v wants something else than it says", r)
			}
			if c := r.demand.Cosign; c != nil && (len(c.Keys) == 0 || len(c.LogKeys) != len(r.LogKeys)) {
				t.Fatalf("%+v lacks keys", r)
			}
			if n := r.demand.Notation; n != nil && (len(n.Authorities) == 0 || len(n.Identities) == 0 || n.Level == "") {
				t.Fatalf("%+v lacks authorities or identities", r)
			}
		}
		r := p.For(repository)
		if r != nil && (r.Require == Accept || len(r.Prefix) != best) {
			t.Fatalf("%+v decides about %q, where a rule has a prefix of %d", r, repository, best)
		}
		if r == nil && best >= 0 && !slices.ContainsFunc(p.Rules, func(r *Rule) bool {
			return r.Require == Accept && len(r.Prefix) == best
		}) {
			t.Fatalf("no rule decides about %q", repository)
		}
	})
}
