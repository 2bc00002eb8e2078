package trace

import (
	"encoding/binary"
	"math"
	"strconv"
)

// memory is the guest's, looked at with bounds: a trace must survive what the
// call refuses.
type memory []byte

func (m memory) span(ptr, n uint64) ([]byte, bool) {
	if n > uint64(len(m)) || ptr > uint64(len(m))-n {
		return nil, false
	}
	return m[ptr : ptr+n], true
}

func (m memory) u32(ptr uint64) (uint64, bool) {
	b, ok := m.span(ptr, 4)
	if !ok {
		return 0, false
	}
	return uint64(binary.LittleEndian.Uint32(b)), true
}

const nowhere = "(outside memory)"

// appendIn appends an argument.
func (p param) appendIn(line []byte, m memory, args []uint64) []byte {
	v := args[p.at]
	switch p.kind {
	case "u64":
		return strconv.AppendUint(line, v, 10)
	case "s64":
		return strconv.AppendInt(line, int64(v), 10)
	case "hex":
		return strconv.AppendUint(append(line, "0x"...), v, 16)
	}
	v &= math.MaxUint32
	switch p.kind {
	case "str", "buf":
		data, ok := m.span(v, args[p.at+1]&math.MaxUint32)
		if !ok {
			return append(line, nowhere...)
		}
		if p.kind == "str" {
			return strconv.AppendQuote(line, string(data[:min(len(data), 4096)]))
		}
		return quote(line, data)
	case "iovs", "ciovs":
		return p.appendVectors(line, m, v, args[p.at+1]&math.MaxUint32)
	case "addr":
		return appendAddr(line, m, v)
	case "subs", "subs0":
		return appendSubs(line, m, v, low(args[p.at+2]), p.kind == "subs0")
	}
	if names := wordsOf(p.kind); names != nil {
		return names.append(line, v)
	}
	return strconv.AppendUint(line, v, 10)
}

// appendVectors appends the lengths of vectors, and the beginning of the data
// of those that are written.
func (p param) appendVectors(line []byte, m memory, ptr, n uint64) []byte {
	list, ok := m.span(ptr, n*8)
	if !ok {
		return append(line, nowhere...)
	}
	return appendList(line, n, func(line []byte, i uint64) []byte {
		at, size := uint64(binary.LittleEndian.Uint32(list[8*i:])), uint64(binary.LittleEndian.Uint32(list[8*i+4:]))
		data, ok := m.span(at, size)
		if p.kind == "ciovs" && ok {
			line = append(quote(line, data), '/')
		}
		return strconv.AppendUint(line, size, 10)
	})
}

func appendAddr(line []byte, m memory, ptr uint64) []byte {
	buf, ok := m.u32(ptr)
	size, ok2 := m.u32(ptr + 4)
	data, ok3 := m.span(buf, size)
	if !ok || !ok2 || !ok3 {
		return append(line, nowhere...)
	}
	const most = 18 // family and IPv6 address
	for i, b := range data[:min(len(data), most)] {
		if i > 0 {
			line = append(line, '.')
		}
		line = strconv.AppendUint(line, uint64(b), 10)
	}
	return line
}

// appendOut appends a result as " name=value".
func (p param) appendOut(line []byte, m memory, args []uint64) []byte {
	if !p.out() {
		return line
	}
	size := sizeOf(p.kind)
	if p.kind == "*buf" {
		size = args[p.at+1] & math.MaxUint32
	}
	b, ok := m.span(args[p.at]&math.MaxUint32, size)
	if !ok {
		return line
	}
	line = append(append(append(line, ' '), p.name...), '=')
	le := binary.LittleEndian
	switch p.kind {
	case "*u16":
		return strconv.AppendUint(line, uint64(le.Uint16(b)), 10)
	case "*u32":
		return strconv.AppendUint(line, uint64(le.Uint32(b)), 10)
	case "*u64":
		return strconv.AppendUint(line, le.Uint64(b), 10)
	case "*buf":
		return quote(line, b)
	case "*addr":
		return appendAddr(line, m, args[p.at]&math.MaxUint32)
	case "*data":
		return appendRead(line, m, args, uint64(le.Uint32(b)))
	case "*events":
		return appendEvents(line, m, low(args[1]), uint64(le.Uint32(b)))
	case "*dirents":
		return appendDirents(line, m, low(args[1]), uint64(le.Uint32(b)))
	case "*link":
		return appendText(line, m, low(args[3]), uint64(le.Uint32(b)))
	case "*prestat":
		return strconv.AppendUint(append(line, "dir/"...), uint64(le.Uint32(b[4:])), 10)
	case "*fdstat":
		line = filetypes.append(line, uint64(b[0]))
		line = fdflags.append(append(line, '/'), uint64(le.Uint16(b[2:])))
		line = strconv.AppendUint(append(line, "/0x"...), le.Uint64(b[8:]), 16)
		return strconv.AppendUint(append(line, "/0x"...), le.Uint64(b[16:]), 16)
	case "*filestat":
		return appendStat(line, b[16], le.Uint64(b[24:]), le.Uint64(b[32:]))
	case "*filestat0":
		return appendStat(line, b[16], uint64(le.Uint32(b[20:])), le.Uint64(b[24:]))
	}
	return line
}

// sizeOf is how long a result is.
func sizeOf(kind string) uint64 {
	switch kind {
	case "*u16":
		return 2
	case "*u32", "*data", "*events", "*dirents", "*link":
		return 4
	case "*u64", "*addr", "*prestat":
		return 8
	case "*fdstat":
		return 24
	case "*filestat":
		return 64
	case "*filestat0":
		return 56
	}
	return 0
}

func appendStat(line []byte, filetype byte, nlink, size uint64) []byte {
	line = filetypes.append(line, uint64(filetype))
	line = strconv.AppendUint(append(line, "/nlink:"...), nlink, 10)
	return strconv.AppendUint(append(line, "/size:"...), size, 10)
}

// appendRead appends how much was read, and the beginning of it. Functions that
// read have their vectors as second parameter.
func appendRead(line []byte, m memory, args []uint64, n uint64) []byte {
	line = strconv.AppendUint(line, n, 10)
	at, ok := m.u32(args[1] & math.MaxUint32)
	size, ok2 := m.u32(args[1]&math.MaxUint32 + 4)
	data, ok3 := m.span(at, min(size, n))
	if n == 0 || !ok || !ok2 || !ok3 {
		return line
	}
	return quote(append(line, '/'), data)
}

// wordList names numbers, or bits when it has flags.
type wordList struct {
	names []string
	flags bool
}

func (w *wordList) append(line []byte, v uint64) []byte {
	if !w.flags {
		if v < uint64(len(w.names)) {
			return append(line, w.names[v]...)
		}
		return strconv.AppendUint(line, v, 10)
	}
	if v == 0 || v >= 1<<len(w.names) {
		return strconv.AppendUint(line, v, 10)
	}
	first := true
	for i, name := range w.names {
		if v&(1<<i) == 0 {
			continue
		}
		if !first {
			line = append(line, '|')
		}
		first = false
		line = append(line, name...)
	}
	return line
}

// The words of flags and numbers.
var (
	clocks    = wordList{names: []string{"realtime", "monotonic", "process_cputime", "thread_cputime"}}
	filetypes = wordList{names: []string{"unknown", "block_device", "character_device", "directory", "regular_file", "socket_dgram", "socket_stream", "symbolic_link"}}
	lookups   = wordList{names: []string{"follow"}, flags: true}
	oflags    = wordList{names: []string{"creat", "directory", "excl", "trunc"}, flags: true}
	fdflags   = wordList{names: []string{"append", "dsync", "nonblock", "rsync", "sync"}, flags: true}
	fstflags  = wordList{names: []string{"atim", "atim_now", "mtim", "mtim_now"}, flags: true}
	riflags   = wordList{names: []string{"peek", "waitall"}, flags: true}
	sdflags   = wordList{names: []string{"rd", "wr"}, flags: true}

	eventtypes = wordList{names: []string{"clock", "read", "write"}}
	whences    = wordList{names: []string{"set", "cur", "end"}}
	whences0   = wordList{names: []string{"cur", "end", "set"}} // of wasi_unstable
	advices    = wordList{names: []string{"normal", "sequential", "random", "willneed", "dontneed", "noreuse"}}
	signals    = wordList{names: []string{
		"none", "hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2", "pipe", "alrm", "term", "chld",
		"cont", "stop", "tstp", "ttin", "ttou", "urg", "xcpu", "xfsz", "vtalrm", "prof", "winch", "poll", "pwr", "sys",
	}}
)

var words = map[string]*wordList{
	"clock": &clocks, "lookup": &lookups, "oflags": &oflags, "fdflags": &fdflags, "fstflags": &fstflags, "riflags": &riflags,
	"sdflags": &sdflags, "whence": &whences, "whence0": &whences0, "advice": &advices, "signal": &signals,
}

func wordsOf(kind string) *wordList { return words[kind] }
