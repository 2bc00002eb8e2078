package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// Webc is a package of Wasmer, in version 1, 2 or 3 of its file format. The
// layout is described in package imageservice/webc.
type Webc struct {
	Version  int
	Manifest map[string]any // of strings, lists of any, and maps like itself
	Atoms    map[string][]byte
	Volumes  map[string]map[string][]byte // path, which may have slashes, to content
}

// WebcCommand is a command of a manifest: notes are its annotations for WASI,
// such as main-args.
func WebcCommand(atom string, notes map[string]any) map[string]any {
	wasi := map[string]any{"atom": atom}
	maps.Copy(wasi, notes)
	return map[string]any{"runner": "https://webc.org/runner/wasi", "annotations": map[string]any{"atom": map[string]any{"name": atom}, "wasi": wasi}}
}

// Artifact puts the package into the only layer of an artifact.
func (w Webc) Artifact() Artifact {
	return Single(EmptyConfig, "application/vnd.wasmer.webc", w.Encode())
}

// Encode gives the file.
func (w Webc) Encode() []byte {
	manifest := cbor(w.Manifest)
	if w.Version == 1 {
		return w.encodeFirst(manifest)
	}
	out := []byte("\x00webc00" + string(rune('0'+w.Version)))
	section := func(tag byte, content []byte) {
		out = append(out, tag)
		if w.Version == 3 && tag != 2 {
			sum := sha256.Sum256(content)
			out = append(out, sum[:]...)
		}
		out = append(u64(out, len(content)), content...)
	}
	section(2, cbor(map[string]any{})) // readers go by the sections themselves
	section(1, manifest)
	section(3, w.volume(w.Atoms))
	for _, name := range slices.Sorted(maps.Keys(w.Volumes)) {
		section(4, append(append(u64(nil, len(name)), name...), w.volume(w.Volumes[name])...))
	}
	return out
}

func (w Webc) encodeFirst(manifest []byte) []byte {
	out := append([]byte("\x00webc001"), strings.Repeat("-", 16)...)
	out = append(out, make([]byte, 256+4+1024)...)
	part := func(content []byte) { out = append(binary.AppendUvarint(out, uint64(len(content))), content...) }
	part(manifest)
	part(w.volume(w.Atoms))
	for _, name := range slices.Sorted(maps.Keys(w.Volumes)) {
		part([]byte(name))
		part(w.volume(w.Volumes[name]))
	}
	return out
}

// webcNode is a file or, with children, a directory.
type webcNode struct {
	children map[string]*webcNode // nil: a file
	data     []byte
}

func webcTree(files map[string][]byte) *webcNode {
	root := &webcNode{children: map[string]*webcNode{}}
	for name, data := range files {
		at := root
		parts := strings.Split(name, "/")
		for _, dir := range parts[:len(parts)-1] {
			if at.children[dir] == nil {
				at.children[dir] = &webcNode{children: map[string]*webcNode{}}
			}
			at = at.children[dir]
		}
		at.children[parts[len(parts)-1]] = &webcNode{data: data}
	}
	return root
}

func (w Webc) volume(files map[string][]byte) []byte {
	var data []byte
	if w.Version == 1 {
		header := level1(webcTree(files), 0, &data)
		return append(append(binary.AppendUvarint(nil, uint64(len(header))), header...), data...)
	}
	var header []byte
	w.directory(&header, webcTree(files), &data)
	out := append(u64(nil, len(header)), header...)
	return append(u64(out, len(data)), data...)
}

// level1 writes a directory of version 1 at a place of the header, and those
// below it behind it.
func level1(n *webcNode, at int, data *[]byte) []byte {
	names := slices.Sorted(maps.Keys(n.children))
	size := 0
	for _, name := range names {
		size += 24 + len(name)
	}
	level, below := u64(nil, size), []byte{}
	for _, name := range names {
		child := n.children[name]
		kind, start, end := byte(1), len(*data), len(*data)+len(child.data)
		if child.children != nil {
			start = at + 8 + size + len(below)
			below = append(below, level1(child, start, data)...)
			kind, end = 0, at+8+size+len(below)
		} else {
			*data = append(*data, child.data...)
		}
		level = append(u64(level, len(name))[:len(level)+7], kind)
		level = append(u64(u64(level, start), end), name...)
	}
	return append(level, below...)
}

// directory writes one of version 2 or 3.
func (w Webc) directory(header *[]byte, n *webcNode, data *[]byte) {
	extra := func(n int) {
		if w.Version == 3 {
			*header = append(*header, make([]byte, n)...)
		}
	}
	*header = append(*header, 30)
	lengthAt := len(*header)
	*header = u64(*header, 0)
	extra(3*8 + 32)
	names := slices.Sorted(maps.Keys(n.children))
	var offsets []int
	for _, name := range names {
		offsets = append(offsets, len(*header))
		*header = u64(*header, 0)
		extra(32)
		*header = append(u64(*header, len(name)), name...)
	}
	binary.LittleEndian.PutUint64((*header)[lengthAt:], uint64(len(*header)-lengthAt-8))
	for i, name := range names {
		binary.LittleEndian.PutUint64((*header)[offsets[i]:], uint64(len(*header)))
		child := n.children[name]
		if child.children != nil {
			w.directory(header, child, data)
			continue
		}
		sum := sha256.Sum256(child.data)
		*header = append(*header, 31)
		*header = u64(u64(*header, len(*data)), len(*data)+len(child.data))
		*header = append(*header, sum[:]...)
		extra(3 * 8)
		*data = append(*data, child.data...)
	}
}

func u64(b []byte, n int) []byte { return binary.LittleEndian.AppendUint64(b, uint64(n)) }

// cbor encodes what a manifest consists of.
func cbor(v any) []byte {
	head := func(major byte, n int) []byte {
		if n < 24 {
			return []byte{major<<5 | byte(n)}
		}
		return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, uint32(n))
	}
	switch v := v.(type) {
	case string:
		return append(head(3, len(v)), v...)
	case []any:
		out := head(4, len(v))
		for _, e := range v {
			out = append(out, cbor(e)...)
		}
		return out
	case map[string]any:
		out := bytes.NewBuffer(head(5, len(v)))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out.Write(cbor(k))
			out.Write(cbor(v[k]))
		}
		return out.Bytes()
	}
	panic("a manifest consists of text, lists and maps")
}
