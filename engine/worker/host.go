package worker

import (
	"fmt"
	"os"
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
}

// openHost makes the WASI host over the root of this process, and binds the
// guest's imports to it.
func (w *worker) openHost() error {
	tracer := newTracer()
	root, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open root filesystem", err)
	}
	c := hostsys.Config{
		Args: w.start.Args, Env: environment(w.start), MaxFiles: int(w.start.MaxFiles),
		Preopens: []hostsys.Preopen{{Name: "/", FD: root, IsRoot: true}},
	}
	for i := range int(w.start.Listeners) {
		c.Listeners = append(c.Listeners, workerv1.FDFirstFree+i)
	}
	for i, name := range w.start.Dirs {
		c.Preopens = append(c.Preopens, hostsys.Preopen{Name: name, FD: workerv1.FDFirstFree + int(w.start.Listeners) + i, IsRoot: true})
	}
	if err := w.openStreams(&c); err != nil {
		return err
	}
	sys, err := hostsys.New(c)
	if err != nil {
		return err
	}
	w.host = &host{wasi: preview1.NewHost(sys), stderr: c.Stderr}
	return w.bind(tracer)
}

// newTracer traces to the file that the daemon left for it, nil when there is
// none. The number may be taken by something of this process, which is no file
// to append to.
func newTracer() *trace.Tracer {
	var st unix.Stat_t
	if unix.Fstat(workerv1.FDTrace, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	flags, err := unix.FcntlInt(workerv1.FDTrace, unix.F_GETFL, 0)
	if err != nil || flags&unix.O_APPEND == 0 || flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil
	}
	return trace.New(os.NewFile(workerv1.FDTrace, "trace"))
}

// environment adds PWD, which is how a preview1 guest learns its directory.
func environment(s *workerv1.Start) [][]byte {
	for _, kv := range s.Env {
		if strings.HasPrefix(string(kv), "PWD=") {
			return s.Env
		}
	}
	if s.Cwd == "" {
		return s.Env
	}
	return append(s.Env, []byte("PWD="+s.Cwd))
}

// bind serves the guest's imports, each with a line in the trace if there is
// one.
func (w *worker) bind(tracer *trace.Tracer) error {
	for i, im := range wasmer.Imports() {
		call, ok := preview1.Lookup(im.Module, im.Name, im.Params, im.Results)
		if !ok {
			return fmt.Errorf("import %s.%s is not served by this worker", im.Module, im.Name)
		}
		if tracer != nil {
			call = tracer.Wrap(im.Module, im.Name, im.Params, call)
		}
		h := w.host.wasi
		wasmer.Bind(i, func(mem []byte, args []uint64) (uint64, bool) {
			errno := call(h, mem, args)
			_, exited := h.Exited()
			return uint64(errno), exited
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
