package imageservice

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
)

const (
	defaultPath   = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	compatVariant = "module.wasm.image/variant"
)

// program finds the module that the image starts by default and has it
// compiled. What cannot run is recorded, not an error; the error is that of the
// context.
func (p *pull) program(ctx context.Context) error {
	r := p.rec
	if len(r.Layers) == 0 { // the format said already why
		if r.Program.State == "" {
			r.Program = Program{State: ProgramNone, Reason: "the image holds no files"}
		}
		return nil
	}
	lfs := layerFS{}
	for _, key := range r.Layers {
		lfs.layers = append(lfs.layers, p.s.store.layerDir(key))
	}
	p.entrypoint(lfs)
	r.Program = Program{}
	argv := slices.Concat(r.Config.Entrypoint, r.Config.Cmd)
	if len(argv) == 0 {
		r.Program = Program{State: ProgramNone, Reason: "the image names no entrypoint: give a command"}
		return nil
	}
	f, real, err := p.openProgram(lfs, argv[0])
	if err != nil {
		r.Program = Program{State: ProgramRefused, Reason: "entrypoint " + argv[0] + " is not in the image"}
		if _, _, e := lfs.lookup("/spin.toml"); e == nil { // as containerd's shim for Spin takes them
			r.Kind, r.Program.Reason = format.Spin, format.SpinProblem
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			r.Program.Reason = "entrypoint " + err.Error()
		}
		return nil
	}
	defer f.Close()
	return p.compile(ctx, f, real)
}

// entrypoint fills in what images leave out: a plug-in's or the only module,
// and the "#function" of an entrypoint.
func (p *pull) entrypoint(lfs layerFS) {
	r := p.rec
	if len(r.Config.Entrypoint)+len(r.Config.Cmd) == 0 {
		module := lfs.onlyModule()
		if module == "" && r.Annotations[compatVariant] != "" {
			if _, _, err := lfs.lookup("/plugin.wasm"); err == nil {
				module = "/plugin.wasm"
			}
		}
		if module != "" {
			r.Config.Entrypoint = []string{module}
		}
		return
	}
	list := r.Config.Entrypoint
	if len(list) == 0 {
		list = r.Config.Cmd
	}
	file, function := splitFunction(list[0])
	if function == "" || file == "" {
		return
	}
	if _, _, err := lfs.lookup(list[0]); err == nil {
		return // a file of that very name
	}
	list = slices.Clone(list)
	list[0], r.Function = file, function
	if len(r.Config.Entrypoint) > 0 {
		r.Config.Entrypoint = list
	} else {
		r.Config.Cmd = list
	}
}

// openProgram resolves argv[0] as execvp in the container would.
func (p *pull) openProgram(lfs layerFS, arg string) (*os.File, string, error) {
	if strings.Contains(arg, "/") {
		if !path.IsAbs(arg) {
			arg = path.Join("/", p.rec.Config.WorkingDir, arg)
		}
		return lfs.open(arg)
	}
	list := defaultPath
	for _, e := range p.rec.Config.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			list = v
		}
	}
	dirs := strings.Split(list, ":")
	for _, dir := range dirs {
		if f, real, err := lfs.open(path.Join("/", dir, arg)); err == nil {
			return f, real, nil
		}
	}
	// A module without a directory is often meant to be in the working
	// directory: images for other engines rely on it.
	return lfs.open(path.Join("/", p.rec.Config.WorkingDir, arg))
}

// compile has the module checked and compiled.
func (p *pull) compile(ctx context.Context, f *os.File, real string) error {
	prog := &p.rec.Program
	prog.Path = real
	codes := p.s.cfg.Code
	if codes == nil {
		prog.State = ProgramNotCompiled
		return nil
	}
	report, err := codes.Preflight(f, p.rec.Function)
	if report != nil {
		prog.ABI, prog.Unmet, prog.Size, prog.Digest = report.ABI, report.Unmet, report.Size, report.Module
	}
	if err != nil {
		p.refuse(err)
		return nil
	}
	// Marked before it is made: a sweep in between would delete it.
	p.pin("code/" + report.Module)
	codes.Own(report.Module)
	p.prog.compiling(report.Module)
	code, err := codes.Code(ctx, f)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		p.refuse(err)
		return nil
	}
	defer code.Close()
	prog.State = ProgramReady
	return nil
}

// refuse records why the program cannot run.
func (p *pull) refuse(err error) {
	prog := &p.rec.Program
	var no *codecache.Refusal
	prog.State, prog.Reason = ProgramFailed, "entrypoint "+prog.Path+": "+err.Error()
	if errors.As(err, &no) {
		prog.State, prog.Reason = ProgramRefused, "entrypoint "+prog.Path+" "+no.Error()
	}
	p.s.log.Warn("the image's program cannot run here", "ref", p.ref.String(), "reason", prog.Reason)
}
