package namespace

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// kind is a kind of namespace.
type kind struct {
	name string // in /proc/PID/ns
	flag int
}

var (
	kindUser = kind{"user", unix.CLONE_NEWUSER}
	kindNet  = kind{"net", unix.CLONE_NEWNET}
	kindIPC  = kind{"ipc", unix.CLONE_NEWIPC}
	kindUTS  = kind{"uts", unix.CLONE_NEWUTS}

	visited = []kind{kindNet, kindIPC, kindUTS} // what a thread of ours may be in for a moment
)

// OnThread runs f, which may enter other network, ipc and uts namespaces, on a
// locked thread that then returns to those of this process. A thread that
// cannot return stays locked and ends with its goroutine.
func OnThread(f func() error) error {
	done := make(chan error)
	go func() { done <- lockedThread(f) }()
	return <-done
}

func lockedThread(f func() error) error {
	runtime.LockOSThread()
	home, err := homes()
	defer closeAll(home)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	for i, k := range visited {
		if e := unix.Setns(int(home[i].Fd()), k.flag); e != nil {
			return errors.Join(err, fmt.Errorf("return to own %s namespace: %w", k.name, e))
		}
	}
	runtime.UnlockOSThread()
	return err
}

// homes opens the namespaces of the calling thread.
func homes() ([]*os.File, error) {
	var list []*os.File
	for _, k := range visited {
		f, err := os.Open("/proc/thread-self/ns/" + k.name)
		if err != nil {
			return list, fmt.Errorf("open own %s namespace: %w", k.name, err)
		}
		list = append(list, f)
	}
	return list, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// enter moves the calling thread into the namespace at path.
func enter(path string, k kind) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), k.flag); err != nil {
		return fmt.Errorf("enter %s namespace %s: %w", k.name, path, err)
	}
	return nil
}
