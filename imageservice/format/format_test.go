package format

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

var dig = "sha256:" + strings.Repeat("a", 64)

func layersJSON(n int) string {
	one := fmt.Sprintf(`{"mediaType":"x","digest":"%s","size":1}`, dig)
	return "[" + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + "]"
}

func TestParseRefusesWhatIsNoManifest(t *testing.T) {
	cfg := fmt.Sprintf(`"config":{"mediaType":"c","digest":"%s","size":2}`, dig)
	for name, tc := range map[string]struct {
		in   string
		kind error
	}{
		"no JSON":          {"<html>", imgerr.ErrMalformed},
		"empty":            {"", imgerr.ErrMalformed},
		"nothing in it":    {"{}", imgerr.ErrMalformed},
		"schema 1":         {`{"schemaVersion":1,"fsLayers":[]}`, imgerr.ErrUnsupported},
		"both at once":     {`{"manifests":[],"layers":[],` + cfg + `}`, imgerr.ErrMalformed},
		"layers alone":     {`{"layers":` + layersJSON(1) + `}`, imgerr.ErrMalformed},
		"config no digest": {`{"config":{"digest":"sha256:abc"},"layers":[]}`, imgerr.ErrMalformed},
		"other algorithm":  {`{"config":{"digest":"md5:` + strings.Repeat("a", 64) + `"},"layers":[]}`, imgerr.ErrMalformed},
		"path as digest":   {`{` + cfg + `,"layers":[{"digest":"sha256:../../x"}]}`, imgerr.ErrMalformed},
		"negative size":    {`{` + cfg + `,"layers":[{"digest":"` + dig + `","size":-1}]}`, imgerr.ErrMalformed},
		"10,000 layers":    {`{` + cfg + `,"layers":` + layersJSON(10_000) + `}`, imgerr.ErrLimit},
		"5,000 children":   {`{"manifests":` + layersJSON(5000) + `}`, imgerr.ErrLimit},
		"bad child":        {`{"manifests":[{"digest":"x"}]}`, imgerr.ErrMalformed},
	} {
		if d, err := Parse("", []byte(tc.in)); !errors.Is(err, tc.kind) {
			t.Errorf("%s: %+v, %v, want %v", name, d, err, tc.kind)
		}
	}
	if d, err := Parse("application/x", []byte(`{`+cfg+`}`)); err != nil || d.MediaType != "application/x" || d.Index {
		t.Errorf("manifest without media type and layers: %+v, %v", d, err)
	}
}

func child(os, arch string, annotations ...string) Descriptor {
	d := Descriptor{Digest: "sha256:" + strings.Repeat("0", 40) + fmt.Sprintf("%-24s", os+arch), Platform: &Platform{OS: os, Architecture: arch}}
	for i := 0; i+1 < len(annotations); i += 2 {
		d.Annotations = map[string]string{annotations[i]: annotations[i+1]}
	}
	return d
}

func TestChoosePrefersWasm(t *testing.T) {
	attestation := child("unknown", "unknown", "vnd.docker.reference.type", "attestation-manifest")
	for _, tc := range []struct {
		name     string
		children []Descriptor
		want     int // negative: none
	}{
		{"only child of any platform", []Descriptor{child("windows", "arm")}, 0},
		{"only child besides attestations", []Descriptor{attestation, child("solaris", "sparc"), child("Unknown", "Unknown")}, 1},
		{"wasi before host", []Descriptor{child("linux", "amd64"), child("wasi", "wasm")}, 1},
		{"wasi before wasip1", []Descriptor{child("wasip1", "wasm"), child("wasi", "wasm")}, 1},
		{"wasip1 before wasm32", []Descriptor{child("wasi", "wasm32"), child("wasip1", "wasm")}, 1},
		{"a module before a component", []Descriptor{child("wasip2", "wasm"), child("wasip1", "wasm")}, 1},
		{"a component before a native image", []Descriptor{child("linux", "amd64"), child("wasip2", "wasm")}, 1},
		{"linux/wasm before host", []Descriptor{child("linux", "amd64"), child("linux", "wasm")}, 1},
		{"case does not matter", []Descriptor{child("linux", "amd64"), child("Wasip1", "WASM")}, 1},
		{"host when there is no wasm", []Descriptor{child("linux", "s390x"), child("linux", "amd64")}, 1},
		{"js never", []Descriptor{child("js", "wasm"), child("linux", "amd64")}, 1},
		{"no platform at all", []Descriptor{child("linux", "s390x"), {Digest: dig}}, 1},
		{"first of equals", []Descriptor{child("wasi", "wasm"), child("WASI", "wasm")}, 0},
		{"nothing fits", []Descriptor{child("js", "wasm"), child("linux", "s390x")}, -1},
		{"attestations only", []Descriptor{attestation}, -1},
		{"empty", nil, -1},
	} {
		got, why, err := Choose(&Document{Index: true, Children: tc.children}, "amd64")
		if tc.want < 0 {
			if !errors.Is(err, imgerr.ErrUnsupported) {
				t.Errorf("%s: %v, %v, want ErrUnsupported", tc.name, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tc.children[tc.want]) || why == "" {
			t.Errorf("%s: %+v, %q, %v, want child %d", tc.name, got, why, err, tc.want)
		}
	}
}

func TestClassifyKnowsEveryFormat(t *testing.T) {
	const oci, tgz = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"
	for _, tc := range []struct {
		name, config string
		layers       []string
		kind         Kind
		entry        int
		problem      bool
	}{
		{"rootfs", oci, []string{tgz, "application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.gzip"}, Rootfs, -1, false},
		{"docker foreign layer", "application/vnd.docker.container.image.v1+json", []string{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}, Rootfs, -1, false},
		{"cncf", "application/vnd.wasm.config.v0+json", []string{"application/wasm"}, CNCF, 0, false},
		{"cncf with any config", oci, []string{"application/wasm"}, CNCF, 0, false},
		{"cncf with two layers", "application/vnd.wasm.config.v0+json", []string{"application/wasm", "application/wasm"}, CNCF, -1, true},
		{"wasm-to-oci", "application/vnd.wasm.config.v1+json", []string{"application/vnd.wasm.content.layer.v1+wasm"}, WasmToOCI, 0, false},
		{"krustlet", "application/vnd.docker.container.image.v1+json", []string{"application/vnd.wasm.content.layer.v1+wasm"}, Krustlet, 0, false},
		{"krustlet with data first", oci, []string{"application/vnd.wasm.content.layer.v1+data", "application/vnd.wasm.content.layer.v1+wasm"}, Krustlet, 1, false},
		{"runwasi", oci, []string{"application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"}, Runwasi, 0, false},
		{"wasmcloud", "application/vnd.wasmcloud.actor.archive.config", []string{"application/vnd.module.wasm.content.layer.v1+wasm"}, Module, 0, false},
		{"spin before its modules", oci, []string{"application/vnd.wasm.content.layer.v1+wasm", "application/vnd.fermyon.spin.application.v1+config"}, Spin, -1, true},
		{"unknown", oci, []string{"application/octet-stream"}, Unknown, -1, false},
		{"tar below an unknown config", "application/vnd.who.knows", []string{tgz}, Unknown, -1, false},
	} {
		d := &Document{Config: Descriptor{MediaType: tc.config}}
		for _, l := range tc.layers {
			d.Layers = append(d.Layers, Descriptor{MediaType: l})
		}
		s, err := Classify(d)
		if err != nil || s.Kind != tc.kind || s.Entry != tc.entry || (s.Problem != "") != tc.problem {
			t.Errorf("%s: %+v, %v, want %s with entry %d", tc.name, s, err, tc.kind, tc.entry)
		}
	}
	for what, d := range map[string]*Document{
		"Helm chart":  {Config: Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json"}},
		"signature":   {Layers: []Descriptor{{MediaType: "application/vnd.dev.cosign.simplesigning.v1+json"}}},
		"attestation": {ArtifactType: "application/vnd.in-toto+json"},
	} {
		if s, err := Classify(d); !errors.Is(err, imgerr.ErrUnsupported) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %+v, %v, want ErrUnsupported that says so", what, s, err)
		}
	}
}

func TestParseConfigTellsImagesFromOthers(t *testing.T) {
	full := `{"architecture":"wasm","os":"Wasip1","rootfs":{"type":"layers","diff_ids":["` + dig + `"]},
	 "config":{"Entrypoint":["/a"],"Cmd":["b"],"Env":["X=1"],"WorkingDir":"/w","User":"1003:1004","StopSignal":"SIGINT","Labels":{"l":"v"},"Volumes":{"/v":{}}}}`
	c, err := ParseConfig("application/vnd.oci.image.config.v1+json", []byte(full))
	want := Config{Platform: Platform{OS: "Wasip1", Architecture: "wasm"}, Entrypoint: []string{"/a"}, Cmd: []string{"b"}, Env: []string{"X=1"},
		WorkingDir: "/w", User: "1003:1004", StopSignal: "SIGINT", Labels: map[string]string{"l": "v"}, Volumes: []string{"/v"}, DiffIDs: []string{dig}, Image: true}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("config = %+v, %v", c, err)
	}
	for _, tc := range []struct {
		mediaType, in string
		image         bool
		kind          error
	}{
		{"application/vnd.docker.container.image.v1+json", "{}", false, nil},
		{"application/vnd.oci.image.config.v1+json", `{"config":null}`, false, nil},
		{"application/vnd.oci.image.config.v1+json", `{"rootfs":{}}`, true, nil},
		{"application/vnd.wasm.config.v1+json", "not json", false, nil},
		{"application/vnd.oci.image.config.v1+json", "not json", false, imgerr.ErrMalformed},
		{"application/vnd.oci.image.config.v1+json", `{"rootfs":{"diff_ids":["../x"]}}`, true, imgerr.ErrMalformed},
	} {
		c, err := ParseConfig(tc.mediaType, []byte(tc.in))
		if !errors.Is(err, tc.kind) || (err == nil && c.Image != tc.image) {
			t.Errorf("ParseConfig(%q) = %+v, %v", tc.in, c, err)
		}
	}
}

func TestIdentityFollowsTheCRI(t *testing.T) {
	for in, want := range map[string]string{"": "<nil> ", "1002": "1002 ", "1003:1004": "1003 ", "www-data": "<nil> www-data", "www-data:1004": "<nil> www-data", "0": "0 "} {
		uid, name := Identity(in)
		got := "<nil> " + name
		if uid != nil {
			got = fmt.Sprint(*uid, " ", name)
		}
		if got != want {
			t.Errorf("Identity(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestModuleNameIsHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"": "module.wasm", "hello.wasm": "hello.wasm", "target/wasm32-wasi/x.wasm": "x.wasm", "../../etc/passwd": "passwd", "..": "module.wasm",
		".": "module.wasm", "a/": "module.wasm", "a b\x00c.wasm": "abc.wasm", `C:\x\y.wasm`: "y.wasm", ".wh.x": "module.wasm", strings.Repeat("x", 200): "module.wasm",
	} {
		if got := ModuleName(in); got != want {
			t.Errorf("ModuleName(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("application/vnd.oci.image.index.v1+json", []byte(`{"manifests":`+layersJSON(2)+`}`))
	f.Add("", []byte(`{"schemaVersion":2,"config":{"digest":"`+dig+`"},"layers":`+layersJSON(3)+`}`))
	f.Add("", []byte(`{"rootfs":{"diff_ids":["`+dig+`"]},"config":{"Entrypoint":["x"]}}`))
	f.Fuzz(func(t *testing.T, mediaType string, data []byte) {
		_, _ = ParseConfig("application/vnd.oci.image.config.v1+json", data)
		d, err := Parse(mediaType, data)
		if err != nil {
			if imgerr.KindOf(err) == nil {
				t.Fatalf("error without a kind: %v", err)
			}
			return
		}
		if d.Index {
			_, _, _ = Choose(d, "amd64")
			return
		}
		s, err := Classify(d)
		if err == nil && s.Entry >= len(d.Layers) {
			t.Fatalf("entry %d of %d layers", s.Entry, len(d.Layers))
		}
		if _, err := json.Marshal(d); err != nil {
			t.Fatal(err)
		}
	})
}
