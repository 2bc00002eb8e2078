package hostsys

import (
	"math"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// iovecs makes vectors of Linux on the caller's stack.
func iovecs(dst *[16]unix.Iovec, bufs [][]byte) []unix.Iovec {
	v := dst[:0]
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		if len(v) == len(dst) {
			break
		}
		v = append(v, unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))})
	}
	return v
}

const noOffset = math.MaxUint64

// transfer is a direction: the system calls for one buffer, which are the
// quicker ones, and for several; at the position of the file or at an offset.
type transfer struct{ one, oneAt, many, manyAt uintptr }

var (
	reading = transfer{unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_READV, unix.SYS_PREADV}
	writing = transfer{unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_PWRITEV}
)

// do moves data. A call with more than 16 vectors moves a part, as the interface
// allows.
func (t *transfer) do(fd int, bufs [][]byte, off uint64) (int, wasi.Errno) {
	var room [16]unix.Iovec
	v := iovecs(&room, bufs)
	trap, trapAt, data, size := t.many, t.manyAt, unsafe.Pointer(&room), uintptr(len(v))
	if len(v) == 1 {
		trap, trapAt, data, size = t.one, t.oneAt, unsafe.Pointer(room[0].Base), uintptr(room[0].Len)
	}
	for {
		var n uintptr
		var e unix.Errno
		if off == noOffset {
			n, _, e = unix.Syscall(trap, uintptr(fd), uintptr(data), size)
		} else {
			n, _, e = unix.Syscall6(trapAt, uintptr(fd), uintptr(data), size, uintptr(off), 0, 0)
		}
		switch e {
		case 0:
			return int(n), 0
		case unix.EINTR:
			continue
		}
		return 0, wasi.ErrnoOf(e)
	}
}

// FdRead reads at the file's position.
func (s *System) FdRead(fd uint32, bufs [][]byte) (int, wasi.Errno) {
	f, errno := s.with(fd, wasi.RightFdRead)
	if errno != 0 {
		return 0, errno
	}
	return f.read(bufs, noOffset)
}

// FdPread reads at an offset.
func (s *System) FdPread(fd uint32, bufs [][]byte, off uint64) (int, wasi.Errno) {
	f, errno := s.with(fd, wasi.RightFdRead)
	if errno != 0 {
		return 0, errno
	}
	if off > math.MaxInt64 {
		return 0, wasi.EINVAL
	}
	return f.read(bufs, off)
}

func (f *file) read(bufs [][]byte, off uint64) (int, wasi.Errno) {
	switch {
	case f.kind == wasi.FiletypeDirectory:
		return 0, wasi.EBADF
	case f.fd < 0 && off != noOffset:
		return 0, wasi.ESPIPE
	case f.fd < 0:
		return 0, 0 // at its end
	}
	return reading.do(f.fd, bufs, off)
}

// FdWrite writes at the file's position.
func (s *System) FdWrite(fd uint32, bufs [][]byte) (int, wasi.Errno) {
	f, errno := s.with(fd, wasi.RightFdWrite)
	if errno != 0 {
		return 0, errno
	}
	return f.write(bufs, noOffset)
}

// FdPwrite writes at an offset.
func (s *System) FdPwrite(fd uint32, bufs [][]byte, off uint64) (int, wasi.Errno) {
	f, errno := s.with(fd, wasi.RightFdWrite)
	if errno != 0 {
		return 0, errno
	}
	if off > math.MaxInt64 {
		return 0, wasi.EINVAL
	}
	return f.write(bufs, off)
}

func (f *file) write(bufs [][]byte, off uint64) (int, wasi.Errno) {
	switch {
	case f.kind == wasi.FiletypeDirectory:
		return 0, wasi.EBADF
	case f.fd < 0 && off != noOffset:
		return 0, wasi.ESPIPE
	case f.writer != nil:
		return f.writeStream(bufs)
	case f.fd < 0:
		return total(bufs), 0 // discarded
	}
	return writing.do(f.fd, bufs, off)
}

func (f *file) writeStream(bufs [][]byte) (n int, errno wasi.Errno) {
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		m, err := f.writer.Write(b)
		n += m
		if err != nil {
			if n > 0 {
				break
			}
			return 0, wasi.ErrnoOf(err)
		}
	}
	return n, 0
}

func total(bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

// FdSeek moves the file's position.
func (s *System) FdSeek(fd uint32, offset int64, whence wasi.Whence) (uint64, wasi.Errno) {
	right := wasi.RightFdSeek
	if offset == 0 && whence == wasi.WhenceCur {
		right = wasi.RightFdTell
	}
	f, errno := s.get(fd)
	switch {
	case errno != 0:
		return 0, errno
	case f.kind == wasi.FiletypeDirectory:
		return 0, wasi.EBADF
	case f.fd < 0 || f.kind == wasi.FiletypeCharacterDevice || f.isSocket():
		return 0, wasi.ESPIPE
	case whence > wasi.WhenceEnd:
		return 0, wasi.EINVAL
	}
	if f.denied&right != 0 { // that it has no position is the better answer
		if _, err := unix.Seek(f.fd, 0, unix.SEEK_CUR); err != nil {
			return 0, wasi.ErrnoOf(err)
		}
		return 0, wasi.ENOTCAPABLE
	}
	n, err := unix.Seek(f.fd, offset, int(whence))
	if err != nil {
		return 0, wasi.ErrnoOf(err)
	}
	return uint64(n), 0
}

// FdAdvise is a hint.
func (s *System) FdAdvise(fd uint32, off, n uint64, advice wasi.Advice) wasi.Errno {
	f, errno := s.with(fd, wasi.RightFdAdvise)
	switch {
	case errno != 0:
		return errno
	case advice > wasi.AdviceNoreuse || off > math.MaxInt64 || n > math.MaxInt64:
		return wasi.EINVAL
	case f.fd < 0:
		return wasi.ESPIPE
	case f.kind == wasi.FiletypeDirectory:
		return wasi.EBADF
	}
	linux := [...]int{unix.FADV_NORMAL, unix.FADV_SEQUENTIAL, unix.FADV_RANDOM, unix.FADV_WILLNEED, unix.FADV_DONTNEED, unix.FADV_NOREUSE}
	return wasi.ErrnoOf(unix.Fadvise(f.fd, int64(off), int64(n), linux[advice]))
}

// FdAllocate makes sure that a range of the file has space on disk.
func (s *System) FdAllocate(fd uint32, off, n uint64) wasi.Errno {
	f, errno := s.with(fd, wasi.RightFdAllocate)
	switch {
	case errno != 0:
		return errno
	case f.kind == wasi.FiletypeDirectory:
		return wasi.EBADF
	case off > math.MaxInt64 || n > math.MaxInt64 || n == 0:
		return wasi.EINVAL
	case f.fd < 0:
		return wasi.ESPIPE
	}
	return wasi.ErrnoOf(unix.Fallocate(f.fd, 0, int64(off), int64(n)))
}

// FdSync writes the file to disk, with or without its times.
func (s *System) FdSync(fd uint32, dataOnly bool) wasi.Errno {
	right := wasi.RightFdSync
	if dataOnly {
		right = wasi.RightFdDatasync
	}
	f, errno := s.with(fd, right)
	switch {
	case errno != 0:
		return errno
	case f.fd < 0:
		return wasi.EINVAL
	case f.kind == wasi.FiletypeDirectory: // as wasmtime has it
		return wasi.EBADF
	case dataOnly:
		return wasi.ErrnoOf(unix.Fdatasync(f.fd))
	}
	return wasi.ErrnoOf(unix.Fsync(f.fd))
}

// FdFdstat describes a descriptor.
func (s *System) FdFdstat(fd uint32) (wasi.Fdstat, wasi.Errno) {
	f, errno := s.get(fd)
	if errno != 0 {
		return wasi.Fdstat{}, errno
	}
	return wasi.Fdstat{Filetype: f.kind, Flags: f.flags, Rights: f.rights, RightsInheriting: f.inheriting}, 0
}

// FdFdstatSetFlags changes append and nonblock; Linux cannot change the others
// of an open file.
func (s *System) FdFdstatSetFlags(fd uint32, flags wasi.Fdflags) wasi.Errno {
	f, errno := s.with(fd, wasi.RightFdFdstatSetFlags)
	if errno != 0 {
		return errno
	}
	const sync = wasi.FdflagsDsync | wasi.FdflagsRsync | wasi.FdflagsSync
	switch {
	case f.kind == wasi.FiletypeDirectory:
		return wasi.EBADF
	case flags&^wasi.FdflagsAll != 0:
		return wasi.EINVAL
	case flags&sync != f.flags&sync:
		return wasi.ENOTSUP
	case f.fd < 0:
		f.flags = flags
		return 0
	}
	old, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0)
	if err != nil {
		return wasi.ErrnoOf(err)
	}
	want := old &^ (unix.O_APPEND | unix.O_NONBLOCK)
	if flags&wasi.FdflagsAppend != 0 {
		want |= unix.O_APPEND
	}
	if flags&wasi.FdflagsNonblock != 0 {
		want |= unix.O_NONBLOCK
	}
	if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, want); err != nil {
		return wasi.ErrnoOf(err)
	}
	f.flags = flags
	return 0
}

// FdFdstatSetRights gives rights up; none come back.
func (s *System) FdFdstatSetRights(fd uint32, rights, inheriting wasi.Rights) wasi.Errno {
	f, errno := s.get(fd)
	if errno != 0 {
		return errno
	}
	if rights&^f.rights != 0 || inheriting&^f.inheriting != 0 {
		return wasi.ENOTCAPABLE
	}
	f.denied |= f.rights &^ rights
	f.deniedHeir |= f.inheriting &^ inheriting
	f.rights, f.inheriting = rights, inheriting
	return 0
}

// FdFilestat describes the open file.
func (s *System) FdFilestat(fd uint32) (wasi.Filestat, wasi.Errno) {
	f, errno := s.with(fd, wasi.RightFdFilestatGet)
	if errno != 0 {
		return wasi.Filestat{}, errno
	}
	if f.fd < 0 {
		return wasi.Filestat{Filetype: f.kind, Nlink: 1}, 0
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return wasi.Filestat{}, wasi.ErrnoOf(err)
	}
	fs := filestat(&st)
	fs.Filetype = f.kind
	if f.isStream && f.kind != wasi.FiletypeRegularFile { // whose inode and times they are is not the guest's business
		fs = wasi.Filestat{Filetype: f.kind, Nlink: 1}
	}
	return fs, 0
}

func filestat(st *unix.Stat_t) wasi.Filestat {
	return wasi.Filestat{
		Dev: st.Dev, Ino: st.Ino, Filetype: filetype(st.Mode), Nlink: uint64(st.Nlink), Size: uint64(st.Size),
		Atim: nanos(st.Atim), Mtim: nanos(st.Mtim), Ctim: nanos(st.Ctim),
	}
}

// nanos gives a time as the guest has it, which begins in 1970 and ends in 2554.
func nanos(t unix.Timespec) uint64 {
	const last = math.MaxUint64 / 1_000_000_000
	switch {
	case t.Sec < 0:
		return 0
	case uint64(t.Sec) >= last:
		return math.MaxUint64
	}
	return uint64(t.Sec)*1e9 + uint64(t.Nsec)
}

// FdFilestatSetSize cuts or grows the file.
func (s *System) FdFilestatSetSize(fd uint32, size uint64) wasi.Errno {
	f, errno := s.with(fd, wasi.RightFdFilestatSetSize)
	switch {
	case errno != 0:
		return errno
	case f.kind == wasi.FiletypeDirectory:
		return wasi.EBADF
	case size > math.MaxInt64 || f.fd < 0:
		return wasi.EINVAL
	}
	return wasi.ErrnoOf(unix.Ftruncate(f.fd, int64(size)))
}

// FdFilestatSetTimes sets the times of the open file.
func (s *System) FdFilestatSetTimes(fd uint32, atim, mtim uint64, flags wasi.Fstflags) wasi.Errno {
	f, errno := s.with(fd, wasi.RightFdFilestatSetTimes)
	if errno != 0 {
		return errno
	}
	times, errno := timespecs(atim, mtim, flags)
	if errno != 0 {
		return errno
	}
	switch {
	case f.readonly: // owners need no descriptor for writing
		return wasi.EROFS
	case f.fd < 0:
		return wasi.EINVAL
	}
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(f.fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if e != 0 {
		return wasi.ErrnoOf(e)
	}
	return 0
}

// timespecs checks the flags: a time is set to a value or to now, not both.
func timespecs(atim, mtim uint64, flags wasi.Fstflags) (t [2]unix.Timespec, errno wasi.Errno) {
	const bothA, bothM = wasi.FstflagsAtim | wasi.FstflagsAtimNow, wasi.FstflagsMtim | wasi.FstflagsMtimNow
	if flags&^wasi.FstflagsAll != 0 || flags&bothA == bothA || flags&bothM == bothM {
		return t, wasi.EINVAL
	}
	t[0] = timespec(atim, flags&wasi.FstflagsAtim != 0, flags&wasi.FstflagsAtimNow != 0)
	t[1] = timespec(mtim, flags&wasi.FstflagsMtim != 0, flags&wasi.FstflagsMtimNow != 0)
	return t, 0
}

func timespec(ns uint64, set, now bool) unix.Timespec {
	switch {
	case set:
		return unix.Timespec{Sec: int64(ns / 1e9), Nsec: int64(ns % 1e9)}
	case now:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	return unix.Timespec{Nsec: unix.UTIME_OMIT}
}
