package applet

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// The standard streams of the process.
var (
	Stdin  = &Stdio{fd: 0, file: os.Stdin}
	Stdout = &Stdio{fd: 1, file: os.Stdout}
	Stderr = &Stdio{fd: 2, file: os.Stderr}
)

// Stdio is a standard stream that blocks only its goroutine: the first read
// gives the descriptor to Go's poller. As descriptors of a terminal share their
// flags, a write that would block does the same. One goroutine may read and one
// may write at a time.
type Stdio struct {
	fd     int
	file   *os.File
	polled bool
}

// Fd is the descriptor. It does not touch its flags, which os.File.Fd does.
func (s *Stdio) Fd() uintptr { return uintptr(s.fd) }

// Read reads; a descriptor that is closed is at its end.
func (s *Stdio) Read(p []byte) (int, error) {
	if !s.polled {
		s.poll()
	}
	if s.file == nil {
		return 0, io.EOF
	}
	n, err := s.file.Read(p)
	if errors.Is(err, syscall.EBADF) {
		return n, io.EOF
	}
	return n, err
}

// Write writes all of p.
func (s *Stdio) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	if s.polled || !errors.Is(err, syscall.EAGAIN) {
		return n, err
	}
	s.poll()
	m, err := s.file.Write(p[n:])
	return n + m, err
}

// poll opens the descriptor anew in the way that the poller knows. Regular
// files never block.
func (s *Stdio) poll() {
	s.polled = true
	if info, err := s.file.Stat(); err != nil || info.Mode().IsRegular() {
		return
	}
	if err := syscall.SetNonblock(s.fd, true); err != nil {
		return
	}
	s.file = os.NewFile(uintptr(s.fd), s.file.Name())
}
