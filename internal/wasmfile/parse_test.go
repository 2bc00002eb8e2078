package wasmfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const magic = "\x00asm\x01\x00\x00\x00"

func uleb(n uint64) string {
	var b []byte
	for {
		c := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return string(append(b, c))
		}
		b = append(b, c|0x80)
	}
}

func str(s string) string { return uleb(uint64(len(s))) + s }

func vec(items ...string) string { return uleb(uint64(len(items))) + strings.Join(items, "") }

func section(id byte, body string) string { return string(rune(id)) + uleb(uint64(len(body))) + body }

func parse(s string) (*File, error) { return Parse(strings.NewReader(s), int64(len(s))) }

func TestDetectNamesWhatAFileIs(t *testing.T) {
	elf := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00\x3e\x00"
	for _, tc := range []struct {
		head string
		kind Kind
		what string
	}{
		{"", Empty, "an empty file"},
		{magic, Module, "a WebAssembly module"},
		{"\x00asm\x0d\x00\x01\x00", Component, "a WebAssembly component (WASI 0.2)"},
		{"\x00asm\x0a\x00\x01\x00", Component, "a WebAssembly component of draft version 0xa"},
		{"\x00asm\x02\x00\x00\x00", OtherWasm, "a WebAssembly binary of unknown version 0x2"},
		{"\x00asm\x01", OtherWasm, "a truncated WebAssembly binary"},
		{elf, ELF, "a native ELF binary (x86-64)"},
		{"\x7fELF", ELF, "a native ELF binary (truncated)"},
		{"#!/bin/sh -e\nexit", Script, "a script (#!/bin/sh -e)"},
		{"#!/bin/\x1b[31m\n", Script, "a script (#!/bin/?[31m)"},
		{"  ;; note\n(; more ;)\n(module)", Text, "WebAssembly text (.wat)"},
		{"(component", Text, "WebAssembly text (.wat)"},
		{"\x00webc003", Webc, "a Wasmer package (webc)"},
		{"MZ\x90\x00", PE, "a Windows binary"},
		{"\xcf\xfa\xed\xfe", MachO, "a macOS binary"},
		{"hello", Unknown, "a file of unknown kind"},
		{";; only a comment", Unknown, "a file of unknown kind"},
	} {
		if kind, what := Detect([]byte(tc.head)); kind != tc.kind || what != tc.what {
			t.Errorf("Detect(%q) = %v, %q, want %v, %q", tc.head, kind, what, tc.kind, tc.what)
		}
	}
}

func TestParseReadsEverySectionThatMatters(t *testing.T) {
	m := magic +
		section(0, str("first")+"xyz") +
		section(1, vec("\x60\x04\x7f\x7f\x7f\x7f\x01\x7f", "\x60\x00\x00", "\x60\x01\x7b\x00")) +
		section(2, vec(
			str("wasi_snapshot_preview1")+str("fd_write")+"\x00\x00",
			str("env")+str("memory")+"\x02\x01\x02\x10",
			str("env")+str("table")+"\x01\x70\x00\x01",
			str("env")+str("g")+"\x03\x7f\x00")) +
		section(3, vec("\x01")) +
		section(7, vec(str("_start")+"\x00\x01", str("memory")+"\x02\x00")) +
		section(8, "\x01") +
		section(10, vec("\x02\x00\x0b")) +
		section(0, str("target_features")+vec("+"+str("simd128"), "-"+str("atomics"))) +
		section(0, str("name")+"\x00\x01\x00")
	f, err := parse(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Imports) != 4 || f.ImportedFuncs != 1 {
		t.Fatalf("imports = %+v", f.Imports)
	}
	if p, r := f.Imports[0].Type.Hex(); p != "7f7f7f7f" || r != "7f" || !f.Imports[0].HasType {
		t.Errorf("type of fd_write = %s -> %s", p, r)
	}
	if mem, ok := f.Memory(); !ok || mem != (Memory{Min: 2, Max: 16, HasMax: true}) {
		t.Errorf("memory = %+v, %v", mem, ok)
	}
	if !f.HasStart || !f.Export("_start", Func) || f.Export("_start", Mem) || f.Export("nothing", Func) {
		t.Errorf("start %v, exports %+v", f.HasStart, f.Exports)
	}
	if !f.Features.SIMD || f.Features.Shared || !reflect.DeepEqual(f.Features.Target, []string{"simd128"}) {
		t.Errorf("features = %+v", f.Features)
	}
	s, ok := f.Custom("name")
	if !ok || m[s.Offset:s.Offset+s.Size] != "\x00\x01\x00" {
		t.Errorf("name section = %+v, %v", s, ok)
	}
}

func TestParseSeesProposals(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		get  func(Features) bool
	}{
		"shared memory":  {section(5, vec("\x03\x01\x02")), func(f Features) bool { return f.Shared }},
		"memory64":       {section(5, vec("\x04\x01")), func(f Features) bool { return f.Memory64 }},
		"two memories":   {section(5, vec("\x00\x01", "\x00\x01")), func(f Features) bool { return f.MultiMemory }},
		"page size":      {section(5, vec("\x08\x01\x00")), func(f Features) bool { return f.CustomPages }},
		"tags":           {section(13, vec("\x00\x00")), func(f Features) bool { return f.Exceptions }},
		"imported tag":   {section(2, vec(str("a")+str("b")+"\x04\x00\x00")), func(f Features) bool { return f.Exceptions }},
		"struct type":    {section(1, vec("\x5f\x00")), func(f Features) bool { return f.GC }},
		"typed ref":      {section(1, vec("\x60\x01\x64\x00\x00")), func(f Features) bool { return f.GC }},
		"vector results": {section(1, vec("\x60\x00\x01\x7b")), func(f Features) bool { return f.SIMD }},
	} {
		f, err := parse(magic + tc.body)
		if err != nil || !tc.get(f.Features) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

func TestParseRefusesBrokenFiles(t *testing.T) {
	huge := uleb(0xffffffff)
	for name, tc := range map[string]struct {
		in   string
		kind error
	}{
		"no module":             {"\x7fELF", ErrNotModule},
		"component":             {"\x00asm\x0d\x00\x01\x00", ErrNotModule},
		"empty":                 {"", ErrNotModule},
		"id without length":     {magic + "\x01", ErrMalformed},
		"endless length":        {magic + "\x01\xff\xff\xff\xff\xff\xff", ErrMalformed},
		"length beyond the end": {magic + "\x01" + huge + "x", ErrMalformed},
		"unknown section":       {magic + section(99, ""), ErrMalformed},
		"sections out of order": {magic + section(7, vec()) + section(1, vec()), ErrMalformed},
		"section twice":         {magic + section(1, vec()) + section(1, vec()), ErrMalformed},
		"types that are absent": {magic + section(1, huge), ErrMalformed},
		"imports of no type":    {magic + section(2, vec(str("a")+str("b")+"\x00\x07")), ErrMalformed},
		"many imports":          {magic + section(2, uleb(200_000)+strings.Repeat("x", 100)), ErrMalformed},
		"many exports":          {magic + section(7, huge), ErrMalformed},
		"many memories":         {magic + section(5, uleb(101)), ErrMalformed},
		"import of a new kind":  {magic + section(2, vec(str("a")+str("b")+"\x09")), ErrMalformed},
		"name beyond the end":   {magic + section(7, uleb(1)+huge), ErrMalformed},
		"name that is no text":  {magic + section(7, vec(str("\xff\xfe")+"\x00\x00")), ErrMalformed},
		"limits of a new kind":  {magic + section(5, vec("\x40\x01")), ErrMalformed},
		"custom without name":   {magic + section(0, ""), ErrMalformed},
		"truncated types":       {magic + section(1, uleb(2)+"\x60\x00\x00\x60\x05"), ErrMalformed},
	} {
		if f, err := parse(tc.in); !errors.Is(err, tc.kind) {
			t.Errorf("%s: %+v, %v, want %v", name, f, err, tc.kind)
		}
	}
}

func TestParseBoundsWhatItHolds(t *testing.T) {
	// A million imports may share one long signature: it must not be copied
	// for each of them.
	long := "\x60" + uleb(60_000) + strings.Repeat("\x7f", 60_000) + "\x00"
	one := str("") + str("") + "\x00\x00"
	m := magic + section(1, vec(long)) + section(2, uleb(50_000)+strings.Repeat(one, 50_000))
	if _, err := parse(m); !errors.Is(err, ErrMalformed) || !strings.Contains(fmt.Sprint(err), "signatures") {
		t.Errorf("50,000 imports of a long signature: %v, want ErrMalformed", err)
	}
	if _, err := parse(magic + strings.Repeat(section(0, str("x")), maxSections+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too many sections: %v, want ErrMalformed", err)
	}
}

func TestParseRealModules(t *testing.T) {
	files, _ := filepath.Glob("../../build/guests/*.wasm")
	if len(files) == 0 {
		t.Skip("no guests in build/guests: make guests builds them")
	}
	for _, p := range files {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse(bytes.NewReader(data), int64(len(data)))
		if err != nil || f.ImportedFuncs == 0 && !strings.Contains(p, "reactor") {
			t.Errorf("%s: %d imports, %v", p, len(f.Imports), err)
		}
	}
}

func TestProducersAreListedOrIgnored(t *testing.T) {
	good := str("producers") + vec(str("language")+vec(str("C11")+str("")), str("processed-by")+vec(str("clang")+str("18.1.2"), str("lld")+str("18")))
	for body, want := range map[string]string{
		good:               "[language C11 clang 18.1.2 lld 18]",
		good[:len(good)-1]: "[]",
		str("producers"):   "[]",
		str("producer"):    "[]",
		str("producers") + vec(str("sdk")+vec(str(strings.Repeat("x", 300))+str("1"))): "[" + strings.Repeat("x", 200) + "]",
	} {
		m := magic + section(0, body)
		f, err := parse(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(Producers(strings.NewReader(m), f)); got != want {
			t.Errorf("producers of %q = %s, want %s", body, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(magic))
	f.Add([]byte(magic + section(1, vec("\x60\x04\x7f\x7f\x7f\x7f\x01\x7f")) + section(2, vec(str("m")+str("n")+"\x00\x00")) + section(7, vec(str("_start")+"\x00\x00"))))
	f.Add([]byte(magic + section(5, vec("\x07\x01\x02")) + section(0, str("target_features")+vec("+"+str("simd128")))))
	f.Add([]byte(magic + section(0, str("producers")+vec(str("language")+vec(str("C")+str("11"))))))
	f.Add([]byte("\x00asm\x0d\x00\x01\x00"))
	f.Add([]byte("(module)"))
	f.Fuzz(func(t *testing.T, data []byte) {
		Detect(data)
		m, err := Parse(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotModule) {
				t.Fatalf("error without a kind: %v", err)
			}
			return
		}
		for _, p := range Producers(bytes.NewReader(data), m) {
			if len(p) > maxProducer {
				t.Fatalf("producer of %d bytes", len(p))
			}
		}
		for _, s := range m.Customs {
			if s.Offset < 8 || s.Size < 0 || s.Offset+s.Size > int64(len(data)) {
				t.Fatalf("custom section %+v lies outside of %d bytes", s, len(data))
			}
		}
	})
}
