package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/internal/lockfile"
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

// locks has what the daemons of a machine must not share: a directory to lock for
// each parent of control groups, as a daemon ends what is below its parent and has
// no record; and the subnets of bundled networks.
const locks = "/run/cri-wasmer.locks"

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
	f, err := lockfile.Take(filepath.Join(dir, lockName))
	var held *lockfile.HeldError
	if errors.As(err, &held) {
		return nil, fmt.Errorf("%s is in use by another cri-wasmer%s: stop it, or choose other places with --root, --state, --socket and --cgroup-parent",
			name, held.By())
	}
	return f, err
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
