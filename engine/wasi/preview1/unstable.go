package preview1

import (
	"encoding/binary"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// wasi_unstable (snapshot 0) differs in the layout of a filestat and a
// subscription, and in the order of whence.

const unstableFilestatSize = 56

func putUnstableFilestat(mem []byte, ptr uint64, st wasi.Filestat) wasi.Errno {
	b, ok := memory(mem).span(ptr, unstableFilestatSize)
	if !ok {
		return wasi.EFAULT
	}
	clear(b)
	binary.LittleEndian.PutUint64(b, st.Dev)
	binary.LittleEndian.PutUint64(b[8:], st.Ino)
	b[16] = byte(st.Filetype)
	binary.LittleEndian.PutUint32(b[20:], uint32(min(st.Nlink, 1<<32-1)))
	for i, v := range [...]uint64{st.Size, st.Atim, st.Mtim, st.Ctim} {
		binary.LittleEndian.PutUint64(b[24+8*i:], v)
	}
	return 0
}

func unstableFdFilestatGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	st, errno := h.sys.FdFilestat(uint32(a[0]))
	if errno != 0 {
		return errno
	}
	return putUnstableFilestat(mem, a[1], st)
}

func unstablePathFilestatGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	st, errno := filestatAt(h, mem, a)
	if errno != 0 {
		return errno
	}
	return putUnstableFilestat(mem, a[4], st)
}

func unstableFdSeek(h *Host, mem []byte, a []uint64) wasi.Errno {
	order := [...]wasi.Whence{wasi.WhenceCur, wasi.WhenceEnd, wasi.WhenceSet}
	if a[2] >= uint64(len(order)) {
		return wasi.EINVAL
	}
	return seek(h, mem, a, order[a[2]])
}
