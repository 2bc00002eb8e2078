package webc

import (
	"encoding/binary"
	"unicode/utf8"
)

// Bounds of a manifest.
const (
	maxManifest = 4 << 20
	maxDepth    = 64
	maxItems    = 100_000
)

// cbor decodes what manifests use of RFC 8949: maps with text as keys, lists,
// text, bytes, numbers, true, false and null. Tags are passed over.
type cbor struct {
	b     []byte
	depth int
	items int
}

// brk is what ends a list or map of unknown length.
type brk struct{}

// decodeCBOR gives map[string]any, []any, string, []byte, int64, bool or nil.
func decodeCBOR(b []byte) (any, error) {
	d := &cbor{b: b}
	v, err := d.value()
	if _, end := v.(brk); err == nil && end {
		err = malformed("manifest: a break without a beginning")
	}
	return v, err
}

func (d *cbor) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.b)) {
		return nil, malformed("manifest is truncated")
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v, nil
}

// unbounded is the argument of a list, map or text of unknown length.
const unbounded = 31

// head reads the first byte of a value and its argument.
func (d *cbor) head() (major byte, info byte, arg uint64, err error) {
	first, err := d.take(1)
	if err != nil {
		return 0, 0, 0, err
	}
	major, info = first[0]>>5, first[0]&31
	switch {
	case info < 24:
		return major, info, uint64(info), nil
	case info < 28:
		raw, err := d.take(1 << (info - 24))
		if err != nil {
			return 0, 0, 0, err
		}
		var full [8]byte
		copy(full[8-len(raw):], raw)
		return major, info, binary.BigEndian.Uint64(full[:]), nil
	case info == unbounded:
		return major, info, 0, nil
	}
	return 0, 0, 0, malformed("manifest: reserved form %d", info)
}

func (d *cbor) value() (any, error) {
	if d.items++; d.items > maxItems {
		return nil, malformed("manifest has more than %d values", maxItems)
	}
	if d.depth++; d.depth > maxDepth {
		return nil, malformed("manifest is more than %d deep", maxDepth)
	}
	defer func() { d.depth-- }()
	major, info, arg, err := d.head()
	if err != nil {
		return nil, err
	}
	switch major {
	case 0:
		return int64(min(arg, 1<<62)), nil
	case 1:
		return -1 - int64(min(arg, 1<<62)), nil
	case 2, 3:
		return d.text(major, info, arg)
	case 4:
		return d.list(info, arg)
	case 5:
		return d.table(info, arg)
	case 6:
		return d.value()
	}
	return simple(info)
}

// simple values: floats are of no use in a manifest and become null.
func simple(info byte) (any, error) {
	switch info {
	case 20, 21:
		return info == 21, nil
	case unbounded:
		return brk{}, nil
	}
	return nil, nil
}

func (d *cbor) text(major, info byte, n uint64) (any, error) {
	var raw []byte
	var err error
	if info != unbounded {
		raw, err = d.take(n)
	} else {
		raw, err = d.chunks()
	}
	if err != nil || major == 2 {
		return raw, err
	}
	if !utf8.Valid(raw) {
		return nil, malformed("manifest: text is not UTF-8")
	}
	return string(raw), nil
}

func (d *cbor) chunks() ([]byte, error) {
	var all []byte
	for {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		switch part := v.(type) {
		case string:
			all = append(all, part...)
		case []byte:
			all = append(all, part...)
		case brk:
			return all, nil
		default:
			return nil, malformed("manifest: a text consists of something else")
		}
	}
}

func (d *cbor) list(info byte, n uint64) (any, error) {
	list := []any{}
	for i := uint64(0); info == unbounded || i < n; i++ {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		if _, end := v.(brk); end {
			return list, endOf(info)
		}
		list = append(list, v)
	}
	return list, nil
}

func (d *cbor) table(info byte, n uint64) (any, error) {
	table := map[string]any{}
	for i := uint64(0); info == unbounded || i < n; i++ {
		k, err := d.value()
		if err != nil {
			return nil, err
		}
		if _, end := k.(brk); end {
			return table, endOf(info)
		}
		key, ok := k.(string)
		if !ok {
			return nil, malformed("manifest: a key is no text")
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		if _, end := v.(brk); end {
			return nil, malformed("manifest: key %q has no value", key)
		}
		table[key] = v
	}
	return table, nil
}

func endOf(info byte) error {
	if info != unbounded {
		return malformed("manifest: a break in a list of known length")
	}
	return nil
}
