package hostsys

import (
	"bytes"
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// listing is the part of a directory that fd_readdir reads. Cookies are the
// kernel's own offsets plus one, so that they stay valid while the directory
// changes; 0 is the beginning.
type listing struct {
	buf  []byte // of getdents64, made once
	rest []byte
}

const (
	listingSize  = 16 << 10
	direntHeader = 19 // ino u64, off s64, length u16, type u8
	cookieBias   = 1
)

// FdReaddir gives the entries from a cookie on to yield, until it returns
// false.
func (s *System) FdReaddir(fd uint32, cookie uint64, yield func(wasi.Dirent) bool) wasi.Errno {
	f, errno := s.get(fd)
	switch {
	case errno != 0:
		return errno
	case f.kind != wasi.FiletypeDirectory:
		return wasi.ENOTDIR
	case f.rights&wasi.RightFdReaddir == 0:
		return wasi.ENOTCAPABLE
	}
	if s.listing.buf == nil {
		s.listing.buf = make([]byte, listingSize)
	}
	if errno := s.listing.seek(f.fd, cookie); errno != 0 {
		return errno
	}
	return s.listing.each(f.fd, yield)
}

// seek makes the next entry the one behind the cookie.
func (l *listing) seek(fd int, cookie uint64) wasi.Errno {
	off := uint64(0)
	if cookie > 0 {
		off = cookie - cookieBias
	}
	if off > math.MaxInt64 {
		return wasi.EINVAL
	}
	l.rest = nil
	_, err := unix.Seek(fd, int64(off), unix.SEEK_SET)
	return wasi.ErrnoOf(err)
}

func (l *listing) each(fd int, yield func(wasi.Dirent) bool) wasi.Errno {
	for {
		if len(l.rest) == 0 {
			n, err := unix.Getdents(fd, l.buf)
			if err != nil || n == 0 {
				return wasi.ErrnoOf(err)
			}
			l.rest = l.buf[:n]
		}
		d, size := parseDirent(l.rest)
		l.rest = l.rest[size:]
		if !yield(d) {
			return 0
		}
	}
}

func parseDirent(b []byte) (d wasi.Dirent, size int) {
	size = int(binary.LittleEndian.Uint16(b[16:]))
	name := b[direntHeader:size]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return wasi.Dirent{
		Ino: binary.LittleEndian.Uint64(b), Next: binary.LittleEndian.Uint64(b[8:]) + cookieBias, Type: direntType(b[18]), Name: name,
	}, size
}

func direntType(t byte) wasi.Filetype {
	switch t {
	case unix.DT_BLK:
		return wasi.FiletypeBlockDevice
	case unix.DT_CHR:
		return wasi.FiletypeCharacterDevice
	case unix.DT_DIR:
		return wasi.FiletypeDirectory
	case unix.DT_REG:
		return wasi.FiletypeRegularFile
	case unix.DT_LNK:
		return wasi.FiletypeSymbolicLink
	case unix.DT_SOCK:
		return wasi.FiletypeSocketStream
	}
	return wasi.FiletypeUnknown
}
