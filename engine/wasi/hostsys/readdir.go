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
	buf            []byte // of getdents64
	rest, lastRest []byte // of buf: what comes next, and that with the entry before it
	at, lastAt     uint64 // the cookies that lead there
	of             *file  // the directory
}

const (
	listingSize  = 16 << 10
	direntHeader = 19 // ino u64, off s64, length u16, type u8
	cookieBias   = 1
)

// FdReaddir gives the entries from a cookie on.
func (s *System) FdReaddir(fd uint32, cookie uint64, to wasi.DirentTaker) wasi.Errno {
	f, errno := s.get(fd)
	switch {
	case errno != 0:
		return errno
	case f.kind != wasi.FiletypeDirectory:
		return wasi.ENOTDIR
	case f.denied&wasi.RightFdReaddir != 0:
		return wasi.ENOTCAPABLE
	}
	if s.listing.buf == nil {
		s.listing.buf = make([]byte, listingSize)
	}
	if end, errno := s.listing.seek(f, cookie); end || errno != 0 {
		return errno
	}
	return s.listing.each(f.fd, to)
}

// seek makes the next entry the one behind the cookie. What was read ahead is
// used when the guest goes on where it was, or takes the last entry again since
// it was cut. A cookie that the directory does not know is its end.
func (l *listing) seek(f *file, cookie uint64) (end bool, errno wasi.Errno) {
	switch same := l.of == f && cookie > 0; { // 0 begins anew
	case same && l.rest != nil && cookie == l.at:
		return false, 0
	case same && l.lastRest != nil && cookie == l.lastAt:
		l.rest, l.at = l.lastRest, l.lastAt
		return false, 0
	}
	l.of, l.rest, l.lastRest, l.at = f, nil, nil, cookie
	off := uint64(0)
	if cookie > 0 {
		off = cookie - cookieBias
	}
	if off > math.MaxInt64 {
		return true, 0
	}
	_, err := unix.Seek(f.fd, int64(off), unix.SEEK_SET)
	if err == unix.EINVAL {
		return true, 0
	}
	return false, wasi.ErrnoOf(err)
}

func (l *listing) each(fd int, to wasi.DirentTaker) wasi.Errno {
	for {
		if len(l.rest) == 0 {
			n, err := unix.Getdents(fd, l.buf)
			l.rest, l.lastRest = nil, nil
			if err != nil || n == 0 {
				return wasi.ErrnoOf(err)
			}
			l.rest = l.buf[:n]
		}
		d, size := parseDirent(l.rest)
		l.lastRest, l.lastAt = l.rest, l.at
		l.rest, l.at = l.rest[size:], d.Next
		if !to.Take(d) {
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
