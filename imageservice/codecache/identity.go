package codecache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// identity names the content of a file as long as nobody writes to it.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64
}

func identify(f *os.File) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return identity{}, fmt.Errorf("%s is not a regular file", f.Name())
	}
	return identity{st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// settled says whether a later write would change the identity: timestamps are
// coarse, so that a file that changed just now could change again unseen.
func (id identity) settled() bool { return time.Now().UnixNano()-id.ctime > int64(time.Second) }

const maxRemembered = 4096

// hash gives the digest of a file, from memory when it is unchanged.
func (c *Cache) hash(f *os.File) (digest string, size int64, err error) {
	id, err := identify(f)
	if err != nil {
		return "", 0, err
	}
	c.mu.Lock()
	digest, ok := c.hashes[id]
	c.mu.Unlock()
	if ok {
		return digest, id.size, nil
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(f, 0, id.size))
	if err != nil {
		return "", 0, fmt.Errorf("read module: %w", err)
	}
	after, err := identify(f)
	if err != nil {
		return "", 0, err
	}
	digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if after == id && n == id.size && id.settled() {
		c.mu.Lock()
		if len(c.hashes) >= maxRemembered {
			clear(c.hashes)
		}
		c.hashes[id] = digest
		c.mu.Unlock()
	}
	return digest, n, nil
}

// snapshot copies a module into sealed memory, so that what is compiled is what
// was hashed, whoever writes to the file meanwhile.
func snapshot(f *os.File, limit int64) (*os.File, string, error) {
	id, err := identify(f)
	if err != nil {
		return nil, "", err
	}
	if id.size > limit {
		return nil, "", &Refusal{TooBig, fmt.Sprintf("is %d bytes long, more than the %d that are compiled", id.size, limit), "strip it, or raise the limit"}
	}
	sum := sha256.New()
	m, err := memoryFile("module", io.TeeReader(io.NewSectionReader(f, 0, id.size), sum))
	if err != nil {
		return nil, "", fmt.Errorf("copy module: %w", err)
	}
	return m, "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// memoryFile gives a file in memory that nobody can change any more.
func memoryFile(name string, r io.Reader) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	m := os.NewFile(uintptr(fd), name)
	if _, err := io.Copy(m, r); err != nil {
		m.Close()
		return nil, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(m.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func readAt(f *os.File, b []byte) (int, error) {
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
