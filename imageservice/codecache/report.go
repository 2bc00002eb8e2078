package codecache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/internal/wasmfile"
)

// Report is what the outside of a module says about running it. Immutable.
// Lists are bounded: the counts tell the truth.
type Report struct {
	Module      string   `json:"digest"` // sha256:HEX of the file
	Size        int64    `json:"size"`
	What        string   `json:"what"`          // "a WebAssembly module"
	ABI         string   `json:"abi,omitempty"` // "wasi_snapshot_preview1", "WASIX", ...; "none" without imports
	Imports     []string `json:"imports,omitempty"`
	ImportCount int      `json:"importCount"`
	Unmet       []string `json:"unmet,omitempty"` // imports that the engine lacks
	UnmetCount  int      `json:"unmetCount"`
	Exports     []string `json:"exports,omitempty"`
	ExportCount int      `json:"exportCount"`
	HasStart    bool     `json:"startFunction"` // instantiation runs code
	MemoryMin   uint64   `json:"memoryMinPages"`
	MemoryMax   uint64   `json:"memoryMaxPages,omitempty"` // pages; 0 when it has none
	Proposals   []string `json:"proposals,omitempty"`      // that the sections betray
	Toolchain   []string `json:"toolchainFeatures,omitempty"`
	Producers   []string `json:"producers,omitempty"` // what built it, as it says itself
}

// Bounds of what a report lists.
const (
	maxReported     = 1000 // names of imports or exports
	maxReportedName = 200  // bytes of one
)

// shortened bounds a list of names that a module chose.
func shortened(list []string) []string {
	list = list[:min(len(list), maxReported)]
	for i, name := range list {
		if len(name) > maxReportedName {
			list[i] = strings.ToValidUTF8(name[:maxReportedName], "") + "..."
		}
	}
	return list
}

const maxListed = 20 // names in one error text

// Preflight reads the outside of a file and says whether it can run here, from
// the exported function on, which is _start when it is empty. The error is a
// *Refusal when it cannot, else one of reading; the report is as complete as the
// file allows, and nil only when nothing could be read. Cheap for a file that was
// seen before and has not changed.
func (c *Cache) Preflight(module *os.File, function string) (*Report, error) {
	v, err := c.judged(module)
	if err != nil {
		return nil, err
	}
	if function == "" || function == "_start" || (v.refusal != nil && v.refusal.Kind != NoStart) {
		return v.report, v.err()
	}
	f, err := wasmfile.Parse(module, v.report.Size)
	if err != nil {
		return v.report, err
	}
	if f.Export(function, wasmfile.Func) {
		return v.report, nil
	}
	return v.report, &Refusal{NoStart, "exports no function " + quoted(function), "name one that it exports behind the # of the entrypoint: " + someFuncs(f)}
}

// quoted shows a name that an image chose.
func quoted(name string) string {
	if len(name) > maxReportedName {
		name = name[:maxReportedName]
	}
	return strconv.Quote(name)
}

func someFuncs(f *wasmfile.File) string {
	var names []string
	for _, e := range f.Exports {
		if e.Kind == wasmfile.Func && len(names) < maxListed {
			names = append(names, quoted(e.Name))
		}
	}
	return strings.Join(names, ", ")
}

// judged gives the verdict about a file whose function _start is called.
func (c *Cache) judged(module *os.File) (verdict, error) {
	before, err := identify(module)
	if err != nil {
		return verdict{}, err
	}
	digest, size, err := c.hash(module)
	if err != nil {
		return verdict{}, err
	}
	if v, ok := c.verdict(digest); ok {
		return v, nil
	}
	report, refusal, err := c.inspect(module, digest, size)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{report, refusal}
	// A file that somebody may be writing to must not decide about its digest.
	if after, err := identify(module); err == nil && after == before && before.settled() {
		c.remember(digest, v)
	}
	return v, nil
}

func (c *Cache) verdict(digest string) (verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.reports[digest]
	return v, ok
}

func (c *Cache) remember(digest string, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reports) >= maxReports {
		clear(c.reports)
	}
	c.reports[digest] = v
}

const maxReports = 256

type verdict struct {
	report  *Report
	refusal *Refusal
}

func (v verdict) err() error {
	if v.refusal == nil {
		return nil
	}
	return v.refusal
}

func (c *Cache) inspect(module *os.File, digest string, size int64) (*Report, *Refusal, error) {
	r := &Report{Module: digest, Size: size, ABI: "none"}
	head := make([]byte, wasmfile.HeadSize)
	n, err := readAt(module, head)
	if err != nil {
		return nil, nil, err
	}
	kind, what := wasmfile.Detect(head[:n])
	r.What = what
	if kind != wasmfile.Module {
		r.ABI = ""
		if kind == wasmfile.Component {
			r.describeComponent(module)
		}
		return r, refuseKind(kind, what), nil
	}
	f, err := wasmfile.Parse(module, size)
	if errors.Is(err, wasmfile.ErrMalformed) {
		return r, &Refusal{Invalid, "is " + err.Error(), "build it again; it may have been truncated when it was copied"}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	r.describe(f)
	r.ABI = abiOf(f)
	r.Producers = wasmfile.Producers(module, f)
	r.Unmet = c.unmet(f)
	refusal := c.judge(r, f)
	r.UnmetCount, r.Unmet = len(r.Unmet), shortened(r.Unmet)
	return r, refusal, nil
}

func refuseKind(kind wasmfile.Kind, what string) *Refusal {
	switch kind {
	case wasmfile.Component:
		return &Refusal{Unsupported, "is " + what + ", which this engine cannot run", "build it for wasip1, or run it on a node with a component runtime such as Spin or wasmCloud"}
	case wasmfile.Text:
		return &Refusal{NotModule, "is " + what + ", not a binary module", "translate it with wat2wasm or wasm-tools parse"}
	case wasmfile.Empty:
		return &Refusal{NotModule, "is " + what, "build the image again"}
	case wasmfile.Webc:
		return &Refusal{Unsupported, "is " + what + ", not a bare module", "put its module into the image"}
	case wasmfile.Script:
		return &Refusal{NotModule, "is " + what + ", not a WebAssembly module", "name the interpreter's module as entrypoint and the script as its argument"}
	case wasmfile.OtherWasm:
		return &Refusal{Invalid, "is " + what, "build it again for wasip1"}
	}
	return &Refusal{NotModule, "is " + what + ", not a WebAssembly module", "run it on a node with containerd, or build it for wasip1"}
}

// describeComponent lists what a component wants of a host. One that cannot be
// parsed stays without: it is refused in any case.
func (r *Report) describeComponent(module *os.File) {
	r.ABI = ComponentModel
	c, err := wasmfile.ParseComponent(module, r.Size)
	if err != nil {
		return
	}
	r.ImportCount, r.Imports = len(c.Imports), shortened(c.Imports)
	r.ExportCount, r.Exports = len(c.Exports), shortened(c.Exports)
	r.UnmetCount, r.Unmet = r.ImportCount, r.Imports
}

func (r *Report) describe(f *wasmfile.File) {
	for _, i := range f.Imports[:min(len(f.Imports), maxReported)] {
		r.Imports = append(r.Imports, i.Module+"."+i.Name)
	}
	for _, e := range f.Exports[:min(len(f.Exports), maxReported)] {
		r.Exports = append(r.Exports, e.Name)
	}
	r.ImportCount, r.Imports = len(f.Imports), shortened(r.Imports)
	r.ExportCount, r.Exports = len(f.Exports), shortened(r.Exports)
	r.Toolchain = shortened(slices.Clone(f.Features.Target))
	r.HasStart = f.HasStart
	if m, ok := f.Memory(); ok {
		r.MemoryMin = m.Min
		if m.HasMax {
			r.MemoryMax = m.Max
		}
	}
	ft := f.Features
	for _, p := range []struct {
		used bool
		name string
	}{
		{ft.SIMD, "simd"}, {ft.Shared, "threads"}, {ft.Exceptions, "exceptions"}, {ft.Memory64, "memory64"},
		{ft.MultiMemory, "multi-memory"}, {ft.GC, "gc"}, {ft.CustomPages, "custom-page-sizes"},
	} {
		if p.used {
			r.Proposals = append(r.Proposals, p.name)
		}
	}
}

// unmet lists the imports that the engine does not offer, or not with this
// signature.
func (c *Cache) unmet(f *wasmfile.File) []string {
	var list []string
	for _, i := range f.Imports {
		name := i.Module + "." + i.Name
		if i.Kind != wasmfile.Func {
			list = append(list, fmt.Sprintf("%s (a %s)", name, i.Kind))
			continue
		}
		sigs, known := c.offered[[2]string{i.Module, i.Name}]
		params, results := i.Type.Hex()
		switch {
		case !known:
			list = append(list, name)
		case !i.HasType || !sigs[[2]string{params, results}]:
			list = append(list, name+" (with another signature)")
		}
	}
	return list
}

const maxPages = 65536 // 4 GiB; the engine aborts on a memory that starts so big

// judge decides. What explains most comes first: a foreign ABI before the
// single functions that it consists of.
func (c *Cache) judge(r *Report, f *wasmfile.File) *Refusal {
	ft := f.Features
	mem, _ := f.Memory()
	_, isForeign := foreign[r.ABI]
	switch {
	case isForeign && len(r.Unmet) > 0:
		return refuseImports(r)
	case ft.GC:
		return &Refusal{Unsupported, "uses garbage-collected types, which this engine lacks", "build it without the GC proposal"}
	case ft.Memory64:
		return &Refusal{Unsupported, "uses 64-bit memory (memory64), which this engine lacks", "build it for wasm32"}
	case ft.Shared:
		return &Refusal{Unsupported, "uses shared memory (threads), which this engine lacks", "build it for wasm32-wasip1 instead of wasm32-wasip1-threads"}
	case ft.Exceptions:
		return &Refusal{Unsupported, "uses WebAssembly exceptions, which this engine lacks", "build it without -fwasm-exceptions"}
	case ft.CustomPages:
		return &Refusal{Unsupported, "uses custom page sizes, which this engine lacks", "build it with pages of 64 KiB"}
	case ft.MultiMemory:
		return &Refusal{Unsupported, "uses several memories, which this engine lacks", "build it without the multi-memory proposal"}
	case mem.Min >= maxPages:
		return &Refusal{Unsupported, fmt.Sprintf("wants %d pages of memory at once, this engine gives less than %d", mem.Min, maxPages), "lower the initial memory at link time"}
	case len(r.Unmet) > 0:
		return refuseImports(r)
	case !f.Export("_start", wasmfile.Func):
		return refuseLibrary(f)
	}
	return nil
}

func refuseImports(r *Report) *Refusal {
	var list []string
	for _, n := range r.Unmet[:min(len(r.Unmet), maxListed)] {
		if len(n) > 120 {
			n = n[:120] + "..."
		}
		list = append(list, n)
	}
	missing := strings.Join(list, ", ")
	if more := len(r.Unmet) - len(list); more > 0 {
		missing += fmt.Sprintf(" and %d more", more)
	}
	if a, ok := foreign[r.ABI]; ok {
		return &Refusal{Imports, fmt.Sprintf("is %s, not a WASI preview1 program (it imports %s)", a.what, missing), a.remedy}
	}
	return &Refusal{Imports, "imports functions that this engine lacks: " + missing, "build it for wasip1 (wasm32-wasip1, GOOS=wasip1)"}
}

func refuseLibrary(f *wasmfile.File) *Refusal {
	if f.Export("_initialize", wasmfile.Func) {
		return &Refusal{NoStart, "is a library (a WASI reactor: it exports _initialize and no _start)", "build it as a command, with a main function"}
	}
	return &Refusal{NoStart, "has no _start function: it is a library, not a program", "build it as a WASI command, with a main function"}
}

// Examine does what Preflight does, for a file that is in no image and without
// a cache: of the configuration it needs the worker alone, to ask what it is.
// Errors are as those of Preflight and about a worker that does not answer.
func Examine(ctx context.Context, cfg Config, module *os.File) (*Report, error) {
	info, err := probe(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c := &Cache{cfg: cfg.withDefaults(), keys: map[string][32]byte{}, offered: map[[2]string]map[[2]string]bool{}, hashes: map[identity]string{}, reports: map[string]verdict{}}
	c.setEngine(info)
	return c.Preflight(module, "")
}
