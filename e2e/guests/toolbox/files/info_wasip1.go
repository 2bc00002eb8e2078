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
		dev: st.Dev, ino: st.Ino, nlink: st.Nlink,
		atime: time.Unix(0, int64(st.Atime)), ctime: time.Unix(0, int64(st.Ctime)),
	}
}
