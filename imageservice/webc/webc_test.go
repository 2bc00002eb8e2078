package webc_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/imageservice/webc"
)

// sample is a package with two commands and two volumes.
func sample(version int) images.Webc {
	return images.Webc{
		Version: version,
		Manifest: map[string]any{
			"entrypoint": "hello",
			"package": map[string]any{
				"wapm": map[string]any{"name": "test/hello", "version": "1.2.3"},
				"fs": []any{
					map[string]any{"volume_name": "assets", "mount_path": "/srv"},
					map[string]any{"volume_name": "atom", "original_path": "/share", "mount_path": "/usr/share"},
				},
			},
			"command": map[string]any{
				"hello": images.WebcCommand("main", map[string]any{"main-args": []any{"-x", "y"}, "env": []any{"A=b"}, "cwd": "/srv"}),
				"other": images.WebcCommand("other", nil),
			},
		},
		Atoms: map[string][]byte{"main": []byte("\x00asm main"), "other": []byte("\x00asm other")},
		Volumes: map[string]map[string][]byte{
			"assets": {"index.html": []byte("<h1>"), "img/deep/a.png": []byte("png"), "empty": nil},
			"atom":   {"share/doc": []byte("read me"), "hidden": []byte("x")},
		},
	}
}

func open(data []byte) (*webc.Package, error) {
	return webc.Open(bytes.NewReader(data), int64(len(data)))
}

// listing gives the archive as lines.
func listing(t *testing.T, data []byte) string {
	t.Helper()
	p, err := open(data)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.WriteTar(&out, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%c %s %o %s%s\n", h.Typeflag, h.Name, h.Mode, h.Linkname, content)
	}
}

func TestAllVersionsUnpackToTheSame(t *testing.T) {
	const want = "5 bin/ 755 \n" +
		"5 srv/ 755 \n" +
		"0 srv/empty 644 \n" +
		"5 srv/img/ 755 \n" +
		"5 srv/img/deep/ 755 \n" +
		"0 srv/img/deep/a.png 644 png\n" +
		"0 srv/index.html 644 <h1>\n" +
		"5 usr/ 755 \n" +
		"5 usr/lib/ 755 \n" +
		"5 usr/lib/webc/ 755 \n" +
		"0 usr/lib/webc/main.wasm 755 \x00asm main\n" +
		"0 usr/lib/webc/other.wasm 755 \x00asm other\n" +
		"5 usr/share/ 755 \n" +
		"0 usr/share/doc 644 read me\n" +
		"1 bin/hello 755 usr/lib/webc/main.wasm\n" +
		"1 bin/other 755 usr/lib/webc/other.wasm\n"
	for version := 1; version <= 3; version++ {
		data := sample(version).Encode()
		if got := listing(t, data); got != want {
			t.Errorf("version %d unpacks to\n%q\nwant\n%q", version, got, want)
		}
		p, err := open(data)
		if err != nil {
			t.Fatal(err)
		}
		s, problem := p.Start()
		if got := fmt.Sprint(s, problem); got != "{[/bin/hello -x y] [A=b] /srv}" {
			t.Errorf("version %d starts as %s", version, got)
		}
		if got := strings.Join(p.Describe(), "; "); !strings.Contains(got, fmt.Sprintf("package test/hello 1.2.3, webc version %d; command hello; command other; module main, 9 bytes", version)) {
			t.Errorf("version %d is described as %s", version, got)
		}
	}
}

func TestStartSaysWhyNot(t *testing.T) {
	command := func(name string, c map[string]any) func(*images.Webc) {
		return func(w *images.Webc) { w.Manifest["command"] = map[string]any{name: c} }
	}
	for name, tc := range map[string]struct {
		edit          func(*images.Webc)
		argv, problem string
	}{
		"the only command": {func(w *images.Webc) {
			command("one", images.WebcCommand("main", nil))(w)
			delete(w.Manifest, "entrypoint")
		}, "[/bin/one]", ""},
		"several, none named": {func(w *images.Webc) { delete(w.Manifest, "entrypoint") }, "[]", ""},
		"no commands":         {func(w *images.Webc) { delete(w.Manifest, "command") }, "[]", "without commands: a library"},
		"atom of a dependency": {func(w *images.Webc) {
			c := images.WebcCommand("main", nil)
			c["annotations"].(map[string]any)["atom"].(map[string]any)["dependency"] = "a/b"
			command("hello", c)(w)
		}, "[]", `its command "hello" is of another package, a/b`},
		"files of a dependency": {func(w *images.Webc) {
			w.Manifest["package"] = map[string]any{"fs": []any{map[string]any{"from": "a/b", "volume_name": "v", "mount_path": "/"}}}
		}, "[]", "it mounts files of another package, a/b"},
		"volume that is missing": {func(w *images.Webc) { delete(w.Volumes, "assets") }, "[]", `mounts the volume "assets", which it lacks`},
		"no mounts named":        {func(w *images.Webc) { delete(w.Manifest, "package") }, "[/bin/hello -x y]", ""},
		"WCGI":                   {command("hello", map[string]any{"runner": "https://webc.org/runner/wcgi"}), "[]", "wants the runner https://webc.org/runner/wcgi"},
		"module that is missing": {command("hello", images.WebcCommand("none", nil)), "[]", "names a module that it lacks"},
		"no annotations":         {command("hello", map[string]any{"runner": "https://webc.org/runner/wasi@unstable_"}), "[/bin/hello]", ""},
	} {
		w := sample(3)
		tc.edit(&w)
		p, err := open(w.Encode())
		if err != nil {
			t.Fatal(err)
		}
		s, problem := p.Start()
		if fmt.Sprint(s.Argv) != tc.argv || !strings.Contains(problem, tc.problem) || (problem == "") != (tc.problem == "") {
			t.Errorf("%s: %v, %q, want %s, %q", name, s.Argv, problem, tc.argv, tc.problem)
		}
	}
}

func TestHostilePackagesAreRefused(t *testing.T) {
	header := func(version int, entries string) []byte { // a package whose atoms have this header
		w := images.Webc{Version: version}
		empty := w.Encode()
		switch version {
		case 1:
			at := len(empty) - 10 // of the empty atoms: length, length, level of 8 bytes
			body := string(rune(len(entries))) + entries
			return append(append(bytes.Clone(empty[:at]), byte(len(body))), body...)
		default:
			return nil
		}
	}
	level := func(entries ...string) string {
		all := strings.Join(entries, "")
		return string(rune(len(all))) + "\x00\x00\x00\x00\x00\x00\x00" + all
	}
	entry := func(kind byte, start, end int, name string) string {
		n := func(v int) string { return string([]byte{byte(v), byte(v >> 8), byte(v >> 16), 0, 0, 0, 0, 0}) }
		return n(len(name))[:7] + string(kind) + n(start) + n(end) + name
	}
	for name, tc := range map[string]struct {
		data []byte
		kind error
	}{
		"other magic":         {[]byte("\x00asm\x01\x00\x00\x00"), imgerr.ErrMalformed},
		"version 4":           {[]byte("\x00webc004"), imgerr.ErrMalformed},
		"nothing but magic":   {[]byte("\x00webc001"), imgerr.ErrMalformed},
		"name with a slash":   {header(1, level(entry(1, 0, 0, "a/b"))), imgerr.ErrUnsafe},
		"name that goes up":   {header(1, level(entry(1, 0, 0, ".."))), imgerr.ErrUnsafe},
		"empty name":          {header(1, level(entry(1, 0, 0, ""))), imgerr.ErrUnsafe},
		"content outside":     {header(1, level(entry(1, 0, 1, "a"))), imgerr.ErrMalformed},
		"content backwards":   {header(1, level(entry(1, 1, 0, "a"))), imgerr.ErrMalformed},
		"directory in itself": {header(1, level(entry(0, 0, 9, "a"))), imgerr.ErrMalformed},
		"directory outside":   {header(1, level(entry(0, 200, 201, "a"))), imgerr.ErrMalformed},
		"unknown kind":        {header(1, level(entry(7, 0, 0, "a"))), imgerr.ErrMalformed},
		"unknown section":     {[]byte("\x00webc002\x09\x00\x00\x00\x00\x00\x00\x00\x00"), imgerr.ErrMalformed},
		"huge section":        {[]byte("\x00webc002\x01\xff\xff\xff\xff\xff\xff\xff\xff"), imgerr.ErrMalformed},
	} {
		if _, err := open(tc.data); !errors.Is(err, tc.kind) {
			t.Errorf("%s: %v, want %v", name, err, tc.kind)
		}
	}
	for version := 1; version <= 3; version++ {
		whole := sample(version).Encode()
		for n := range len(whole) {
			p, err := open(whole[:n])
			if err != nil && imgerr.KindOf(err) == nil {
				t.Fatalf("version %d, %d bytes of it: error without a kind: %v", version, n, err)
			}
			if err == nil && len(p.Volumes) == 2 {
				t.Fatalf("version %d, %d bytes of %d are taken for the whole", version, n, len(whole))
			}
		}
	}
}

func TestMountsThatCannotBeAreRefused(t *testing.T) {
	for name, second := range map[string]string{"a directory where a file is": "/a/empty", "a path with a NUL": "/b\x00", "a long path": "/" + strings.Repeat("x", 2000)} {
		w := sample(2)
		w.Manifest["package"] = map[string]any{"fs": []any{
			map[string]any{"volume_name": "assets", "mount_path": "/a"}, map[string]any{"volume_name": "atom", "mount_path": second},
		}}
		data := w.Encode()
		p, err := open(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.WriteTar(io.Discard, bytes.NewReader(data)); !errors.Is(err, imgerr.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestMountsStayBelowTheRoot(t *testing.T) {
	w := sample(3)
	w.Manifest["package"] = map[string]any{"fs": []any{map[string]any{"volume_name": "atom", "mount_path": "/../../etc/../up", "host_path": "../share"}}}
	if got := listing(t, w.Encode()); !strings.Contains(got, "0 up/doc 644 read me\n") || strings.Contains(got, "..") {
		t.Errorf("unpacks to\n%s", got)
	}
}

func FuzzOpen(f *testing.F) {
	for version := 1; version <= 3; version++ {
		f.Add(sample(version).Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := open(data)
		if err == nil {
			p.Start()
			p.Describe()
			for _, v := range append(p.Volumes, webc.Volume{Entries: p.Atoms}) {
				for _, e := range v.Entries {
					if e.Offset < 0 || e.Size < 0 || e.Offset+e.Size > int64(len(data)) {
						t.Fatalf("%+v lies outside of %d bytes", e, len(data))
					}
				}
			}
			var out limited
			err = p.WriteTar(&out, bytes.NewReader(data))
			if errors.Is(err, errFull) {
				return
			}
		}
		if err != nil && imgerr.KindOf(err) == nil {
			t.Fatalf("error without a kind: %v", err)
		}
	})
}

var errFull = errors.New("full")

// limited takes a bounded archive: content can be named many times.
type limited int

func (l *limited) Write(b []byte) (int, error) {
	if *l += limited(len(b)); *l > 64<<20 {
		return 0, errFull
	}
	return len(b), nil
}
