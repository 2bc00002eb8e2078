package applet

import (
	"os"
	"structs"
	"syscall"
)

// fdstat is the structure of that name in preview1.
type fdstat struct {
	_                structs.HostLayout
	filetype         uint8
	flags            uint16
	rightsBase       uint64
	rightsInheriting uint64
}

//go:wasmimport wasi_snapshot_preview1 fd_fdstat_get
//go:noescape
func fdFdstatGet(fd int32, buf *fdstat) uint32

const rightSeekTell = 1<<2 | 1<<5

// IsTerminal tells whether v is a terminal: a character device that cannot
// seek, which is how wasi-libc's isatty tells terminals from /dev/null.
func IsTerminal(v any) bool {
	f, ok := v.(interface{ Fd() uintptr })
	if !ok {
		return false
	}
	var st fdstat
	if errno := fdFdstatGet(int32(f.Fd()), &st); errno != 0 {
		return false
	}
	return st.filetype == uint8(syscall.FILETYPE_CHARACTER_DEVICE) && st.rightsBase&rightSeekTell == 0
}

var _ interface{ Fd() uintptr } = (*os.File)(nil)
