package preview1

import (
	"encoding/binary"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

func fdClose(h *Host, _ []byte, a []uint64) wasi.Errno { return h.sys.FdClose(uint32(a[0])) }

func fdDatasync(h *Host, _ []byte, a []uint64) wasi.Errno { return h.sys.FdSync(uint32(a[0]), true) }

func fdSync(h *Host, _ []byte, a []uint64) wasi.Errno { return h.sys.FdSync(uint32(a[0]), false) }

func fdRenumber(h *Host, _ []byte, a []uint64) wasi.Errno {
	return h.sys.FdRenumber(uint32(a[0]), uint32(a[1]))
}

func fdAdvise(h *Host, _ []byte, a []uint64) wasi.Errno {
	if a[3] > 0xff {
		return wasi.EINVAL
	}
	return h.sys.FdAdvise(uint32(a[0]), a[1], a[2], wasi.Advice(a[3]))
}

func fdAllocate(h *Host, _ []byte, a []uint64) wasi.Errno {
	return h.sys.FdAllocate(uint32(a[0]), a[1], a[2])
}

func fdFdstatGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	st, errno := h.sys.FdFdstat(uint32(a[0]))
	if errno != 0 {
		return errno
	}
	b, ok := memory(mem).span(a[1], 24)
	if !ok {
		return wasi.EFAULT
	}
	clear(b)
	b[0] = byte(st.Filetype)
	binary.LittleEndian.PutUint16(b[2:], uint16(st.Flags))
	binary.LittleEndian.PutUint64(b[8:], uint64(st.Rights))
	binary.LittleEndian.PutUint64(b[16:], uint64(st.RightsInheriting))
	return 0
}

func fdFdstatSetFlags(h *Host, _ []byte, a []uint64) wasi.Errno {
	if a[1] > 0xffff {
		return wasi.EINVAL
	}
	return h.sys.FdFdstatSetFlags(uint32(a[0]), wasi.Fdflags(a[1]))
}

func fdFdstatSetRights(h *Host, _ []byte, a []uint64) wasi.Errno {
	return h.sys.FdFdstatSetRights(uint32(a[0]), wasi.Rights(a[1]), wasi.Rights(a[2]))
}

const filestatSize = 64

func putFilestat(mem []byte, ptr uint64, st wasi.Filestat) wasi.Errno {
	b, ok := memory(mem).span(ptr, filestatSize)
	if !ok {
		return wasi.EFAULT
	}
	clear(b)
	for i, v := range [...]uint64{st.Dev, st.Ino, uint64(st.Filetype), st.Nlink, st.Size, st.Atim, st.Mtim, st.Ctim} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return 0
}

func fdFilestatGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	st, errno := h.sys.FdFilestat(uint32(a[0]))
	if errno != 0 {
		return errno
	}
	return putFilestat(mem, a[1], st)
}

func fdFilestatSetSize(h *Host, _ []byte, a []uint64) wasi.Errno {
	return h.sys.FdFilestatSetSize(uint32(a[0]), a[1])
}

func fdFilestatSetTimes(h *Host, _ []byte, a []uint64) wasi.Errno {
	if a[3] > 0xffff {
		return wasi.EINVAL
	}
	return h.sys.FdFilestatSetTimes(uint32(a[0]), a[1], a[2], wasi.Fstflags(a[3]))
}

func fdPrestatGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	name, errno := h.sys.FdPrestat(uint32(a[0]))
	if errno != 0 {
		return errno
	}
	return memory(mem).putU64(a[1], uint64(len(name))<<32) // tag 0: a directory
}

func fdPrestatDirName(h *Host, mem []byte, a []uint64) wasi.Errno {
	name, errno := h.sys.FdPrestat(uint32(a[0]))
	if errno != 0 {
		return errno
	}
	if a[2] < uint64(len(name)) {
		return wasi.ENAMETOOLONG
	}
	b, ok := memory(mem).span(a[1], uint64(len(name)))
	if !ok {
		return wasi.EFAULT
	}
	copy(b, name)
	return 0
}

func fdRead(h *Host, mem []byte, a []uint64) wasi.Errno {
	bufs, errno := h.iovs(mem, a[1], a[2])
	if errno != 0 {
		return errno
	}
	if !memory(mem).writable(a[3], 4) {
		return wasi.EFAULT
	}
	n, errno := h.sys.FdRead(uint32(a[0]), bufs)
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[3], uint32(n))
}

func fdPread(h *Host, mem []byte, a []uint64) wasi.Errno {
	bufs, errno := h.iovs(mem, a[1], a[2])
	if errno != 0 {
		return errno
	}
	if !memory(mem).writable(a[4], 4) {
		return wasi.EFAULT
	}
	n, errno := h.sys.FdPread(uint32(a[0]), bufs, a[3])
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[4], uint32(n))
}

func fdWrite(h *Host, mem []byte, a []uint64) wasi.Errno {
	bufs, errno := h.iovs(mem, a[1], a[2])
	if errno != 0 {
		return errno
	}
	if !memory(mem).writable(a[3], 4) {
		return wasi.EFAULT
	}
	n, errno := h.sys.FdWrite(uint32(a[0]), bufs)
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[3], uint32(n))
}

func fdPwrite(h *Host, mem []byte, a []uint64) wasi.Errno {
	bufs, errno := h.iovs(mem, a[1], a[2])
	if errno != 0 {
		return errno
	}
	if !memory(mem).writable(a[4], 4) {
		return wasi.EFAULT
	}
	n, errno := h.sys.FdPwrite(uint32(a[0]), bufs, a[3])
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[4], uint32(n))
}

func fdSeek(h *Host, mem []byte, a []uint64) wasi.Errno {
	if a[2] > uint64(wasi.WhenceEnd) {
		return wasi.EINVAL
	}
	return seek(h, mem, a, wasi.Whence(a[2]))
}

func seek(h *Host, mem []byte, a []uint64, whence wasi.Whence) wasi.Errno {
	if !memory(mem).writable(a[3], 8) {
		return wasi.EFAULT
	}
	at, errno := h.sys.FdSeek(uint32(a[0]), int64(a[1]), whence)
	if errno != 0 {
		return errno
	}
	return memory(mem).putU64(a[3], at)
}

func fdTell(h *Host, mem []byte, a []uint64) wasi.Errno {
	at, errno := h.sys.FdSeek(uint32(a[0]), 0, wasi.WhenceCur)
	if errno != 0 {
		return errno
	}
	return memory(mem).putU64(a[1], at)
}

const direntSize = 24

// fdReaddir fills the buffer with entries; the last may be cut, which tells the
// guest that there are more.
func fdReaddir(h *Host, mem []byte, a []uint64) wasi.Errno {
	buf, ok := memory(mem).span(a[1], a[2])
	if !ok || !memory(mem).writable(a[4], 4) {
		return wasi.EFAULT
	}
	h.dirents = dirents{buf: buf}
	errno := h.sys.FdReaddir(uint32(a[0]), a[3], &h.dirents)
	used := h.dirents.used
	h.dirents.buf = nil
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[4], uint32(used))
}

// dirents lays the entries of a directory out in a guest's buffer.
type dirents struct {
	buf  []byte
	used int
}

// Take implements wasi.DirentTaker.
func (l *dirents) Take(d wasi.Dirent) bool {
	var head [direntSize]byte
	binary.LittleEndian.PutUint64(head[0:], d.Next)
	binary.LittleEndian.PutUint64(head[8:], d.Ino)
	binary.LittleEndian.PutUint32(head[16:], uint32(len(d.Name)))
	head[20] = byte(d.Type)
	l.used += copy(l.buf[l.used:], head[:])
	l.used += copy(l.buf[l.used:], d.Name)
	return l.used < len(l.buf)
}
