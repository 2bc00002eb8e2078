package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockName is the file that a daemon holds locked in each of its directories.
const lockName = "daemon.lock"

// lockDirs makes the directories and locks each against a second daemon, until
// unlock is called or the process ends. The error names the daemon that has one.
func lockDirs(dirs ...string) (unlock func(), err error) {
	var files []*os.File
	unlock = func() {
		for _, f := range files {
			f.Close()
		}
	}
	for _, dir := range dirs {
		f, err := lockDir(dir, dir)
		if err != nil {
			unlock()
			return nil, err
		}
		files = append(files, f)
	}
	return unlock, nil
}

// parentLocks has a directory to lock for each parent of control groups: a daemon
// ends what is below its parent and has no record.
const parentLocks = "/run/cri-wasmer.locks"

// lockParent locks a control group below which a daemon keeps those of its pods.
func lockParent(dir, parent string) (unlock func() error, err error) {
	f, err := lockDir(filepath.Join(dir, url.PathEscape(parent)), "control group "+parent)
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}

// lockDir takes the lock and notes the own pid in the file. The file stays, as
// removing it could give two daemons a lock each on different files. The error
// calls what is locked by its name.
func lockDir(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, lockName)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another cri-wasmer%s: stop it, or choose other places with --root, --state, --socket and --cgroup-parent",
				name, holder(file))
		}
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("note pid in %s: %w", file, err)
	}
	return f, nil
}

// freeSocket gives an error when a unix socket may not be made anew in the place of
// what is there: somebody serves on it, or it is no socket. The locks do not tell,
// for a daemon with other directories may have the same socket.
func freeSocket(name string) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket: choose another place with --socket", name)
	}
	conn, err := net.Dial("unix", name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whether the socket is free: %w", err)
	}
	_ = conn.Close() // nothing was said
	return fmt.Errorf("another server answers at %s: stop it, or choose another socket with --socket", name)
}

func writePID(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return err
}

// holder says who holds the lock, as far as the file tells.
func holder(name string) string {
	data, err := os.ReadFile(name)
	if pid := strings.TrimSpace(string(data)); err == nil && pid != "" {
		return " with pid " + pid
	}
	return ""
}
