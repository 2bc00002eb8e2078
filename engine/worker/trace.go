package worker

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi/trace"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// newTracer traces to the files that the daemon left for it, nil when there are
// none. Their numbers may be taken by something of this process, which is no
// file to append to.
func newTracer(s *workerv1.Start) *trace.Tracer {
	if !isTraceFile(workerv1.FDTrace) {
		return nil
	}
	old := -1
	if isRegular(workerv1.FDOldTrace) {
		old = workerv1.FDOldTrace
	}
	t := trace.NewDated(&traceFile{fd: workerv1.FDTrace, old: old, most: int64(min(s.TraceSize, 1<<62) / 2)}, s.TraceMark)
	t.Note(fmt.Sprintf("%s starts as %q", s.Program, s.Args))
	return t
}

func isTraceFile(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_APPEND != 0 && flags&unix.O_ACCMODE == unix.O_RDWR && isRegular(fd)
}

func isRegular(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// traceFile is the end of a trace: when the file is half of what both may be,
// its contents move to the other, whose own are lost. A container and its execs
// append to one file; whoever finds it full moves it. What cannot be written is
// counted and reported when there is room again. Not safe for concurrent use.
type traceFile struct {
	fd, old int   // old: -1 for none
	most    int64 // bytes of one file
	written int64 // since the size was looked at
	lost    int
	why     error
	cut     bool // the last line was written in part
}

// Write appends one line, or counts it as lost. It never fails.
func (f *traceFile) Write(line []byte) (int, error) {
	f.bound()
	if f.lost > 0 && f.append(f.apology()) {
		f.lost, f.why, f.cut = 0, nil, false
	}
	if f.lost > 0 || !f.append(line) {
		f.lost++
	}
	return len(line), nil
}

// apology says what is missing, on a line of its own.
func (f *traceFile) apology() []byte {
	text := fmt.Sprintf("# %d lines are missing: %v\n", f.lost, f.why)
	if f.cut {
		text = "\n" + text
	}
	return []byte(text)
}

func (f *traceFile) append(line []byte) bool {
	for {
		n, err := unix.Write(f.fd, line)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			f.why = os.NewSyscallError("write", err)
			return false
		}
		f.written += int64(n)
		if n < len(line) {
			f.cut, f.why = true, unix.ENOSPC
		}
		return n == len(line)
	}
}

// bound keeps the file short. Its true size is looked at now and then: others
// append to it, too.
func (f *traceFile) bound() {
	interval := min(f.most/8, 64<<10)
	if f.written < interval {
		return
	}
	f.written = 0
	if f.size() < f.most {
		return
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLK, &lock) != nil {
		return // another process moves it
	}
	if n := f.size(); n >= f.most {
		f.move(n)
	}
	lock.Type = unix.F_UNLCK
	unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLK, &lock)
}

func (f *traceFile) size() int64 {
	var st unix.Stat_t
	if unix.Fstat(f.fd, &st) != nil {
		return 0
	}
	return st.Size
}

// move copies n bytes to the other file and empties this one. Lines that are
// appended meanwhile go with it.
func (f *traceFile) move(n int64) {
	if f.old >= 0 {
		if err := copyFile(f.old, f.fd, n); err != nil {
			unix.Ftruncate(f.old, 0) // half a trace would mislead
		}
	}
	unix.Ftruncate(f.fd, 0)
}

func copyFile(to, from int, n int64) error {
	if err := unix.Ftruncate(to, 0); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for at := int64(0); at < n; {
		m, err := unix.Pread(from, buf[:min(int64(len(buf)), n-at)], at)
		if err != nil || m == 0 {
			return err
		}
		if w, err := unix.Pwrite(to, buf[:m], at); err != nil || w < m {
			return unix.ENOSPC
		}
		at += int64(m)
	}
	return nil
}
