package wasmfile

import (
	"io"
	"strings"
)

const (
	maxProducersSection = 64 << 10
	maxProducers        = 32
	maxProducer         = 200 // bytes of one
)

// Producers lists what built the module, as its producers section says: "Rust",
// "clang 18.1.2", "Go cmd/compile go1.27". It is a claim, and nil when there is
// none or it does not parse.
//
// https://github.com/WebAssembly/tool-conventions/blob/main/ProducersSection.md
func Producers(r io.ReaderAt, f *File) []string {
	s, ok := f.Custom("producers")
	if !ok || s.Size > maxProducersSection {
		return nil
	}
	b := make([]byte, s.Size)
	if _, err := io.ReadFull(io.NewSectionReader(r, s.Offset, s.Size), b); err != nil {
		return nil
	}
	d := &decoder{b: b}
	var list []string
	for fields := d.u32(); fields > 0 && d.err == nil; fields-- {
		field := d.str()
		for n := d.u32(); n > 0 && d.err == nil; n-- {
			name, version := d.str(), d.str()
			if d.err != nil || len(list) >= maxProducers {
				break
			}
			list = append(list, producer(field, name, version))
		}
	}
	if d.err != nil {
		return nil
	}
	return list
}

func producer(field, name, version string) string {
	text := name
	if version != "" {
		text += " " + version
	}
	if field == "language" {
		text = "language " + text
	}
	return strings.ToValidUTF8(text[:min(len(text), maxProducer)], "")
}
