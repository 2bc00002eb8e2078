package wasmfile

import (
	"errors"
	"fmt"
	"io"
)

// Sections of a component that Interface reads.
const (
	secComponentImport = 10
	secComponentExport = 11
)

// Interface is what a component wants of its host and gives to it, by name:
// "wasi:http/types@0.2.0".
type Interface struct {
	Imports []string
	Exports []string
}

// ParseComponent reads the imports and exports at the top of a component. The
// error is of kind ErrNotModule when the file is something else, ErrMalformed
// when it is broken or newer than this package, else one of reading.
//
// https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
func ParseComponent(r io.ReaderAt, size int64) (*Interface, error) {
	head := make([]byte, 8)
	if n, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if kind, what := Detect(head[:n]); kind != Component {
		return nil, fmt.Errorf("%w: it is %s", ErrNotModule, what)
	}
	p := &parser{r: r, size: size}
	c := &Interface{}
	at := int64(len(head))
	for n := 0; at < size; n++ {
		if n >= maxSections {
			return nil, malformed("more than %d sections", maxSections)
		}
		id, start, length, err := p.header(at)
		if err != nil {
			return nil, err
		}
		if err := c.section(p, id, start, length); err != nil {
			return nil, err
		}
		at = start + length
	}
	return c, nil
}

func (c *Interface) section(p *parser, id byte, start, length int64) error {
	if id != secComponentImport && id != secComponentExport {
		return nil
	}
	d, err := p.hold(id, start, length)
	if err != nil {
		return err
	}
	for n := d.u32(); n > 0 && d.err == nil; n-- {
		name := externName(d)
		if id == secComponentImport {
			externDesc(d)
			c.Imports = append(c.Imports, name)
		} else {
			sortIndex(d)
			if d.byte() == 1 { // a type is ascribed
				externDesc(d)
			}
			c.Exports = append(c.Exports, name)
		}
		if len(c.Imports) > maxImports || len(c.Exports) > maxExports {
			return malformed("too many imports or exports")
		}
	}
	if d.err != nil {
		return malformed("section %d: %s", id, d.err)
	}
	return nil
}

// externName reads a name. The byte before it told plain names from those of
// interfaces once, and no longer means anything.
func externName(d *decoder) string {
	if form := d.byte(); form > 1 {
		d.fail(fmt.Errorf("name of unknown form %d", form))
	}
	return d.str()
}

// externDesc skips what is said of an import or export beyond its name.
func externDesc(d *decoder) {
	switch kind := d.byte(); kind {
	case 0: // core module
		if d.byte() != 0x11 {
			d.fail(errors.New("core import of an unknown kind"))
		}
		d.u32()
	case 1, 4, 5: // function, instance, component
		d.u32()
	case 3: // type, equal to another or a resource
		if d.byte() == 0 {
			d.u32()
		}
	default: // values are of no released version
		d.fail(fmt.Errorf("import or export of unknown kind %d", kind))
	}
}

func sortIndex(d *decoder) {
	if d.byte() == 0 { // of the core: one more byte says which
		d.byte()
	}
	d.u32()
}
