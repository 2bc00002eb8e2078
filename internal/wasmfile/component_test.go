package wasmfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const componentMagic = "\x00asm\x0d\x00\x01\x00"

// proxyComponent has the imports and exports of an HTTP handler, a core module
// and a nested component whose imports are not its own.
func proxyComponent() string {
	nested := componentMagic + section(10, vec("\x00"+str("inner")+"\x01\x00"))
	return componentMagic +
		section(1, magic) +
		section(7, vec("\x42\x00")) +
		section(10, vec("\x00"+str("wasi:http/types@0.2.0")+"\x05\x00", "\x01"+str("wasi:cli/stdout@0.2.0")+"\x05\x01")) +
		section(4, nested) +
		section(10, vec("\x00"+str("t")+"\x03\x01", "\x00"+str("u")+"\x03\x00\x07", "\x00"+str("m")+"\x00\x11\x02")) +
		section(11, vec("\x00"+str("wasi:http/incoming-handler@0.2.0")+"\x05\x09\x00", "\x01"+str("wasi:cli/run")+"\x05\x0a\x01\x05\x03")) +
		section(0, str("name"))
}

func TestComponentsTellTheirInterface(t *testing.T) {
	text := proxyComponent()
	c, err := ParseComponent(strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	want := "[wasi:http/types@0.2.0 wasi:cli/stdout@0.2.0 t u m] [wasi:http/incoming-handler@0.2.0 wasi:cli/run]"
	if got := fmt.Sprint(c.Imports, " ", c.Exports); got != want {
		t.Errorf("interface = %s, want %s", got, want)
	}
}

func TestBrokenComponentsAreErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		kind error
	}{
		"a module":       {magic, ErrNotModule},
		"truncated":      {proxyComponent()[:60], ErrMalformed},
		"unknown kind":   {componentMagic + section(10, vec("\x00"+str("x")+"\x09")), ErrMalformed},
		"unknown form":   {componentMagic + section(10, vec("\x07"+str("x")+"\x01\x00")), ErrMalformed},
		"names not UTF8": {componentMagic + section(11, vec("\x00"+str("\xff")+"\x01\x00\x00")), ErrMalformed},
	} {
		if _, err := ParseComponent(strings.NewReader(tc.text), int64(len(tc.text))); !errors.Is(err, tc.kind) {
			t.Errorf("%s: %v, want %v", name, err, tc.kind)
		}
	}
}

func FuzzParseComponent(f *testing.F) {
	f.Add([]byte(proxyComponent()))
	f.Add([]byte(componentMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseComponent(bytes.NewReader(data), int64(len(data)))
		if err == nil && len(c.Imports)+len(c.Exports) > len(data) {
			t.Fatalf("%d names in %d bytes", len(c.Imports)+len(c.Exports), len(data))
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotModule) {
			t.Fatalf("error without a kind: %v", err)
		}
	})
}
