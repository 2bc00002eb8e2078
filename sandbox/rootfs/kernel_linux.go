package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// kernel is what differs between the kernels that we support.
type kernel struct {
	layerList bool // overlay takes layers one by one (6.7)
	indexOff  bool // overlay has the index option
	mknod     bool // device nodes can be made on a tmpfs of ours
}

// probe asks the kernel. It fails when something is missing that has no
// substitute.
func probe() (kernel, error) {
	var k kernel
	if err := unix.MountSetattr(-1, "", 0, &unix.MountAttr{}); errors.Is(err, unix.ENOSYS) {
		return k, fmt.Errorf("%w: mount_setattr, which needs Linux 5.12", ErrUnsupported)
	}
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return k, fmt.Errorf("%w: overlay filesystem (modprobe overlay): %w", ErrUnsupported, err)
	}
	defer unix.Close(fd)
	k.layerList = takesLayerList(fd)
	_, err = os.Stat("/sys/module/overlay/parameters/index")
	k.indexOff = err == nil
	k.mknod, err = mknodWorks()
	return k, err
}

// takesLayerList asks an overlay context. Before 6.5 it accepts every option
// and complains when the filesystem is made, so it is asked for nonsense first.
func takesLayerList(fd int) bool {
	if unix.FsconfigSetString(fd, "no-such-option", "1") == nil {
		return false
	}
	return unix.FsconfigSetString(fd, "lowerdir+", "/") == nil
}

// mknodWorks says whether device nodes can be made. In a user namespace they
// cannot, and the nodes of the host are bound instead.
func mknodWorks() (bool, error) {
	fd, err := newTmpfs(0, "size", "64k")
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	err = unix.Mknodat(fd, "null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	return err == nil, nil
}

func openPath(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func errorsJoinClose(err error, c io.Closer) error {
	return errors.Join(err, c.Close())
}

// labelOption gives all of a filesystem one SELinux label.
const labelOption = "context"

// newTmpfs gives a tmpfs that is not attached anywhere. options are pairs.
func newTmpfs(attr int, options ...string) (int, error) {
	return newMount("tmpfs", attr, options...)
}

// newMount gives a new filesystem that is not attached anywhere. options are
// pairs.
func newMount(fstype string, attr int, options ...string) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", fstype, err)
	}
	defer unix.Close(fs)
	for i := 0; i+1 < len(options); i += 2 {
		if err := unix.FsconfigSetString(fs, options[i], options[i+1]); err != nil {
			return -1, fsError(fs, fmt.Sprintf("%s option %s=%s", fstype, options[i], options[i+1]), err)
		}
	}
	return createMount(fs, fstype, attr)
}

// createMount makes the superblock and mount of a configured context.
func createMount(fs int, fstype string, attr int) (int, error) {
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fsError(fs, "create "+fstype, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, fsError(fs, "mount "+fstype, err)
	}
	return fd, nil
}

// fsError adds what the kernel has to say about a failed call on a filesystem
// context.
func fsError(fs int, op string, err error) error {
	var said []string
	buf := make([]byte, 1024)
	for range 8 {
		n, e := unix.Read(fs, buf)
		if e != nil || n <= 0 {
			break
		}
		msg := strings.TrimSpace(string(buf[:n]))
		said = append(said, strings.TrimPrefix(msg, "e "))
	}
	if len(said) == 0 {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: %w (%s)", op, err, strings.Join(said, "; "))
}

// inRoot cleans a path of the container.
func inRoot(path string) string { return filepath.Clean("/" + path) }
