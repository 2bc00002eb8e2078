package imageservice

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/unpack"
)

// tree is what a walk over a directory finds.
type tree struct {
	bytes, inodes int64
	sum           string // over names, owners, modes and content
}

// measureTree measures a directory as du does, and sums up what is in it. The
// sum is there to find damage by disk or hand, not an attacker: whoever can
// write here can write the sum as well. Files that known has by inode are not
// read again.
func measureTree(dir string, shared map[uint64]bool, known map[uint64]uint32) (tree, error) {
	var t tree
	seen := map[uint64]bool{}
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if err := sumEntry(sum, p, rel, &st, known); err != nil {
			return err
		}
		again := seen[st.Ino] || shared[st.Ino]
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			seen[st.Ino] = true
			if again {
				return nil
			}
		}
		t.bytes += st.Blocks * 512
		t.inodes++
		return nil
	})
	t.sum = hex.EncodeToString(sum.Sum(nil))
	return t, err
}

// sumEntry adds one entry to the sum. Times are left out: nothing depends on
// them.
func sumEntry(sum hash.Hash, p, rel string, st *unix.Stat_t, known map[uint64]uint32) error {
	fmt.Fprintf(sum, "%q %o %d %d %d", rel, st.Mode, st.Uid, st.Gid, st.Rdev)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		crc, ok := known[st.Ino]
		if !ok {
			var err error
			if crc, err = fileSum(p); err != nil {
				return err
			}
		}
		fmt.Fprintf(sum, " %d %08x", st.Size, crc)
	case unix.S_IFLNK:
		target, err := os.Readlink(p)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, " %q", target)
	case unix.S_IFDIR:
		fmt.Fprintf(sum, " %v", opaque(p))
	}
	sum.Write([]byte{'\n'})
	return nil
}

func fileSum(p string) (uint32, error) {
	f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := crc32.New(unpack.SumTable)
	_, err = io.Copy(sum, f)
	return sum.Sum32(), err
}

// damaged says what is wrong with a layer: nil when nothing is. Without deep
// only its fact file is looked at.
func (s *store) damaged(key string, deep bool) error {
	info, ok := s.layer(key)
	if !ok {
		return errors.New("has no sound fact file")
	}
	dir, err := os.Lstat(s.layerDir(key))
	if err != nil {
		return err
	}
	if !dir.IsDir() {
		return errors.New("holds no directory")
	}
	if !deep || info.Sum == "" {
		return nil
	}
	t, err := measureTree(s.layerDir(key), nil, nil)
	if err != nil {
		return err
	}
	if t.sum != info.Sum {
		return errors.New("its files differ from those that were unpacked")
	}
	return nil
}
