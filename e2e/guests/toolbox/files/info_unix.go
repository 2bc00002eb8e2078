//go:build unix

package files

import (
	"io/fs"
	"syscall"
	"time"
)

// details is what a file's status has beyond fs.FileInfo.
type details struct {
	dev, ino, nlink uint64
	atime, ctime    time.Time
	hasMode         bool // whether the permission bits are real
}

func detailsOf(info fs.FileInfo) details {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return details{}
	}
	return details{
		dev: uint64(st.Dev), ino: st.Ino, nlink: uint64(st.Nlink), hasMode: true,
		atime: info.ModTime(), ctime: info.ModTime(),
	}
}
