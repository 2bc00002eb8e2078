package imageservice

import (
	"errors"
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
// after another one was removed took longer than decompressing them. It is a
// hint, which other file systems do not know.
func spread(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDirectory == 0 {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topDirectory))
	}
	for _, unknown := range []error{unix.ENOTTY, unix.ENOTSUP, unix.EINVAL, unix.ENOSYS, unix.EPERM} {
		if errors.Is(err, unknown) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("spread %s over the disk: %w", dir, err)
	}
	return nil
}
