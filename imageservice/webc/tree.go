package webc

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// walk is one header on its way to be a list of entries.
type walk struct {
	*opener
	header []byte
	data   int64 // where the content is
	size   uint64
	seen   map[uint64]bool // places of the header that were visited
	list   []Entry
}

// tree reads a header and notes where its data are.
func (o *opener) tree(length func() (uint64, error), level func(w *walk, at uint64, dir string, depth int) error, done func([]Entry)) error {
	n, err := length()
	if err != nil {
		return err
	}
	w := &walk{opener: o, seen: map[uint64]bool{}}
	if w.header, err = o.bytes(n, maxHeader); err != nil {
		return err
	}
	w.size = uint64(o.end - o.at)
	if o.version > 1 {
		if w.size, err = o.u64(); err != nil {
			return err
		}
	}
	if w.data, err = o.span(w.size); err != nil {
		return err
	}
	if len(w.header) > 0 {
		if err := level(w, 0, "", 0); err != nil {
			return err
		}
	}
	done(w.list)
	return nil
}

// visit guards against trees without end.
func (w *walk) visit(at uint64, depth int) error {
	switch {
	case depth > maxNesting:
		return limit("directories are more than %d deep", maxNesting)
	case w.seen[at]:
		return malformed("two directories are one")
	}
	w.seen[at] = true
	return nil
}

// part gives a piece of the header.
func (w *walk) part(at, n uint64) ([]byte, error) {
	if at > uint64(len(w.header)) || n > uint64(len(w.header))-at {
		return nil, malformed("an entry lies outside of its header")
	}
	return w.header[at : at+n], nil
}

func (w *walk) number(at uint64) (uint64, error) {
	b, err := w.part(at, 8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// join names an entry, if the name is one.
func (w *walk) join(dir string, name []byte) (string, error) {
	if w.entries++; w.entries > maxEntries {
		return "", limit("more than %d files", maxEntries)
	}
	s := string(name)
	if s == "" || s == "." || s == ".." || len(s) > maxName || strings.ContainsAny(s, "/\x00") || !utf8.ValidString(s) {
		return "", &imgerr.Error{Kind: imgerr.ErrUnsafe, Text: fmt.Sprintf("Wasmer package: %q is no name for a file", s[:min(len(s), 40)])}
	}
	if w.paths += len(dir) + 1 + len(s); w.paths > maxPaths {
		return "", limit("the paths of its files are too long")
	}
	return path.Join(dir, s), nil
}

// file notes a file whose content is a range of the data.
func (w *walk) file(name string, start, end uint64) error {
	if start > end || end > w.size {
		return malformed("the content of %q lies outside of the data", name)
	}
	w.list = append(w.list, Entry{Path: name, Offset: w.data + int64(start), Size: int64(end - start)})
	return nil
}

// level1 reads a directory of version 1.
func (o *opener) level1(w *walk, at uint64, dir string, depth int) error {
	if err := w.visit(at, depth); err != nil {
		return err
	}
	n, err := w.number(at)
	if err != nil {
		return err
	}
	if _, err := w.part(at+8, n); err != nil {
		return err
	}
	stop := at + 8 + n
	for at += 8; at < stop; {
		b, err := w.part(at, 24)
		if err != nil {
			return err
		}
		var length [8]byte
		copy(length[:7], b)
		kind, start, end := b[7], binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
		nameLen := binary.LittleEndian.Uint64(length[:])
		text, err := w.part(at+24, nameLen)
		if err != nil {
			return err
		}
		at += 24 + nameLen
		name, err := w.join(dir, text)
		if err != nil {
			return err
		}
		if err := o.entry1(w, kind, name, start, end, depth); err != nil {
			return err
		}
	}
	return nil
}

func (o *opener) entry1(w *walk, kind byte, name string, start, end uint64, depth int) error {
	switch kind {
	case 0:
		w.list = append(w.list, Entry{Path: name, Dir: true})
		if start == end {
			return nil
		}
		return o.level1(w, start, name, depth+1)
	case 1:
		return w.file(name, start, end)
	}
	return malformed("%q is of unknown kind %d", name, kind)
}

// Tags of entries.
const (
	tagDirectory = 30
	tagFile      = 31
	tagLink      = 32
)

// Sizes of what version 3 adds.
const (
	hashSize  = 32
	timesSize = 3 * 8
)

// level2 reads a directory of version 2 or 3.
func (o *opener) level2(w *walk, at uint64, dir string, depth int) error {
	if err := w.visit(at, depth); err != nil {
		return err
	}
	tag, err := w.part(at, 1)
	if err != nil {
		return err
	}
	if tag[0] != tagDirectory {
		return malformed("a tree begins with %d, not with a directory", tag[0])
	}
	n, err := w.number(at + 1)
	if err != nil {
		return err
	}
	if _, err := w.part(at+9, n); err != nil {
		return err
	}
	stop := at + 9 + n
	at += 9
	hash := uint64(0)
	if o.version == 3 {
		at, hash = at+timesSize+hashSize, hashSize
	}
	for at < stop {
		child, err := w.number(at)
		if err != nil {
			return err
		}
		nameLen, err := w.number(at + 8 + hash)
		if err != nil {
			return err
		}
		text, err := w.part(at+16+hash, nameLen)
		if err != nil {
			return err
		}
		at += 16 + hash + nameLen
		name, err := w.join(dir, text)
		if err != nil {
			return err
		}
		if err := o.entry2(w, child, name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (o *opener) entry2(w *walk, at uint64, name string, depth int) error {
	tag, err := w.part(at, 1)
	if err != nil {
		return err
	}
	switch tag[0] {
	case tagDirectory:
		w.list = append(w.list, Entry{Path: name, Dir: true})
		return o.level2(w, at, name, depth+1)
	case tagFile:
		start, err := w.number(at + 1)
		if err != nil {
			return err
		}
		end, err := w.number(at + 9)
		if err != nil {
			return err
		}
		return w.file(name, start, end)
	case tagLink:
		n, err := w.number(at + 1)
		if err != nil {
			return err
		}
		target, err := w.part(at+9, n)
		if err != nil {
			return err
		}
		if len(target) == 0 || len(target) > 4096 || strings.ContainsRune(string(target), 0) {
			return malformed("the target of the link %q is none", name)
		}
		w.list = append(w.list, Entry{Path: name, Target: string(target)})
		return nil
	}
	return malformed("%q is of unknown kind %d", name, tag[0])
}
