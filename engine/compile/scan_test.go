package compile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

func section(id byte, content ...byte) []byte { return appendSection(nil, id, content) }

func module(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), bytes.Join(sections, nil)...)
}

// A type () -> (), and a function of it with an empty body.
var (
	types = section(1, 1, 0x60, 0, 0)
	funcs = section(3, 1, 0)
	code  = section(10, 1, 2, 0, 0x0b)
)

func TestScanFindsWhatAWorkerNeeds(t *testing.T) {
	imports := section(2, []byte("\x02\x01m\x01f\x00\x00\x01m\x01g\x03\x7f\x00")...)
	names := section(0, []byte("\x04name\x01\x02\x01\x00")...)
	s, err := scan(module(types, imports, funcs, section(8, 1), code, names))
	if err != nil {
		t.Fatal(err)
	}
	if s.importFuncs != 1 || !s.hasStart || s.startFunc != 1 || string(s.names) != "\x01\x02\x01\x00" {
		t.Errorf("shape = %+v", s)
	}
}

func TestScanRefuses(t *testing.T) {
	tests := []struct {
		name   string
		module []byte
		want   string
	}{
		{"text", []byte("(module)"), "not a WebAssembly module"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), "component"},
		{"a cut section", module(types)[:12], "truncated"},
		{"a memory of 4 GiB", module(section(5, 1, 0, 0x80, 0x80, 4)), "4 GiB"},
		{"an unknown kind of import", module(section(2, 1, 0, 0, 9)), "unknown kind"},
		{"more imports than there are", module(section(2, 5)), "truncated"},
		{"two start sections", module(types, funcs, section(8, 0), section(8, 0), code), "out of order"},
		{"exports behind the start", module(types, funcs, section(8, 0), section(7, 0), code), "out of order"},
		{"two export sections", module(types, funcs, section(7, 0), section(7, 0), code), "out of order"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := scan(tt.module); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestStartBecomesAnExport(t *testing.T) {
	memory := section(5, 1, 0, 1)
	exports := section(7, []byte("\x01\x03mem\x02\x00")...)
	for name, m := range map[string][]byte{
		"with exports":    module(types, funcs, memory, exports, section(8, 0), code),
		"without exports": module(types, funcs, memory, section(8, 0), code),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := scan(m)
			if err != nil {
				t.Fatal(err)
			}
			out := s.withoutStart(m)
			again, err := scan(out)
			if err != nil || again.hasStart {
				t.Errorf("rewritten module: start %v, %v", again.hasStart, err)
			}
			if !bytes.Contains(out, []byte(workerv1.StartExport)) {
				t.Error("rewritten module lacks the export")
			}
			if _, err := wasmer.Compile(out, wasmer.Cranelift); err != nil {
				t.Errorf("engine refuses the rewritten module: %v", err)
			}
		})
	}
}

func FuzzScan(f *testing.F) {
	f.Add(module(types, funcs, section(8, 0), code))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := scan(b); err == nil {
			if again, err := scan(s.withoutStart(b)); err != nil || again.hasStart {
				t.Errorf("rewritten module: %+v, %v", again, err)
			}
		}
	})
}
