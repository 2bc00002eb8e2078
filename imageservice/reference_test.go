package imageservice

import (
	"errors"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

func TestParseReferenceNormalises(t *testing.T) {
	d := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"busybox":                                 "docker.io/library/busybox:latest",
		"busybox:1.29":                            "docker.io/library/busybox:1.29",
		"team/app":                                "docker.io/team/app:latest",
		"docker.io/busybox":                       "docker.io/library/busybox:latest",
		"index.docker.io/library/x":               "docker.io/library/x:latest",
		"localhost/x":                             "localhost/x:latest",
		"127.0.0.1:5055/a/b:v1":                   "127.0.0.1:5055/a/b:v1",
		"[::1]:5000/x":                            "[::1]:5000/x:latest",
		"registry.k8s.io/pause:3.9":               "registry.k8s.io/pause:3.9",
		"gcr.io/a/b@" + d:                         "gcr.io/a/b@" + d,
		"gcr.io/a/b:tag@" + d:                     "gcr.io/a/b@" + d,
		"host:5000":                               "docker.io/library/host:5000",
		"a.b/c__d/e-f---g.h:T_a-g.1":              "a.b/c__d/e-f---g.h:T_a-g.1",
		"webassembly.azurecr.io/w:v1":             "webassembly.azurecr.io/w:v1",
		strings.Repeat("a", 63):                   "docker.io/library/" + strings.Repeat("a", 63) + ":latest",
		"Host.Example.com/x":                      "Host.Example.com/x:latest",
		"example.com/" + strings.Repeat("b", 200): "example.com/" + strings.Repeat("b", 200) + ":latest",
	} {
		if got, err := ParseReference(in); err != nil || got.String() != want {
			t.Errorf("ParseReference(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ":", "x:", "@", "UPPER", "a/UPPER", "a//b", "/a", "a/", "-a", "a_", "a@sha256:abc", "a@md5:" + strings.Repeat("a", 32), "a:b:c", "a b", "a\x00b",
		"a:" + strings.Repeat("t", 129), strings.Repeat("0", 64), "example.com/" + strings.Repeat("b", 300), "../../etc/passwd", "host:port/x", "a/../b", "x@" + d + "@" + d,
		"https://example.com/x",
	} {
		if got, err := ParseReference(in); !errors.Is(err, imgerr.ErrInvalidReference) {
			t.Errorf("ParseReference(%q) = %q, %v, want ErrInvalidReference", in, got, err)
		} else if len(err.Error()) > 600 || strings.ContainsRune(err.Error(), 0) {
			t.Errorf("ParseReference(%q): unprintable error %q", in, err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	f.Add("docker.io/library/x:y@sha256:" + strings.Repeat("a", 64))
	f.Add("[::1]:5000/x")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r {
			t.Fatalf("%q gives %q, which gives %q, %v", s, r, again, err)
		}
		if strings.Contains(r.Path, "..") || (r.Tag == "") == (r.Digest == "") {
			t.Fatalf("%q gives %+v", s, r)
		}
	})
}
