package wasmmod

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestTrueIsTheKnownBinary(t *testing.T) {
	want := "0061736d01000000" + // magic, version 1
		"010401600000" + // type 0: () -> ()
		"03020100" + // function 0 has type 0
		"0503010001" + // memory of 1 page
		"071302066d656d6f72790200" + "065f73746172740000" + // exports
		"0a040102000b" + // code: no locals, end
		"0010046e616d6501090100065f7374617274" // names
	if got := hex.EncodeToString(True()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestConstIsSignedLEB128(t *testing.T) {
	for v, want := range map[int32]string{
		0: "4100", 63: "413f", 64: "41c000", -1: "417f", -64: "4140", -65: "41bf7f", 1024: "418008",
	} {
		if got := hex.EncodeToString(Const(v)); got != want {
			t.Errorf("Const(%d): got %s, want %s", v, got, want)
		}
	}
}

func TestSamplesHoldWhatTheirNameSays(t *testing.T) {
	for name, tc := range map[string]struct {
		module []byte
		want   string
	}{
		"import":        {Importing("env", "foo"), "\x03env\x03foo\x00"},
		"without start": {WithoutStart(), "\x06answer\x00\x00"},
		"start section": {StartSection(), "\x08\x01\x01\x0a"},
		"trap":          {TrapAfter("text"), "\x07squeeze"},
	} {
		if !bytes.Contains(tc.module, []byte(tc.want)) {
			t.Errorf("%s: %q is not in %q", name, tc.want, tc.module)
		}
	}
	if bytes.Contains(WithoutStart(), []byte("_start")) {
		t.Error("the module without _start has one")
	}
}
