package wasmfile

import (
	"errors"
	"fmt"
	"io"
)

// Bounds of what is held in memory. They are those of the big engines or
// above.
const (
	maxHeld     = 16 << 20 // bytes of one section that is read
	maxTypes    = 1_000_000
	maxImports  = 100_000
	maxExports  = 100_000
	maxMemories = 100
	maxCustoms  = 1000
	maxSections = 10_000
	maxTargets  = 64
)

// Section ids of the standard.
const (
	secCustom = 0
	secType   = 1
	secImport = 2
	secTable  = 4
	secMemory = 5
	secExport = 7
	secStart  = 8
	secTag    = 13
)

// order gives the place of each section in a module.
var order = map[byte]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 13: 6, 6: 7, 14: 8, 7: 9, 8: 10, 9: 11, 12: 12, 10: 13, 11: 14}

// Parse reads the sections of a core module of the given size. The error is of
// kind ErrNotModule when the file is something else (Detect says what),
// ErrMalformed when it is broken, else one of reading.
func Parse(r io.ReaderAt, size int64) (*File, error) {
	p := &parser{r: r, size: size, f: &File{Size: size}}
	head := make([]byte, 8)
	if n, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if kind, what := Detect(head[:n]); kind != Module {
		return nil, fmt.Errorf("%w: it is %s", ErrNotModule, what)
	}
	if err := p.sections(); err != nil {
		return nil, err
	}
	p.f.Features.MultiMemory = len(p.f.Memories)+p.importedMemories > 1
	return p.f, nil
}

type parser struct {
	r    io.ReaderAt
	size int64
	f    *File

	types            []byte   // the type section, which imports point into
	typeAt           []uint32 // offsets of function types in it
	importedMemories int
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func (p *parser) sections() error {
	last, n := 0, 0
	for at := int64(8); at < p.size; n++ {
		if n >= maxSections {
			return malformed("more than %d sections", maxSections)
		}
		id, start, length, err := p.header(at)
		if err != nil {
			return err
		}
		if id != secCustom {
			place, ok := order[id]
			if !ok {
				return malformed("unknown section %d", id)
			}
			if place <= last {
				return malformed("section %d is out of order or there twice", id)
			}
			last = place
		}
		if err := p.section(id, start, length); err != nil {
			return err
		}
		at = start + length
	}
	return nil
}

// header reads id and length of the section at an offset.
func (p *parser) header(at int64) (id byte, start, length int64, err error) {
	var buf [6]byte
	n, err := p.r.ReadAt(buf[:min(6, p.size-at)], at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, 0, err
	}
	if n == 0 {
		return 0, 0, 0, malformed("truncated")
	}
	d := decoder{b: buf[1:n]}
	length = int64(d.u32())
	if d.err != nil {
		return 0, 0, 0, malformed("length of section %d", buf[0])
	}
	start = at + int64(n) - int64(len(d.b))
	if length > p.size-start {
		return 0, 0, 0, malformed("section %d is %d bytes long and %d are left", buf[0], length, p.size-start)
	}
	return buf[0], start, length, nil
}

// hold reads a whole section.
func (p *parser) hold(id byte, start, length int64) (*decoder, error) {
	if length > maxHeld {
		return nil, malformed("section %d is %d bytes long, at most %d are supported", id, length, maxHeld)
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(io.NewSectionReader(p.r, start, length), b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, malformed("truncated")
		}
		return nil, err
	}
	return &decoder{b: b}, nil
}

func (p *parser) section(id byte, start, length int64) error {
	var parse func(*decoder) error
	switch id {
	case secCustom:
		return p.custom(start, length)
	case secTag:
		p.f.Features.Exceptions = true
		return nil
	case secStart:
		p.f.HasStart = true
		return nil
	case secType:
		parse = p.typeSection
	case secImport:
		parse = p.importSection
	case secMemory:
		parse = p.memorySection
	case secExport:
		parse = p.exportSection
	default:
		return nil
	}
	d, err := p.hold(id, start, length)
	if err != nil {
		return err
	}
	if err := parse(d); err != nil {
		return err
	}
	if d.err != nil {
		return malformed("section %d: %s", id, d.err)
	}
	return nil
}

func (p *parser) custom(start, length int64) error {
	head := make([]byte, min(length, 512))
	if _, err := p.r.ReadAt(head, start); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	d := decoder{b: head}
	name := d.str()
	if d.err != nil {
		return malformed("name of a custom section")
	}
	used := int64(len(head) - len(d.b))
	s := Section{Name: name, Offset: start + used, Size: length - used}
	if len(p.f.Customs) < maxCustoms {
		p.f.Customs = append(p.f.Customs, s)
	}
	if name == "target_features" && s.Size <= 64<<10 {
		return p.targets(s)
	}
	return nil
}

// targets reads what the toolchain says it used: a list of prefix and name.
func (p *parser) targets(s Section) error {
	d, err := p.hold(secCustom, s.Offset, s.Size)
	if err != nil {
		return err
	}
	for n := d.u32(); n > 0 && d.err == nil && len(p.f.Features.Target) < maxTargets; n-- {
		prefix, name := d.byte(), d.str()
		if d.err != nil || prefix == '-' {
			continue
		}
		p.f.Features.Target = append(p.f.Features.Target, name)
		if name == "simd128" {
			p.f.Features.SIMD = true
		}
	}
	return nil // a hint only: a broken one is not worth an error
}

func (p *parser) typeSection(d *decoder) error {
	p.types = d.b
	whole := len(d.b)
	n := d.u32()
	if n > maxTypes {
		return malformed("%d types, at most %d are supported", n, maxTypes)
	}
	for ; n > 0 && d.err == nil; n-- {
		at := whole - len(d.b)
		if form := d.byte(); form != 0x60 && d.err == nil {
			p.f.Features.GC = true // the rest cannot be read without knowing the form
			d.b = nil
			return nil
		}
		p.typeAt = append(p.typeAt, uint32(at)+1)
		p.valTypes(d)
		p.valTypes(d)
	}
	return nil
}

// valTypes skips a list of value types.
func (p *parser) valTypes(d *decoder) {
	for n := d.u32(); n > 0 && d.err == nil; n-- {
		p.refType(d)
	}
}

// refType reads a value type with what may follow it.
func (p *parser) refType(d *decoder) ValType {
	t := ValType(d.byte())
	switch t {
	case V128:
		p.f.Features.SIMD = true
	case 0x63, 0x64: // reference to a type, which follows
		p.f.Features.GC = true
		d.s33()
	}
	return t
}

// funcType gives the function type of an index.
func (p *parser) funcType(index uint32) (FuncType, bool, error) {
	if uint64(index) >= uint64(len(p.typeAt)) {
		if p.f.Features.GC {
			return FuncType{}, false, nil
		}
		return FuncType{}, false, malformed("type %d does not exist", index)
	}
	d := decoder{b: p.types[p.typeAt[index]:]}
	t := FuncType{Params: list(&d), Results: list(&d)}
	return t, d.err == nil && !p.f.Features.GC, nil
}

func list(d *decoder) []ValType {
	raw := d.take(int64(d.u32()))
	types := make([]ValType, len(raw)) // as long as bytes that are there
	for i, b := range raw {
		types[i] = ValType(b)
	}
	return types
}

func (p *parser) importSection(d *decoder) error {
	n := d.u32()
	if n > maxImports {
		return malformed("%d imports, at most %d are supported", n, maxImports)
	}
	budget := maxHeld // bytes of signatures, which imports can share
	for ; n > 0 && d.err == nil; n-- {
		i := Import{Module: d.str(), Name: d.str(), Kind: Extern(d.byte())}
		if err := p.importType(d, &i); err != nil {
			return err
		}
		if d.err != nil {
			break
		}
		if budget -= len(i.Type.Params) + len(i.Type.Results); budget < 0 {
			return malformed("signatures of imports are too long")
		}
		p.f.Imports = append(p.f.Imports, i)
	}
	return nil
}

func (p *parser) importType(d *decoder, i *Import) error {
	var err error
	switch i.Kind {
	case Func:
		p.f.ImportedFuncs++
		if index := d.u32(); d.err == nil {
			i.Type, i.HasType, err = p.funcType(index)
		}
	case Table:
		p.refType(d)
		p.limits(d)
	case Mem:
		i.Memory = p.limits(d)
		p.importedMemories++
	case Global:
		p.refType(d)
		d.byte()
	case Tag:
		p.f.Features.Exceptions = true
		d.byte()
		d.u32()
	default:
		if d.err == nil {
			err = malformed("import of unknown kind %d", byte(i.Kind))
		}
	}
	return err
}

func (p *parser) limits(d *decoder) Memory {
	flags := d.byte()
	m := Memory{HasMax: flags&1 != 0, Shared: flags&2 != 0, Is64: flags&4 != 0}
	p.f.Features.Shared = p.f.Features.Shared || m.Shared
	p.f.Features.Memory64 = p.f.Features.Memory64 || m.Is64
	m.Min = d.u64()
	if m.HasMax {
		m.Max = d.u64()
	}
	if flags&8 != 0 {
		p.f.Features.CustomPages = true
		d.u32()
	}
	if flags > 15 && d.err == nil {
		d.err = fmt.Errorf("unknown limits flags %#x", flags)
	}
	return m
}

func (p *parser) memorySection(d *decoder) error {
	n := d.u32()
	if n > maxMemories {
		return malformed("%d memories, at most %d are supported", n, maxMemories)
	}
	for ; n > 0 && d.err == nil; n-- {
		if m := p.limits(d); d.err == nil {
			p.f.Memories = append(p.f.Memories, m)
		}
	}
	return nil
}

func (p *parser) exportSection(d *decoder) error {
	n := d.u32()
	if n > maxExports {
		return malformed("%d exports, at most %d are supported", n, maxExports)
	}
	for ; n > 0 && d.err == nil; n-- {
		e := Export{Name: d.str(), Kind: Extern(d.byte()), Index: d.u32()}
		if d.err == nil {
			p.f.Exports = append(p.f.Exports, e)
		}
	}
	return nil
}
