package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

var fuzzLimits = Limits{MaxBytes: 1 << 20, MaxEntries: 1000}

// ground is where layers of a fuzz test are written, with a victim beside them:
// in memory, where there is such a place, and the same for all inputs of a
// process.
type ground struct{ top, dir, victim, before string }

func newGround(f *testing.F) *ground {
	f.Helper()
	top, err := os.MkdirTemp("/dev/shm", "cri-wasmer-fuzz-")
	if err != nil {
		top = f.TempDir()
	}
	f.Cleanup(func() { os.RemoveAll(top) })
	g := &ground{top: top, dir: filepath.Join(top, "layer"), victim: filepath.Join(top, "victim")}
	if err := os.Mkdir(g.victim, 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.victim, "secret"), []byte("safe"), 0o600); err != nil {
		f.Fatal(err)
	}
	g.before = g.look(f)
	return g
}

// look says what the victim is like.
func (g *ground) look(t testing.TB) string {
	t.Helper()
	var text strings.Builder
	for _, p := range []string{g.victim, filepath.Join(g.victim, "secret")} {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&text, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim)
	}
	return text.String()
}

// use gives an empty directory to fn and checks that nothing beside it was
// touched, and that an error has a kind.
func (g *ground) use(t *testing.T, fn func(dir string) error) {
	t.Helper()
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(g.dir)
	if err := fn(g.dir); err != nil && imgerr.KindOf(err) == nil {
		t.Fatalf("error without a kind: %v", err)
	}
	if now := g.look(t); now != g.before {
		t.Fatalf("the victim was\n%sand is\n%s", g.before, now)
	}
	entries, err := os.ReadDir(g.top)
	if err != nil || len(entries) != 2 {
		t.Fatalf("the layer wrote beside its directory: %v, %v", entries, err)
	}
}

// FuzzLayer feeds bytes to the whole path of a layer.
func FuzzLayer(f *testing.F) {
	needRoot(f)
	f.Add(archive(f, ent{name: "a/b", body: "x"}, ent{name: "a/.wh.c"}, ent{name: "l", typ: tar.TypeSymlink, link: "a"}, ent{name: "l/d", body: "y"}))
	f.Add(archive(f, ent{name: "h", typ: tar.TypeLink, link: "a"}, ent{name: "d/", typ: tar.TypeDir}, ent{name: "d/.wh..wh..opq"}))
	f.Add([]byte("\x1f\x8b\x08"))
	g := newGround(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		g.use(t, func(dir string) error {
			_, err := Layer(context.Background(), bytes.NewReader(data), dir, fuzzLimits)
			return err
		})
	})
}

// Words of which FuzzEntries makes names and targets.
var fuzzNames = []string{
	"", "a", "b", "c", ".", "..", "victim", "secret", "layer", ".wh.a", ".wh.b", ".wh.secret", ".wh..wh..opq", ".wh.", ".wh...", "\x00",
}

var fuzzTypes = []byte{
	tar.TypeReg, tar.TypeReg, tar.TypeDir, tar.TypeDir, tar.TypeSymlink, tar.TypeSymlink, tar.TypeLink, tar.TypeLink,
	tar.TypeFifo, tar.TypeChar, tar.TypeBlock, tar.TypeCont, tar.TypeGNUSparse, 0, 'x', 'Z',
}

// fuzzEntries reads six bytes for each entry: its type and the words of its name
// and target, two in a byte. What the tar reader would refuse comes as well.
func fuzzEntries(data []byte) (list []*tar.Header) {
	path := func(b []byte) string {
		var parts []string
		for _, x := range b {
			parts = append(parts, fuzzNames[x&15], fuzzNames[x>>4])
		}
		p := strings.Join(parts, "/")
		if b[0]&15 != 0 { // an absolute path otherwise
			p = strings.TrimRight(p, "/")
		}
		return p
	}
	for six := range slices.Chunk(data, 6) {
		if len(six) < 6 {
			break
		}
		list = append(list, &tar.Header{
			Typeflag: fuzzTypes[six[0]&15], Mode: []int64{0o644, 0o755, 0o4711, 0o1777}[six[0]>>4&3], Size: int64(six[0] >> 6),
			Uid: int(six[0] >> 7), Name: path(six[1:4]), Linkname: path(six[4:6]), ModTime: time.Unix(int64(six[0]), 0),
		})
	}
	return list
}

// FuzzEntries writes entries without the walls that confine the thread of a
// layer: what resolves paths must do alone.
func FuzzEntries(f *testing.F) {
	needRoot(f)
	f.Add([]byte{4, 0x01, 0, 0, 0x65, 0, 0, 0x71, 0, 0, 0, 0})                      // a link to ../victim and a file through it
	f.Add([]byte{2, 0x11, 0, 0, 0, 0, 6, 0x02, 0, 0, 0x11, 0, 0, 0xc1, 0, 0, 0, 0}) // a directory, a hard link, an opaque mark
	f.Add([]byte{0, 0x11, 0x03, 0, 0, 0, 0, 0x91, 0, 0, 0, 0, 2, 0x01, 0, 0, 0, 0}) // a file, a whiteout beside it, a directory
	g := newGround(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		g.use(t, func(dir string) error {
			u, err := newUnpacker(dir, fuzzLimits.WithDefaults())
			if err != nil {
				t.Fatal(err)
			}
			defer u.close()
			if err := u.write(fuzzEntries(data)); err != nil {
				return err
			}
			if err := u.finishDirs(); err != nil {
				return err
			}
			return u.finishOpaque()
		})
	})
}

// write writes entries as all does.
func (u *unpacker) write(list []*tar.Header) error {
	for _, h := range list {
		if err := u.count(1); err != nil {
			return err
		}
		if err := u.entry(h, io.LimitReader(zeros{}, h.Size)); err != nil {
			return entryError(h.Name, err)
		}
	}
	return nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
