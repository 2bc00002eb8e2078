package workerv1

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// ExitKind says how a guest ended.
type ExitKind uint16

const (
	ExitNormal ExitKind = 1 // proc_exit, or _start returned
	ExitTrap   ExitKind = 2 // a WebAssembly trap
	ExitSignal ExitKind = 3 // the stop signal reached the worker
	ExitEngine ExitKind = 4 // the worker itself failed
)

// ExitRecord is how a guest ended, in the words of its own worker. It is
// written once, by one write, to a file opened before the guest started.
type ExitRecord struct {
	Kind    ExitKind
	Code    uint32 // as a shell shows it: 0 to 255
	Time    time.Time
	Message string // for people; empty when there is nothing to add
}

const (
	exitMagic = 0x31455743 // "CWE1"
	// MaxExitRecord bounds an encoded ExitRecord in bytes: a page of a tmpfs.
	MaxExitRecord = 4096
	// MaxExitMessage bounds the message of an ExitRecord in bytes.
	MaxExitMessage = MaxExitRecord - 64
)

// crc32c is the checksum of a record, bit by bit: the tables of package crc32
// take longer to make than any other part of a short worker.
func crc32c(b []byte) uint32 {
	sum := ^uint32(0)
	for _, c := range b {
		sum ^= uint32(c)
		for range 8 {
			sum = sum>>1 ^ crc32.Castagnoli&-(sum&1)
		}
	}
	return ^sum
}

// Encode gives the record with its checksum. A longer message is cut.
func (r ExitRecord) Encode() []byte {
	if len(r.Message) > MaxExitMessage {
		r.Message = r.Message[:MaxExitMessage]
	}
	e := encoder{}
	e.u32(exitMagic)
	e.u16(uint16(r.Kind))
	e.u16(0)
	e.u32(r.Code)
	e.u64(uint64(r.Time.UnixNano()))
	e.str(r.Message)
	e.u32(crc32c(e.b))
	return e.b
}

// DecodeExitRecord reads a record. An empty, torn or damaged one is
// ErrMalformed: the worker was killed before it could say how it ended.
func DecodeExitRecord(b []byte) (ExitRecord, error) {
	if len(b) < 8 {
		return ExitRecord{}, fmt.Errorf("%w: exit record of %d bytes", ErrMalformed, len(b))
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32c(body) != sum {
		return ExitRecord{}, fmt.Errorf("%w: exit record fails its checksum", ErrMalformed)
	}
	d := decoder{b: body}
	if d.u32() != exitMagic {
		return ExitRecord{}, fmt.Errorf("%w: not an exit record", ErrMalformed)
	}
	r := ExitRecord{Kind: ExitKind(d.u16())}
	d.u16()
	r.Code, r.Time, r.Message = d.u32(), time.Unix(0, int64(d.u64())), d.str()
	return r, d.done()
}
