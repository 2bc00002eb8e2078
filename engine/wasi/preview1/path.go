package preview1

import "github.com/cri-wasmer/cri-wasmer/engine/wasi"

// lookup checks lookup flags.
func lookup(v uint64) (wasi.Lookupflags, wasi.Errno) {
	if v > uint64(wasi.LookupSymlinkFollow) {
		return 0, wasi.EINVAL
	}
	return wasi.Lookupflags(v), 0
}

func pathCreateDirectory(h *Host, mem []byte, a []uint64) wasi.Errno {
	path, errno := memory(mem).str(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return h.sys.PathCreateDirectory(uint32(a[0]), path)
}

func pathRemoveDirectory(h *Host, mem []byte, a []uint64) wasi.Errno {
	path, errno := memory(mem).str(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return h.sys.PathRemoveDirectory(uint32(a[0]), path)
}

func pathUnlinkFile(h *Host, mem []byte, a []uint64) wasi.Errno {
	path, errno := memory(mem).str(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return h.sys.PathUnlinkFile(uint32(a[0]), path)
}

// filestatAt is path_filestat_get up to its result.
func filestatAt(h *Host, mem []byte, a []uint64) (wasi.Filestat, wasi.Errno) {
	flags, errno := lookup(a[1])
	if errno != 0 {
		return wasi.Filestat{}, errno
	}
	path, errno := memory(mem).str(a[2], a[3])
	if errno != 0 {
		return wasi.Filestat{}, errno
	}
	return h.sys.PathFilestat(uint32(a[0]), flags, path)
}

func pathFilestatGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	st, errno := filestatAt(h, mem, a)
	if errno != 0 {
		return errno
	}
	return putFilestat(mem, a[4], st)
}

func pathFilestatSetTimes(h *Host, mem []byte, a []uint64) wasi.Errno {
	flags, errno := lookup(a[1])
	if errno != 0 {
		return errno
	}
	path, errno := memory(mem).str(a[2], a[3])
	if errno != 0 {
		return errno
	}
	if a[6] > 0xffff {
		return wasi.EINVAL
	}
	return h.sys.PathFilestatSetTimes(uint32(a[0]), flags, path, a[4], a[5], wasi.Fstflags(a[6]))
}

func pathLink(h *Host, mem []byte, a []uint64) wasi.Errno {
	flags, errno := lookup(a[1])
	if errno != 0 {
		return errno
	}
	from, errno := memory(mem).str(a[2], a[3])
	if errno != 0 {
		return errno
	}
	to, errno := memory(mem).str(a[5], a[6])
	if errno != 0 {
		return errno
	}
	return h.sys.PathLink(uint32(a[0]), flags, from, uint32(a[4]), to)
}

func pathOpen(h *Host, mem []byte, a []uint64) wasi.Errno {
	flags, errno := lookup(a[1])
	if errno != 0 {
		return errno
	}
	path, errno := memory(mem).str(a[2], a[3])
	if errno != 0 {
		return errno
	}
	if a[4] > 0xffff || a[7] > 0xffff {
		return wasi.EINVAL
	}
	if !memory(mem).writable(a[8], 4) {
		return wasi.EFAULT
	}
	fd, errno := h.sys.PathOpen(uint32(a[0]), flags, path, wasi.Oflags(a[4]), wasi.Rights(a[5]), wasi.Rights(a[6]), wasi.Fdflags(a[7]))
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[8], fd)
}

func pathReadlink(h *Host, mem []byte, a []uint64) wasi.Errno {
	path, errno := memory(mem).str(a[1], a[2])
	if errno != 0 {
		return errno
	}
	buf, ok := memory(mem).span(a[3], a[4])
	if !ok || !memory(mem).writable(a[5], 4) {
		return wasi.EFAULT
	}
	n, errno := h.sys.PathReadlink(uint32(a[0]), path, buf)
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[5], uint32(n))
}

func pathRename(h *Host, mem []byte, a []uint64) wasi.Errno {
	from, errno := memory(mem).str(a[1], a[2])
	if errno != 0 {
		return errno
	}
	to, errno := memory(mem).str(a[4], a[5])
	if errno != 0 {
		return errno
	}
	return h.sys.PathRename(uint32(a[0]), from, uint32(a[3]), to)
}

func pathSymlink(h *Host, mem []byte, a []uint64) wasi.Errno {
	target, errno := memory(mem).str(a[0], a[1])
	if errno != 0 {
		return errno
	}
	path, errno := memory(mem).str(a[3], a[4])
	if errno != 0 {
		return errno
	}
	return h.sys.PathSymlink(target, uint32(a[2]), path)
}
