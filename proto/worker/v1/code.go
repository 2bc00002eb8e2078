package workerv1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// ErrBadCode is the kind of a file of compiled code that must not be used:
// truncated, damaged, or made by another engine.
var ErrBadCode = errors.New("bad compiled code file")

// CodePayload is the offset of the machine code in its file: a page, so that
// the code can be mapped.
const CodePayload = 4096

const (
	codeMagic      = "CWCODE\x00\x01"
	codeHeaderSize = 8 + 4 + 4 + 5*8 + 32 + 32 + 4 + 4
)

// Flags of a CodeHeader.
const (
	// CodeHasStart: the module has a start function. It was made the export
	// StartExport, to be called before any other.
	CodeHasStart = 1 << 0
)

// StartExport is the name under which compilation exports a module's start
// function.
const StartExport = "cri-wasmer.start"

var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// CodeHeader is the head of a file of compiled code. The engine crashes on a
// damaged file, so everything is checked before it sees one.
//
//	0    header, zero-padded
//	4096 what the engine serialized
//	...  the payload of the module's name section, for messages
type CodeHeader struct {
	Flags       uint32
	PayloadLen  uint64
	NamesLen    uint64
	ImportFuncs uint64 // imported functions precede the module's own in the index space
	CompileTime uint64 // nanoseconds
	ModuleSize  uint64
	Module      [32]byte // sha256 of the module
	Engine      [32]byte // sha256 of Info.Key with the compiler
	crc         uint32   // CRC32C of payload and names
}

// Size is the length of the whole file in bytes.
func (h *CodeHeader) Size() uint64 { return CodePayload + h.PayloadLen + h.NamesLen }

// Encode gives the first CodePayload bytes of the file for the payload and
// names that follow it.
func (h *CodeHeader) Encode(payload, names []byte) []byte {
	h.PayloadLen, h.NamesLen = uint64(len(payload)), uint64(len(names))
	h.crc = crc32.Update(crc32.Checksum(payload, castagnoli()), castagnoli(), names)
	e := encoder{b: make([]byte, 0, CodePayload)}
	e.b = append(e.b, codeMagic...)
	e.u32(Version)
	e.u32(h.Flags)
	e.u64(h.PayloadLen)
	e.u64(h.NamesLen)
	e.u64(h.ImportFuncs)
	e.u64(h.CompileTime)
	e.u64(h.ModuleSize)
	e.b = append(e.b, h.Module[:]...)
	e.b = append(e.b, h.Engine[:]...)
	e.u32(h.crc)
	e.u32(crc32.Checksum(e.b, castagnoli()))
	return append(e.b, make([]byte, CodePayload-len(e.b))...)
}

// DecodeCodeHeader reads and checks the head of a file; it does not look at
// what follows. The error is of kind ErrBadCode.
func DecodeCodeHeader(b []byte) (*CodeHeader, error) {
	if len(b) < codeHeaderSize || string(b[:8]) != codeMagic {
		return nil, fmt.Errorf("%w: not a code file", ErrBadCode)
	}
	b = b[:codeHeaderSize]
	if sum := binary.LittleEndian.Uint32(b[codeHeaderSize-4:]); sum != crc32.Checksum(b[:codeHeaderSize-4], castagnoli()) {
		return nil, fmt.Errorf("%w: header fails its checksum", ErrBadCode)
	}
	d := decoder{b: b[8:]}
	if v := d.u32(); v != Version {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrBadCode, v, Version)
	}
	h := &CodeHeader{Flags: d.u32(), PayloadLen: d.u64(), NamesLen: d.u64(), ImportFuncs: d.u64(), CompileTime: d.u64(), ModuleSize: d.u64()}
	copy(h.Module[:], d.take(32))
	copy(h.Engine[:], d.take(32))
	h.crc = d.u32()
	return h, nil
}

// VerifyCode checks a whole file of the given size: header, lengths and the
// checksum of everything. The error is of kind ErrBadCode, or one of reading.
func VerifyCode(r io.ReaderAt, size int64) (*CodeHeader, error) {
	head := make([]byte, codeHeaderSize)
	if n, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if n < len(head) {
		return nil, fmt.Errorf("%w: %d bytes long", ErrBadCode, n)
	}
	h, err := DecodeCodeHeader(head)
	if err != nil {
		return nil, err
	}
	if h.PayloadLen > uint64(size) || h.NamesLen > uint64(size) || h.Size() != uint64(size) {
		return nil, fmt.Errorf("%w: %d bytes long, header says %d", ErrBadCode, size, h.Size())
	}
	sum, err := checksum(io.NewSectionReader(r, CodePayload, size-CodePayload))
	if err != nil {
		return nil, err
	}
	if sum != h.crc {
		return nil, fmt.Errorf("%w: content fails its checksum", ErrBadCode)
	}
	return h, nil
}

func checksum(r io.Reader) (uint32, error) {
	var sum uint32
	buf := make([]byte, 1<<20)
	for {
		n, err := r.Read(buf)
		sum = crc32.Update(sum, castagnoli(), buf[:n])
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// FuncName finds the name of a function in the payload of a name section, or
// gives "". The payload may be hostile.
func FuncName(names []byte, index uint32) string {
	for len(names) > 0 {
		id := names[0]
		size, rest, ok := uleb(names[1:])
		if !ok || uint64(size) > uint64(len(rest)) {
			return ""
		}
		if id == 1 {
			return lookupName(rest[:size], index)
		}
		names = rest[size:]
	}
	return ""
}

func lookupName(b []byte, index uint32) string {
	n, b, ok := uleb(b)
	for ; ok && n > 0; n-- {
		var i, size uint32
		if i, b, ok = uleb(b); !ok {
			return ""
		}
		if size, b, ok = uleb(b); !ok || uint64(size) > uint64(len(b)) {
			return ""
		}
		if i == index {
			return string(bytes.ToValidUTF8(b[:size], []byte("?")))
		}
		b = b[size:]
	}
	return ""
}

func uleb(b []byte) (v uint32, rest []byte, ok bool) {
	for i, c := range b {
		if i == 5 {
			break
		}
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}
