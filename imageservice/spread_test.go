package imageservice

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLayersAreSpreadOverTheDisk(t *testing.T) {
	const ext4 = 0xef53
	for name, root := range map[string]string{"here": t.TempDir(), "in memory": "/dev/shm"} {
		t.Run(name, func(t *testing.T) {
			root, err := os.MkdirTemp(root, "cri-wasmer-test-")
			if err != nil {
				t.Skip(err)
			}
			defer os.RemoveAll(root)
			if _, err := openStore(root); err != nil {
				t.Fatal(err)
			}
			s, err := openStore(root) // that it is done already is no error
			if err != nil {
				t.Fatal(err)
			}
			var fs unix.Statfs_t
			if err := unix.Statfs(s.tmp(), &fs); err != nil || fs.Type != ext4 {
				return // a hint for ext4 alone
			}
			f, err := os.Open(s.tmp())
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS); err != nil || flags&topDirectory == 0 {
				t.Errorf("flags of %s are %#x, %v", s.tmp(), flags, err)
			}
		})
	}
}
