package webc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// Bounds of a package.
const (
	maxHeader   = 64 << 20 // bytes that describe one tree
	maxEntries  = 1_000_000
	maxPaths    = 256 << 20 // bytes of all paths
	maxNesting  = 128
	maxSections = 1000
	maxName     = 255
)

// Package is a package that was opened. Immutable; it reads from the file that
// it was opened on.
type Package struct {
	Version  int
	Manifest Manifest
	Atoms    []Entry // the modules, by name in Path
	Volumes  []Volume
}

// Volume is a tree of files.
type Volume struct {
	Name    string
	Entries []Entry // parents before what is in them
}

// Entry is a file, directory or symbolic link.
type Entry struct {
	Path   string // relative, clean
	Dir    bool
	Target string // of a symbolic link
	Offset int64  // of the content, in the package file
	Size   int64
}

// Open reads what a package of the given size says of itself. Errors are
// ErrMalformed, ErrLimit, ErrUnsafe, or of reading.
func Open(r io.ReaderAt, size int64) (*Package, error) {
	head := make([]byte, 8)
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	o := &opener{r: r, end: size, at: 8}
	version, ok := strings.CutPrefix(string(head), "\x00webc00")
	if !ok || len(version) != 1 || version[0] < '1' || version[0] > '3' {
		return nil, malformed("not a Wasmer package of version 1 to 3")
	}
	o.version = int(version[0] - '0')
	o.pkg.Version = o.version
	read := o.sections
	if o.version == 1 {
		read = o.first
	}
	if err := read(); err != nil {
		return nil, err
	}
	return &o.pkg, nil
}

func malformed(format string, args ...any) error {
	return &imgerr.Error{Kind: imgerr.ErrMalformed, Text: "Wasmer package: " + fmt.Sprintf(format, args...), Remedy: "build the package again with a current wasmer"}
}

func limit(format string, args ...any) error {
	return &imgerr.Error{Kind: imgerr.ErrLimit, Text: "Wasmer package: " + fmt.Sprintf(format, args...)}
}

// opener reads a package from front to back.
type opener struct {
	r       io.ReaderAt
	at, end int64
	version int
	entries int // of all trees
	paths   int // bytes of their paths
	pkg     Package
}

// span gives the place of the next n bytes and passes over them.
func (o *opener) span(n uint64) (at int64, err error) {
	if n > uint64(o.end-o.at) {
		return 0, malformed("%d bytes are announced and %d are left", n, o.end-o.at)
	}
	at = o.at
	o.at += int64(n)
	return at, nil
}

// bytes reads the next n bytes.
func (o *opener) bytes(n uint64, most int) ([]byte, error) {
	if n > uint64(most) {
		return nil, limit("a part of %d bytes, at most %d are allowed", n, most)
	}
	at, err := o.span(n)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(o.r, at, int64(n)), b); err != nil {
		return nil, fmt.Errorf("read package: %w", err)
	}
	return b, nil
}

func (o *opener) u64() (uint64, error) {
	b, err := o.bytes(8, 8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// leb reads a length of version 1.
func (o *opener) leb() (uint64, error) {
	var v uint64
	for shift := uint(0); shift < 63; shift += 7 {
		b, err := o.bytes(1, 1)
		if err != nil {
			return 0, err
		}
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return v, nil
		}
	}
	return 0, malformed("a length is too long")
}

// within reads a part of the given length by a function that must not go
// beyond it, and passes over the rest.
func (o *opener) within(n uint64, read func() error) error {
	at, err := o.span(n)
	if err != nil {
		return err
	}
	end := o.end
	o.at, o.end = at, at+int64(n)
	err = read()
	o.at, o.end = at+int64(n), end
	return err
}

// first reads version 1.
func (o *opener) first() error {
	if _, err := o.span(16 + 256 + 4 + 1024); err != nil {
		return err
	}
	n, err := o.leb()
	if err != nil {
		return err
	}
	if err := o.manifest(n); err != nil {
		return err
	}
	if n, err = o.leb(); err != nil {
		return err
	}
	if err := o.within(n, func() error { return o.tree(o.leb, o.level1, o.setAtoms) }); err != nil {
		return err
	}
	for volumes := 0; o.at < o.end; volumes++ {
		if volumes > maxSections {
			return limit("more than %d volumes", maxSections)
		}
		if n, err = o.leb(); err != nil {
			return err
		}
		name, err := o.bytes(n, 4096)
		if err != nil {
			return err
		}
		if n, err = o.leb(); err != nil {
			return err
		}
		if err := o.within(n, func() error { return o.tree(o.leb, o.level1, o.addVolume(name)) }); err != nil {
			return err
		}
	}
	return nil
}

// Tags of sections.
const (
	tagManifest = 1
	tagIndex    = 2
	tagAtoms    = 3
	tagVolume   = 4
)

// sections reads versions 2 and 3.
func (o *opener) sections() error {
	for n := 0; o.at < o.end; n++ {
		if n > maxSections {
			return limit("more than %d sections", maxSections)
		}
		tag, err := o.bytes(1, 1)
		if err != nil {
			return err
		}
		if o.version == 3 && tag[0] != tagIndex {
			if _, err := o.span(32); err != nil {
				return err
			}
		}
		length, err := o.u64()
		if err != nil {
			return err
		}
		if err := o.within(length, func() error { return o.section(tag[0], length) }); err != nil {
			return err
		}
	}
	return nil
}

func (o *opener) section(tag byte, length uint64) error {
	switch tag {
	case tagIndex:
		return nil
	case tagManifest:
		return o.manifest(length)
	case tagAtoms:
		return o.tree(o.u64, o.level2, o.setAtoms)
	case tagVolume:
		n, err := o.u64()
		if err != nil {
			return err
		}
		name, err := o.bytes(n, 4096)
		if err != nil {
			return err
		}
		return o.tree(o.u64, o.level2, o.addVolume(name))
	}
	return malformed("a section of unknown kind %d", tag)
}

func (o *opener) manifest(n uint64) error {
	b, err := o.bytes(n, maxManifest)
	if err != nil {
		return err
	}
	v, err := decodeCBOR(b)
	if err != nil {
		return err
	}
	o.pkg.Manifest = readManifest(v)
	return nil
}

func (o *opener) setAtoms(list []Entry) { o.pkg.Atoms = list }

func (o *opener) addVolume(name []byte) func([]Entry) {
	return func(list []Entry) {
		o.pkg.Volumes = append(o.pkg.Volumes, Volume{strings.ToValidUTF8(string(name), "?"), list})
	}
}
