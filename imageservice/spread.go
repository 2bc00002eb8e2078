package imageservice

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// topDirectory is FS_TOPDIR_FL of linux/fs.h: what is below one of the
// directory's subdirectories has nothing to do with what is below another.
const topDirectory = 0x00020000

// spread has ext4 put each new subdirectory of dir, with all that is in it, into
// a block group of its own. Otherwise all layers share one, and there a new file
// is expensive: ext4 takes no inode that was freed within the last minutes, which
// it finds out one by one for each file, and so creating the files of an image
// after another one was removed took longer than decompressing them.
//
// It is a hint. Other file systems do not know it, each in words of its own, and
// without it everything works: the error is about opening the directory.
func spread(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("spread over the disk: %w", err)
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDirectory == 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topDirectory))
	}
	return nil
}
