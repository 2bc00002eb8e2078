package wasmmod

import "encoding/binary"

// True is the smallest program: it does nothing and succeeds.
func True() []byte {
	return Module{Pages: 1, Funcs: []Func{{Name: "_start"}}}.Encode()
}

// WithoutStart exports a function, but not the one that makes a program.
func WithoutStart() []byte {
	return Module{Pages: 1, Funcs: []Func{{
		Name: "answer",
		Type: Type{Results: []byte{I32}},
		Body: Const(42),
	}}}.Encode()
}

// Importing is a program that does nothing, but needs the function name of
// module from its host.
func Importing(module, name string) []byte {
	return Module{
		Pages:   1,
		Imports: []Import{{Module: module, Name: name, Type: Type{Params: []byte{I32}, Results: []byte{I32}}}},
		Funcs:   []Func{{Name: "_start", Body: Code(Const(0), Call(0), []byte{OpDrop})}},
	}.Encode()
}

// WithMemory is a program that does nothing, but wants so many pages from the
// beginning.
func WithMemory(pages uint32) []byte {
	return Module{Pages: pages, Funcs: []Func{{Name: "_start"}}}.Encode()
}

// StartSection writes "start section" from its start function, which runs when
// it is instantiated, and "_start" from _start.
func StartSection() []byte {
	first, second := "start section\n", "_start\n"
	data := iovec(16, len(first))
	data = append(data, iovec(16+len(first), len(second))...)
	data = append(data, first+second...)
	m := fdWriter(data)
	m.Funcs = []Func{
		{Name: "announce", Hidden: true, Body: writeIovec(1, 0)},
		{Name: "_start", Body: writeIovec(1, 8)},
	}
	m.Start = 1
	return m.Encode()
}

// TrapAfter writes text to stdout and then traps in the function crack, called
// by squeeze.
func TrapAfter(text string) []byte {
	m := fdWriter(append(iovec(8, len(text)), text...))
	m.Funcs = []Func{
		{Name: "_start", Body: Code(writeIovec(1, 0), Call(2))},
		{Name: "squeeze", Hidden: true, Body: Call(3)},
		{Name: "crack", Hidden: true, Body: []byte{OpUnreachable}},
	}
	return m.Encode()
}

// Loop never ends and calls nothing.
func Loop() []byte {
	return Module{Pages: 1, Funcs: []Func{{
		Name: "_start",
		Body: []byte{OpLoop, BlockEmpty, OpBr, 0x00, OpEnd},
	}}}.Encode()
}

// Component is the beginning of a component, which is no module.
func Component() []byte {
	return []byte("\x00asm\x0d\x00\x01\x00\x07\x01\x00")
}

// fdWriter is a module whose function 0 is fd_write.
func fdWriter(data []byte) Module {
	return Module{
		Pages: 1,
		Data:  data,
		Imports: []Import{{
			Module: "wasi_snapshot_preview1",
			Name:   "fd_write",
			Type:   Type{Params: []byte{I32, I32, I32, I32}, Results: []byte{I32}},
		}},
	}
}

// writeIovec writes the one iovec at address to fd; the count of bytes written
// lands behind all data.
func writeIovec(fd, address int32) []byte {
	return Code(Const(fd), Const(address), Const(1), Const(1024), Call(0), []byte{OpDrop})
}

func iovec(address, length int) []byte {
	out := binary.LittleEndian.AppendUint32(nil, uint32(address))
	return binary.LittleEndian.AppendUint32(out, uint32(length))
}

// Reactor has no _start: it writes "initialize" from _initialize, and "run" and
// "walk" from the functions of these names.
func Reactor() []byte {
	lines := []string{"initialize\n", "run\n", "walk\n"}
	var data, text []byte
	for _, l := range lines {
		data = append(data, iovec(8*len(lines)+len(text), len(l))...)
		text = append(text, l...)
	}
	m := fdWriter(append(data, text...))
	for i, name := range []string{"_initialize", "run", "walk"} {
		m.Funcs = append(m.Funcs, Func{Name: name, Body: writeIovec(1, int32(8*i))})
	}
	return m.Encode()
}
