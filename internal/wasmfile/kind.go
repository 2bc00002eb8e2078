package wasmfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind is what the first bytes of a file say that it is.
type Kind int

// Kinds of file. Only a Module can be parsed further.
const (
	Unknown   Kind = iota
	Empty          // no bytes at all
	Module         // core WebAssembly module
	Component      // component of the component model
	OtherWasm      // the magic with a version that nobody has defined
	Text           // WebAssembly text format
	ELF            // Linux binary
	MachO          // macOS binary
	PE             // Windows binary
	Script         // begins with #!
	Webc           // Wasmer container file
)

// HeadSize is how much of a file Detect wants to see.
const HeadSize = 512

// Detect tells the kind of a file by its first bytes (up to HeadSize of them),
// and a phrase that says what it is: "a native ELF binary (x86-64)".
func Detect(head []byte) (Kind, string) {
	switch {
	case len(head) == 0:
		return Empty, "an empty file"
	case bytes.HasPrefix(head, []byte("\x00asm")):
		return detectWasm(head)
	case bytes.HasPrefix(head, []byte("\x00webc")):
		return Webc, "a Wasmer package (webc)"
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return ELF, "a native ELF binary (" + elfMachine(head) + ")"
	case bytes.HasPrefix(head, []byte("MZ")):
		return PE, "a Windows binary"
	case bytes.HasPrefix(head, []byte("\xcf\xfa\xed\xfe")), bytes.HasPrefix(head, []byte("\xce\xfa\xed\xfe")), bytes.HasPrefix(head, []byte("\xca\xfe\xba\xbe")):
		return MachO, "a macOS binary"
	case bytes.HasPrefix(head, []byte("#!")):
		return Script, "a script (" + scriptLine(head) + ")"
	case isText(head):
		return Text, "WebAssembly text (.wat)"
	}
	return Unknown, "a file of unknown kind"
}

func detectWasm(head []byte) (Kind, string) {
	if len(head) < 8 {
		return OtherWasm, "a truncated WebAssembly binary"
	}
	switch v := binary.LittleEndian.Uint32(head[4:]); v {
	case 1:
		return Module, "a WebAssembly module"
	case 0x1000d:
		return Component, "a WebAssembly component (WASI 0.2)"
	default:
		if v>>16 == 1 {
			return Component, fmt.Sprintf("a WebAssembly component of draft version %#x", v&0xffff)
		}
		return OtherWasm, fmt.Sprintf("a WebAssembly binary of unknown version %#x", v)
	}
}

var machines = map[uint16]string{0x03: "x86", 0x28: "arm", 0x3e: "x86-64", 0xb7: "arm64", 0xf3: "riscv", 0x16: "s390x", 0x15: "ppc64"}

func elfMachine(head []byte) string {
	if len(head) < 20 {
		return "truncated"
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[5] == 2 {
		order = binary.BigEndian
	}
	m := order.Uint16(head[18:])
	if name, ok := machines[m]; ok {
		return name
	}
	return fmt.Sprintf("machine %#x", m)
}

func scriptLine(head []byte) string {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if len(line) > 60 {
		line = line[:60]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return '?'
		}
		return r
	}, string(line))
}

// isText skips blanks and comments and looks for "(module" or "(component".
func isText(head []byte) bool {
	for {
		head = bytes.TrimLeft(head, " \t\r\n")
		switch {
		case bytes.HasPrefix(head, []byte(";;")):
			_, rest, ok := bytes.Cut(head, []byte("\n"))
			if !ok {
				return false
			}
			head = rest
		case bytes.HasPrefix(head, []byte("(;")):
			_, rest, ok := bytes.Cut(head, []byte(";)"))
			if !ok {
				return false
			}
			head = rest
		default:
			return bytes.HasPrefix(head, []byte("(module")) || bytes.HasPrefix(head, []byte("(component"))
		}
	}
}
