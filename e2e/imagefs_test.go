package e2e

import (
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// onDisk measures directories as du does: a file with several names counts
// once.
func onDisk(t *testing.T, dirs ...string) (bytes, inodes uint64) {
	t.Helper()
	seen := map[uint64]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil || seen[st.Ino] {
				return err
			}
			seen[st.Ino] = true
			bytes += uint64(st.Blocks) * 512
			inodes++
			return nil
		})
		must(t, err)
	}
	return bytes, inodes
}

// ImageFsInfo tells of images and of containers what is on disk, each for
// itself.
func TestImageFsInfoIsWhatIsOnDisk(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	p := n.hostPod(t)
	n.program(t, "hello-c")
	c := p.run(criclient.ContainerSpec{Image: n.shell(t), Args: []string{"sleep", "1000"}})
	_, err := n.Client.Exec(t.Context(), c.id, 30, "sh", "-c", "echo hello > /tmp/a; echo hello > /tmp/b; mkdir /tmp/d")
	must(t, err)
	images, code, layers := filepath.Join(n.Root(), "images"), filepath.Join(n.Root(), "code"), filepath.Join(n.Root(), "rootfs")
	type usage struct{ bytes, inodes uint64 }
	var image, wantImage, container usage
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		r, err := n.Client.Images.ImageFsInfo(t.Context(), &runtime.ImageFsInfoRequest{})
		must(t, err)
		i, k := r.ImageFilesystems[0], r.ContainerFilesystems[0]
		image = usage{i.UsedBytes.Value, i.InodesUsed.Value}
		container = usage{k.UsedBytes.Value, k.InodesUsed.Value}
		wantImage.bytes, wantImage.inodes = onDisk(t, images, code)
		if image == wantImage && container.bytes > 0 { // content is on its way to the disk for a moment
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("images take %+v, on disk are %+v", image, wantImage)
			break
		}
	}
	// Two files of a block each, a directory, and the directories of the layer.
	all := usage{}
	all.bytes, all.inodes = onDisk(t, layers)
	if container.bytes < 3*4096 || container.inodes < 4 || container.bytes > all.bytes || container.inodes > all.inodes {
		t.Errorf("writable layers take %+v, below %s are %+v", container, layers, all)
	}
}

// A registry that only a proxy reaches.
func TestPullThroughAProxy(t *testing.T) {
	const name = "registry.test"
	requireServer(t)
	n, err := startNode(t, nodeOptions{hosts: map[string]string{name: "server = \"http://" + name + "\"\n"}, proxied: true})
	must(t, err)
	t.Cleanup(n.close)
	n.watch(t)
	a := freshImage(t, n)
	n.push(t, "behind/proxy", a)
	ref := name + "/behind/proxy:v1"
	_, err = n.Client.Pull(t.Context(), ref)
	must(t, err)
	if i := n.image(t, ref); i == nil || i.RepoTags[0] != ref {
		t.Errorf("the image is %v", i)
	}
}
