package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to keep owners and to make whiteouts")
	}
}

type ent struct {
	name, body, link string
	typ              byte
	mode             int64
	uid, gid         int
	pax              map[string]string
}

func archive(t testing.TB, entries ...ent) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.typ == 0 {
			e.typ = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h := &tar.Header{Name: e.name, Typeflag: e.typ, Linkname: e.link, Mode: e.mode, Uid: e.uid, Gid: e.gid,
			ModTime: time.Unix(1600000000, 0), PAXRecords: e.pax, Format: tar.FormatPAX}
		if e.typ == tar.TypeReg {
			h.Size = int64(len(e.body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layer(t testing.TB, data []byte, lim Limits) (string, *Result, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layer")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	res, err := Layer(context.Background(), bytes.NewReader(data), dir, lim)
	return dir, res, err
}

func TestLayerKeepsWhatTheArchiveSays(t *testing.T) {
	needRoot(t)
	defer unix.Umask(unix.Umask(0o077))
	plain := archive(t,
		ent{name: "./", typ: tar.TypeDir, mode: 0o751},
		ent{name: "etc/", typ: tar.TypeDir, mode: 0o755},
		ent{name: "etc/passwd", body: "root", mode: 0o640, uid: 7, gid: 8},
		ent{name: "tmp", typ: tar.TypeDir, mode: 0o1777},
		ent{name: "su", body: "x", mode: 0o4755, uid: 5},
		ent{name: "same", typ: tar.TypeLink, link: "./etc/passwd"},
		ent{name: "link", typ: tar.TypeSymlink, link: "/etc/passwd", uid: 3},
		ent{name: "pipe", typ: tar.TypeFifo, mode: 0o600},
		ent{name: "implicit/deep/file", body: "y"},
		ent{name: "attr", body: "z", pax: map[string]string{"SCHILY.xattr.user.note": "hi", "SCHILY.xattr.trusted.overlay.redirect": "/x", "SCHILY.xattr.user.overlay.opaque": "y"}},
		ent{name: "gone/.wh.old", body: ""},
		ent{name: "hidden/.wh..wh..opq", body: ""},
		ent{name: ".wh..wh.plnk", body: ""},
		ent{name: "twice", body: "first"},
		ent{name: "twice", body: "second"},
		ent{name: "wasdir/f", body: "x"},
		ent{name: "wasdir", body: "file now"},
	)
	enc, _ := zstd.NewWriter(nil)
	var gzBuf bytes.Buffer
	gw := gzip.NewWriter(&gzBuf)
	gw.Write(plain)
	gw.Close()
	for name, data := range map[string][]byte{"plain": plain, "gzip": gzBuf.Bytes(), "zstd": enc.EncodeAll(plain, nil)} {
		t.Run(name, func(t *testing.T) {
			dir, res, err := layer(t, data, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("sha256:%x", sha256.Sum256(plain)); res.DiffID != want {
				t.Errorf("diff id = %s, want %s", res.DiffID, want)
			}
			if want := []string{"gone", "hidden", "implicit", "implicit/deep"}; !reflect.DeepEqual(res.Implicit, want) {
				t.Errorf("implicit = %v, want %v", res.Implicit, want)
			}
			check := func(p string, mode uint32, uid, gid uint32) unix.Stat_t {
				t.Helper()
				var st unix.Stat_t
				if err := unix.Lstat(filepath.Join(dir, p), &st); err != nil {
					t.Errorf("%s: %v", p, err)
				} else if st.Mode != mode || st.Uid != uid || st.Gid != gid {
					t.Errorf("%s: mode %o owner %d:%d, want %o %d:%d", p, st.Mode, st.Uid, st.Gid, mode, uid, gid)
				}
				return st
			}
			check(".", unix.S_IFDIR|0o751, 0, 0)
			st := check("etc/passwd", unix.S_IFREG|0o640, 7, 8)
			if st.Nlink != 2 || st.Mtim.Sec != 1600000000 {
				t.Errorf("passwd has %d links and time %d", st.Nlink, st.Mtim.Sec)
			}
			check("implicit/deep", unix.S_IFDIR|0o755, 0, 0)
			check("tmp", unix.S_IFDIR|0o1777, 0, 0)
			check("su", unix.S_IFREG|0o4755, 5, 0)
			check("link", unix.S_IFLNK|0o777, 3, 0)
			check("pipe", unix.S_IFIFO|0o600, 0, 0)
			if st := check("gone/old", unix.S_IFCHR, 0, 0); st.Rdev != 0 {
				t.Errorf("whiteout has device %d", st.Rdev)
			}
			if st := check("etc", unix.S_IFDIR|0o755, 0, 0); st.Mtim.Sec != 1600000000 {
				t.Errorf("directory has time %d", st.Mtim.Sec)
			}
			var b [8]byte
			if n, err := unix.Lgetxattr(filepath.Join(dir, "hidden"), OpaqueXattr, b[:]); err != nil || string(b[:n]) != "y" {
				t.Errorf("opaque mark = %q, %v", b[:max(n, 0)], err)
			}
			for _, a := range []string{"trusted.overlay.redirect", "user.overlay.opaque"} {
				if _, err := unix.Lgetxattr(filepath.Join(dir, "attr"), a, nil); !errors.Is(err, unix.ENODATA) {
					t.Errorf("%s was kept: %v", a, err)
				}
			}
			for p, want := range map[string]string{"twice": "second", "wasdir": "file now"} {
				if got, err := os.ReadFile(filepath.Join(dir, p)); string(got) != want {
					t.Errorf("%s = %q, %v, want %q", p, got, err, want)
				}
			}
		})
	}
}

// guard puts a victim beside the layer and checks afterwards that it is
// untouched.
func guard(t *testing.T) (dir string, check func()) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "layer")
	victim := filepath.Join(top, "victim")
	for _, d := range []string{dir, victim} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(victim, "secret"), []byte("safe"), 0o600)
	return dir, func() {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(victim, "secret"))
		if string(data) != "safe" {
			t.Errorf("the victim holds %q, %v", data, err)
		}
		for d, want := range map[string]int{top: 2, victim: 1} {
			if entries, _ := os.ReadDir(d); len(entries) != want {
				t.Errorf("%s holds %v, want %d entries", d, entries, want)
			}
		}
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(victim, "secret"), &st); st.Nlink != 1 || st.Mode != unix.S_IFREG|0o600 {
			t.Errorf("the victim has %d links, mode %o", st.Nlink, st.Mode)
		}
	}
}

func TestLayerRefusesHostileEntries(t *testing.T) {
	needRoot(t)
	for name, tc := range map[string]struct {
		entries []ent
		kind    error
	}{
		"dotdot":                {[]ent{{name: "../victim/secret", body: "bad"}}, imgerr.ErrUnsafe},
		"dotdot inside":         {[]ent{{name: "a/../../victim/secret", body: "bad"}}, imgerr.ErrUnsafe},
		"absolute":              {[]ent{{name: "/tmp/cri-wasmer-test", body: "bad"}}, imgerr.ErrUnsafe},
		"through a link up":     {[]ent{{name: "l", typ: tar.TypeSymlink, link: "../victim"}, {name: "l/secret", body: "bad"}}, imgerr.ErrUnsafe},
		"through a root link":   {[]ent{{name: "l", typ: tar.TypeSymlink, link: "/"}, {name: "l/etc/cri-wasmer-test", body: "bad"}}, imgerr.ErrUnsafe},
		"through two links":     {[]ent{{name: "a", typ: tar.TypeSymlink, link: "b"}, {name: "b", typ: tar.TypeSymlink, link: "../victim"}, {name: "a/secret", body: "bad"}}, imgerr.ErrUnsafe},
		"through proc":          {[]ent{{name: "l", typ: tar.TypeSymlink, link: "/proc/self/cwd"}, {name: "l/x", body: "bad"}}, imgerr.ErrUnsafe},
		"link loop":             {[]ent{{name: "l", typ: tar.TypeSymlink, link: "l"}, {name: "l/x", body: "bad"}}, imgerr.ErrUnsafe},
		"dangling link":         {[]ent{{name: "l", typ: tar.TypeSymlink, link: "nowhere"}, {name: "l/x", body: "bad"}}, imgerr.ErrUnsafe},
		"directory over a link": {[]ent{{name: "l", typ: tar.TypeSymlink, link: "../victim"}, {name: "l/", typ: tar.TypeDir, mode: 0o777}, {name: "l/../../victim/x", body: "bad"}}, imgerr.ErrUnsafe},
		"hard link up":          {[]ent{{name: "h", typ: tar.TypeLink, link: "../victim/secret"}}, imgerr.ErrUnsafe},
		"hard link absolute":    {[]ent{{name: "h", typ: tar.TypeLink, link: "/etc/passwd"}}, imgerr.ErrUnsafe},
		"hard link by a link":   {[]ent{{name: "l", typ: tar.TypeSymlink, link: "../victim"}, {name: "h", typ: tar.TypeLink, link: "l/secret"}}, imgerr.ErrUnsafe},
		"hard link to nothing":  {[]ent{{name: "h", typ: tar.TypeLink, link: "nothing"}}, imgerr.ErrMalformed},
		"hard link to a dir":    {[]ent{{name: "d/", typ: tar.TypeDir}, {name: "h", typ: tar.TypeLink, link: "d"}}, imgerr.ErrUnsafe},
		"character device":      {[]ent{{name: "null", typ: tar.TypeChar}}, imgerr.ErrUnsafe},
		"block device":          {[]ent{{name: "sda", typ: tar.TypeBlock}}, imgerr.ErrUnsafe},
		"file as root":          {[]ent{{name: ".", body: "x"}}, imgerr.ErrUnsafe},
		"whiteout of dotdot":    {[]ent{{name: "a/.wh..", body: ""}}, imgerr.ErrUnsafe},
		"whiteout by a link":    {[]ent{{name: "l", typ: tar.TypeSymlink, link: "../victim"}, {name: "l/.wh.secret", body: ""}}, imgerr.ErrUnsafe},
		"opaque by a link":      {[]ent{{name: "l", typ: tar.TypeSymlink, link: "../victim"}, {name: "l/.wh..wh..opq", body: ""}}, imgerr.ErrUnsafe},
		"file as directory":     {[]ent{{name: "f", body: "x"}, {name: "f/g", body: "x"}}, imgerr.ErrMalformed},
		"link to nothing":       {[]ent{{name: "l", typ: tar.TypeSymlink, link: ""}}, imgerr.ErrMalformed},
		"long name":             {[]ent{{name: strings.Repeat("a/", 3000) + "x", body: "x"}}, imgerr.ErrLimit},
		"long component":        {[]ent{{name: strings.Repeat("a", 256), body: "x"}}, imgerr.ErrLimit},
		"owner out of range":    {[]ent{{name: "f", body: "x", uid: 1 << 32}}, imgerr.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			dir, check := guard(t)
			_, err := Layer(context.Background(), bytes.NewReader(archive(t, tc.entries...)), dir, Limits{})
			if !errors.Is(err, tc.kind) || !strings.Contains(fmt.Sprint(err), "entry ") {
				t.Errorf("error = %v, want %v that names the entry", err, tc.kind)
			}
			check()
		})
	}
}

func TestLayerFollowsLinksThatStayInside(t *testing.T) {
	needRoot(t)
	dir, _, err := layer(t, archive(t,
		ent{name: "usr/lib/", typ: tar.TypeDir, mode: 0o755},
		ent{name: "lib", typ: tar.TypeSymlink, link: "usr/lib"},
		ent{name: "lib/x", body: "in"}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "usr/lib/x")); string(got) != "in" {
		t.Errorf("usr/lib/x = %q, %v", got, err)
	}
}

func TestLayerIsBounded(t *testing.T) {
	needRoot(t)
	zeros := func(n int) []byte {
		enc, _ := zstd.NewWriter(nil)
		return enc.EncodeAll(archive(t, ent{name: "zeros", body: strings.Repeat("\x00", n)}), nil)
	}
	many := make([]ent, 50)
	for i := range many {
		many[i] = ent{name: fmt.Sprint(i), body: ""}
	}
	for name, tc := range map[string]struct {
		data []byte
		lim  Limits
	}{
		"size":     {archive(t, ent{name: "f", body: strings.Repeat("x", 5000)}), Limits{MaxBytes: 4000}},
		"entries":  {archive(t, many...), Limits{MaxEntries: 49}},
		"implicit": {archive(t, ent{name: strings.Repeat("d/", 60) + "f"}), Limits{MaxEntries: 50}},
		"ratio":    {zeros(8 << 20), Limits{RatioFloor: 1 << 20, MaxRatio: 100}},
		"path":     {archive(t, ent{name: "0123456789abcdef"}), Limits{MaxPath: 15}},
		"depth":    {archive(t, ent{name: strings.Repeat("d/", 600) + "f"}), Limits{}},
		"depth through links": {archive(t,
			ent{name: strings.Repeat("d/", 300), typ: tar.TypeDir}, ent{name: "l", typ: tar.TypeSymlink, link: strings.Repeat("d/", 300)},
			ent{name: "l/" + strings.Repeat("e/", 300), typ: tar.TypeDir}), Limits{}},
	} {
		if _, _, err := layer(t, tc.data, tc.lim); !errors.Is(err, imgerr.ErrLimit) {
			t.Errorf("%s: %v, want ErrLimit", name, err)
		}
	}
	if _, _, err := layer(t, zeros(8<<20), Limits{}); err != nil {
		t.Errorf("8 MiB of zeros within the default limits: %v", err)
	}
}

func TestLayerReportsDamageAsMalformed(t *testing.T) {
	good := archive(t, ent{name: "f", body: strings.Repeat("x", 5000)})
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(good)
	w.Close()
	packed := buf.Bytes()
	flipped := bytes.Clone(packed)
	flipped[len(flipped)-6] ^= 1
	for name, data := range map[string][]byte{
		"truncated tar":     good[:2000],
		"truncated gzip":    packed[:len(packed)/2],
		"checksum of gzip":  flipped,
		"neither":           []byte(strings.Repeat("no archive ", 100)),
		"zstd with garbage": append([]byte("\x28\xb5\x2f\xfd"), good[:100]...),
	} {
		if _, _, err := layer(t, data, Limits{}); !errors.Is(err, imgerr.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestLayerPassesErrorsOfTheSource(t *testing.T) {
	good := archive(t, ent{name: "f", body: strings.Repeat("x", 5000)})
	for _, cut := range []int{0, 2, 100, 600, 3000, len(good)} {
		want := &imgerr.Error{Kind: imgerr.ErrDigestMismatch}
		dir := t.TempDir()
		_, err := Layer(context.Background(), io.MultiReader(bytes.NewReader(good[:cut]), failing{want}), dir, Limits{})
		if err != want {
			t.Errorf("source fails after %d bytes: %v, want its own error", cut, err)
		}
	}
}

func TestLayerStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Layer(ctx, bytes.NewReader(archive(t, ent{name: "f"})), t.TempDir(), Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}
