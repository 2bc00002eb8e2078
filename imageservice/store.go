package imageservice

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// store is the content on disk. It knows names and how to make them appear at
// once; who refers to what is the service's business. Safe for concurrent use
// as long as no two callers make the same name.
type store struct {
	root string
	// hook is called before each step that a crash may precede. Tests make it
	// fail.
	hook atomic.Pointer[func(name string) error]
	// wrote is told of content that has got its name and may not be on disk.
	wrote func(key string)
}

func openStore(root string) (*store, error) {
	s := &store{root: root, wrote: func(string) {}}
	for _, d := range []string{root, s.tmp(), filepath.Join(root, "blobs", "sha256"), filepath.Join(root, "layers")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	if err := os.Chmod(root, 0o700); err != nil { // layers hold set-user-id files
		return nil, fmt.Errorf("image store: %w", err)
	}
	if err := spread(s.tmp()); err != nil { // layers are made there
		return nil, fmt.Errorf("image store: %w", err)
	}
	return s, s.emptyTmp()
}

func (s *store) step(name string) error {
	if f := s.hook.Load(); f != nil {
		return (*f)(name)
	}
	return nil
}

func (s *store) tmp() string { return filepath.Join(s.root, "tmp") }

func (s *store) emptyTmp() error {
	entries, err := os.ReadDir(s.tmp())
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.tmp(), e.Name())); err != nil {
			return fmt.Errorf("image store: remove leftover: %w", err)
		}
	}
	return nil
}

// blobPath gives the file of a blob; digest is sha256:HEX.
func (s *store) blobPath(digest string) string {
	return filepath.Join(s.root, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// layerKey names a layer directory: the hex of a diff id, or m-HEX for the
// layer made of one module.
func layerKey(diffID string) string { return strings.TrimPrefix(diffID, "sha256:") }

func moduleKey(digest, name string) string {
	sum := sha256.Sum256([]byte(digest + " " + name))
	return "m-" + hex.EncodeToString(sum[:])
}

func (s *store) layerPath(key string) string { return filepath.Join(s.root, "layers", key) }
func (s *store) layerDir(key string) string  { return filepath.Join(s.layerPath(key), "fs") }

// hasBlob says whether the blob is there with the right size. Content was
// verified before it got its name.
func (s *store) hasBlob(digest string, size int64) bool {
	info, err := os.Stat(s.blobPath(digest))
	return err == nil && info.Mode().IsRegular() && (size < 0 || info.Size() == size)
}

// putBlob stores the stream r under its digest, which it checks along with the
// size.
func (s *store) putBlob(digest string, size int64, r io.Reader) error {
	if err := s.step("blob-create"); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.tmp(), "blob-*")
	if err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	defer os.Remove(f.Name()) // gone already when all went well
	defer f.Close()
	sum := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, io.TeeReader(io.LimitReader(r, size+1), sum), make([]byte, 128<<10))
	if err != nil {
		return err
	}
	if err := checkDigest(digest, size, n, sum); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o755), f.Close()); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	if err := s.step("blob-rename"); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.blobPath(digest)); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	s.wrote("blob/" + digest)
	return nil
}

func checkDigest(digest string, size, n int64, sum hash.Hash) error {
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest || n != size {
		return &imgerr.Error{Kind: imgerr.ErrDigestMismatch, Text: fmt.Sprintf("content has digest %s and %d bytes, not %s and %d", got, n, digest, size)}
	}
	return nil
}

// readBlob gives a small blob.
func (s *store) readBlob(digest string) ([]byte, error) {
	data, err := os.ReadFile(s.blobPath(digest))
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return data, nil
}

// layerInfo is the fact file of a layer.
type layerInfo struct {
	Bytes    int64    `json:"bytes"` // on disk
	Inodes   int64    `json:"inodes"`
	Implicit []string `json:"implicit,omitempty"`
	Sum      string   `json:"sum,omitempty"` // of the tree, see measureTree
}

// layer reads the fact file: a layer that has none is none.
func (s *store) layer(key string) (*layerInfo, bool) {
	data, err := os.ReadFile(filepath.Join(s.layerPath(key), "layer.json"))
	if err != nil {
		return nil, false
	}
	var info layerInfo
	if json.Unmarshal(data, &info) != nil {
		return nil, false
	}
	return &info, true
}

// filled tells about a layer directory what its files do not.
type filled struct {
	implicit []string          // directories whose attributes are a guess
	shared   map[uint64]bool   // inodes that are counted elsewhere
	sums     map[uint64]uint32 // of files by inode, as they were written
}

// makeLayer builds a layer directory with fill and gives it its name.
func (s *store) makeLayer(key string, fill func(dir string) (filled, error)) (*layerInfo, error) {
	if err := s.step("layer-create"); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(s.tmp(), "layer-*")
	if err != nil {
		return nil, fmt.Errorf("store layer: %w", err)
	}
	defer os.RemoveAll(tmp) // gone already when all went well
	dir := filepath.Join(tmp, "fs")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil { // whatever the umask
		return nil, fmt.Errorf("store layer: %w", err)
	}
	content, err := fill(dir)
	if err != nil {
		return nil, err
	}
	if err := s.step("layer-seal"); err != nil {
		return nil, err
	}
	info, err := s.sealLayer(tmp, content)
	if errors.Is(err, unix.ENAMETOOLONG) { // through links a name can lead further than it is long
		return nil, &imgerr.Error{Kind: imgerr.ErrLimit, Text: "a path of the layer is too long", Remedy: "use shorter paths"}
	}
	if err != nil {
		return nil, fmt.Errorf("store layer: %w", err)
	}
	if err := s.step("layer-rename"); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, s.layerPath(key)); err != nil {
		if there, ok := s.layer(key); ok { // one who gave up waiting had begun it too
			return there, nil
		}
		return nil, fmt.Errorf("store layer: %w", err)
	}
	s.wrote("layer/" + key)
	return info, nil
}

// sealLayer measures the layer and writes the fact file.
func (s *store) sealLayer(tmp string, content filled) (*layerInfo, error) {
	t, err := measureTree(filepath.Join(tmp, "fs"), content.shared, content.sums)
	if err != nil {
		return nil, err
	}
	var dir unix.Stat_t
	if err := unix.Lstat(tmp, &dir); err != nil {
		return nil, err
	}
	// The directory and the fact file count as well.
	info := &layerInfo{Bytes: t.bytes + dir.Blocks*512, Inodes: t.inodes + 2, Implicit: content.implicit, Sum: t.sum}
	data, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	info.Bytes += (int64(len(data)) + 4095) &^ 4095
	return info, writeInfo(filepath.Join(tmp, "layer.json"), info)
}

func writeInfo(path string, info *layerInfo) error {
	data, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// discard takes a name away at once and gives what is to be deleted later.
func (s *store) discard(path string) (string, error) {
	trash, err := os.MkdirTemp(s.tmp(), "trash-*")
	if err != nil {
		return "", err
	}
	if err := os.Rename(path, filepath.Join(trash, "x")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		os.Remove(trash)
		return "", err
	}
	return trash, nil
}

func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// diskUsage measures a tree as du does. A file with several links counts once
// for the same seen, which may be nil. Paths that are too long are left out: they
// are those of a layer that will be refused.
func diskUsage(dir string, seen map[uint64]bool) (bytes, inodes int64, err error) {
	if seen == nil {
		seen = map[uint64]bool{}
	}
	err = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		passOver := func(err error) bool { // removed meanwhile
			return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENAMETOOLONG)
		}
		if passOver(err) {
			return nil
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); passOver(err) {
			return nil
		} else if err != nil {
			return err
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		bytes += st.Blocks * 512
		inodes++
		return nil
	})
	return bytes, inodes, err
}
