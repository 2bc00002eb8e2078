package workerv1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestStartSurvivesTheWire(t *testing.T) {
	want := &Start{
		ID: "abc", Args: [][]byte{[]byte("/app.wasm"), {0xff, 0x00}, {}}, Env: [][]byte{[]byte("K=v")}, Cwd: "/w",
		Stdin: StdioFD, Stdout: StdioLog, Stderr: StdioNull, Terminal: true, StdinOnce: true, Command: true,
		MaxProcs: 2, MaxFiles: 100, Listeners: 3, EntryPoint: "main", Program: "/app.wasm", Dirs: []string{"/proc/1/root"},
	}
	got, err := DecodeStart(want.Encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("DecodeStart = %+v, %v, want %+v", got, err, want)
	}
}

func TestExitRecordSurvivesTheWire(t *testing.T) {
	want := ExitRecord{Kind: ExitTrap, Code: 134, Time: time.Unix(1, 2), Message: "wasm trap: unreachable"}
	got, err := DecodeExitRecord(want.Encode())
	if err != nil || got != want {
		t.Errorf("DecodeExitRecord = %+v, %v, want %+v", got, err, want)
	}
}

// Records stay on disk while a daemon is replaced: their checksum is CRC-32C.
func TestExitRecordHasItsChecksum(t *testing.T) {
	for _, message := range []string{"", "wasm trap: unreachable", strings.Repeat("x", MaxExitMessage+1)} {
		b := ExitRecord{Kind: ExitTrap, Code: 134, Time: time.Unix(1, 2), Message: message}.Encode()
		body := b[:len(b)-4]
		if got, want := binary.LittleEndian.Uint32(b[len(body):]), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)); got != want {
			t.Errorf("message of %d bytes: checksum %#x, want %#x", len(message), got, want)
		}
		if len(b) > MaxExitRecord {
			t.Errorf("message of %d bytes: record of %d, want at most %d", len(message), len(b), MaxExitRecord)
		}
	}
}

func TestDamagedExitRecordIsRefused(t *testing.T) {
	whole := ExitRecord{Kind: ExitNormal, Code: 3, Time: time.Now(), Message: "m"}.Encode()
	for n := range whole {
		if _, err := DecodeExitRecord(whole[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d of %d bytes: err = %v", n, len(whole), err)
		}
		bad := bytes.Clone(whole)
		bad[n] ^= 1
		if _, err := DecodeExitRecord(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("byte %d flipped: err = %v", n, err)
		}
	}
}

func TestControlSurvivesTheWire(t *testing.T) {
	q := Request{Op: OpReopenLog, Data: []byte("x")}
	if got, err := DecodeRequest(q.Encode()); err != nil || !reflect.DeepEqual(got, q) {
		t.Errorf("DecodeRequest = %+v, %v", got, err)
	}
	a := Reply{Errno: 22, Text: "no"}
	if got, err := DecodeReply(a.Encode()); err != nil || got != a {
		t.Errorf("DecodeReply = %+v, %v", got, err)
	}
	for _, want := range []Attach{{}, {Stdin: true}, {Stdout: true}, {Stdin: true, Stdout: true, Stderr: true}} {
		if got, err := DecodeAttach(want.Encode()); err != nil || got != want {
			t.Errorf("DecodeAttach = %+v, %v, want %+v", got, err, want)
		}
	}
	size := Resize{Rows: 24, Cols: 80}
	if got, err := DecodeResize(size.Encode()); err != nil || got != size {
		t.Errorf("DecodeResize = %+v, %v, want %+v", got, err, size)
	}
	s := Status{Step: StepSetNS, Index: 4, Errno: 1, Text: "x"}
	if got, err := DecodeStatus(s.Encode()); err != nil || got != s {
		t.Errorf("DecodeStatus = %+v, %v", got, err)
	}
}

func TestTooLongTextsAreCut(t *testing.T) {
	if n := len(Status{Text: strings.Repeat("x", 1<<20)}.Encode()); n > MaxStatus {
		t.Errorf("status of %d bytes", n)
	}
	r, err := DecodeExitRecord(ExitRecord{Message: strings.Repeat("x", 1<<20)}.Encode())
	if err != nil || len(r.Message) != MaxExitMessage {
		t.Errorf("message of %d bytes, %v", len(r.Message), err)
	}
}

func codeFile(t *testing.T) []byte {
	t.Helper()
	payload, names := bytes.Repeat([]byte("code"), 5000), []byte("\x01\x07\x01\x02\x04main")
	h := CodeHeader{Flags: CodeHasStart, ImportFuncs: 2, Module: [32]byte{1}, Engine: [32]byte{2}}
	return append(append(h.Encode(payload, names), payload...), names...)
}

func TestVerifyCodeAcceptsAWholeFile(t *testing.T) {
	b := codeFile(t)
	h, err := VerifyCode(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if h.Flags != CodeHasStart || h.ImportFuncs != 2 || h.Module[0] != 1 || h.Engine[0] != 2 || h.Size() != uint64(len(b)) {
		t.Errorf("header = %+v", h)
	}
}

func TestVerifyCodeRefusesDamage(t *testing.T) {
	whole := codeFile(t)
	check := func(name string, b []byte) {
		if _, err := VerifyCode(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrBadCode) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
	for _, n := range []int{0, 1, 8, 100, CodePayload, len(whole) - 1} {
		check("truncated", whole[:n])
	}
	check("longer", append(bytes.Clone(whole), 0))
	for _, at := range []int{0, 9, 20, 60, 100, CodePayload, len(whole) - 1} {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x80
		check("flipped", bad)
	}
}

func TestFuncName(t *testing.T) {
	section := []byte("\x00\x03\x02ab" + "\x01\x0d\x02\x02\x04main\x05\x04stop"[:15])
	for index, want := range map[uint32]string{2: "main", 5: "stop", 3: ""} {
		if got := FuncName(section, index); got != want {
			t.Errorf("FuncName(%d) = %q, want %q", index, got, want)
		}
	}
}

func FuzzDecoders(f *testing.F) {
	f.Add((&Start{Args: [][]byte{[]byte("a")}}).Encode())
	f.Add(ExitRecord{Code: 1}.Encode())
	f.Add(Request{Op: OpPing}.Encode())
	f.Add([]byte("\x01\x07\x01\x02\x04main"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeStart(b); err == nil && !bytes.Equal(s.Encode(), b) {
			t.Errorf("DecodeStart lost something of %x", b)
		}
		DecodeExitRecord(b)
		DecodeRequest(b)
		DecodeAttach(b)
		DecodeResize(b)
		DecodeReply(b)
		DecodeStatus(b)
		FuncName(b, 2)
		VerifyCode(bytes.NewReader(b), int64(len(b)))
	})
}
