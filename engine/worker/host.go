package worker

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/trace"
	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// host is the guest's WASI host and its streams.
type host struct {
	wasi   *preview1.Host
	stderr hostsys.Stream
	tracer *trace.Tracer // nil: calls are not traced
}

// openHost makes the WASI host over the root of this process, and binds the
// guest's imports to it.
func (w *worker) openHost() error {
	tracer := newTracer(w.start)
	root, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open root filesystem", err)
	}
	c := hostsys.Config{
		Args: w.start.Args, MaxFiles: int(w.start.MaxFiles),
		Preopens: []hostsys.Preopen{{Name: "/", FD: root, IsRoot: true}},
	}
	for i := range int(w.start.Listeners) {
		c.Listeners = append(c.Listeners, workerv1.FDFirstFree+i)
	}
	for i, name := range w.start.Dirs {
		c.Preopens = append(c.Preopens, hostsys.Preopen{Name: name, FD: workerv1.FDFirstFree + int(w.start.Listeners) + i, IsRoot: true})
	}
	c.Env = environment(w.start, len(c.Preopens))
	if err := w.openStreams(&c); err != nil {
		return err
	}
	sys, err := hostsys.New(c)
	if err != nil {
		return err
	}
	w.host = &host{wasi: preview1.NewHost(sys), stderr: c.Stderr, tracer: tracer}
	return w.bind()
}

// environment adds PWD, which is how a preview1 guest learns its directory, and
// what only this process knows of its listeners: the process id that they are
// for, and the number of the first, which is behind the preopened directories.
func environment(s *workerv1.Start, preopens int) [][]byte {
	env := s.Env
	if s.Cwd != "" && !slices.ContainsFunc(env, func(kv []byte) bool { return bytes.HasPrefix(kv, []byte("PWD=")) }) {
		env = append(env, []byte("PWD="+s.Cwd))
	}
	if s.Listeners == 0 {
		return env
	}
	const stdio = 3
	return append(env, fmt.Appendf(nil, "LISTEN_PID=%d", os.Getpid()), fmt.Appendf(nil, "LISTEN_FDS_START=%d", stdio+preopens))
}

// bind serves the guest's imports, each with a line in the trace if there is
// one.
func (w *worker) bind() error {
	for i, im := range wasmer.Imports() {
		call, ok := preview1.Lookup(im.Module, im.Name, im.Params, im.Results)
		if !ok {
			return fmt.Errorf("import %s.%s is not served by this worker", im.Module, im.Name)
		}
		if w.host.tracer != nil {
			call = w.host.tracer.Wrap(im.Module, im.Name, im.Params, call)
		}
		h := w.host.wasi
		wasmer.Bind(i, func(mem []byte, args []uint64) (uint64, bool) {
			errno := call(h, mem, args)
			if _, exited := h.Exited(); exited {
				w.end(nil) // here: unwinding the guest takes the engine longer than all the rest
			}
			return uint64(errno), false
		})
	}
	return nil
}

func (h *host) exited() (uint32, bool) { return h.wasi.Exited() }

// complain writes a message where the guest's stderr goes.
func (h *host) complain(message string) {
	line := []byte(message + "\n")
	switch {
	case h.stderr.Writer != nil:
		h.stderr.Writer.Write(line) // the exit record has it too
	case h.stderr.FD >= 0:
		unix.Write(h.stderr.FD, line)
	}
}

// endTrace writes the call under way, if there is one, and how the guest ended.
func (h *host) endTrace(r workerv1.ExitRecord) {
	if h.tracer == nil {
		return
	}
	h.tracer.End()
	text := fmt.Sprintf("exit code %d", r.Code)
	if r.Message != "" {
		text += ": " + strings.ReplaceAll(r.Message, "\n", ";")
	}
	h.tracer.Note(text)
}
