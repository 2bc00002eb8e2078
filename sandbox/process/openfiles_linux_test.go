package process

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenFilesCountsSockets(t *testing.T) {
	before, err := OpenFiles(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"}) // an abstract name of the kernel's choice
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	after, err := OpenFiles(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.Sockets != before.Sockets+1 || after.Files <= before.Files {
		t.Errorf("got %+v before a socket and %+v with it", before, after)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if after.Limit != limit.Cur {
		t.Errorf("got a limit of %d, want %d", after.Limit, limit.Cur)
	}
}

func TestOpenFilesOfNobody(t *testing.T) {
	if _, err := OpenFiles(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}
