package trace

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// shown is how many items of a list a line has.
const shown = 8

// appendList appends n items, or the first and dots.
func appendList(line []byte, n uint64, item func(line []byte, i uint64) []byte) []byte {
	line = append(line, '[')
	for i := range min(n, shown) {
		if i > 0 {
			line = append(line, ' ')
		}
		line = item(line, i)
	}
	if n > shown {
		line = append(line, " ..."...)
	}
	return append(line, ']')
}

// appendSubs appends the subscriptions of poll_oneoff, as monotonic+1000 for a
// thousand nanoseconds from now, realtime@1000 for a time, read:4 and write:4.
// Those of wasi_unstable have the clock 8 bytes later.
func appendSubs(line []byte, m memory, ptr, n uint64, unstable bool) []byte {
	size, clock := uint64(48), 16
	if unstable {
		size, clock = 56, 24
	}
	list, ok := m.span(ptr, n*size)
	if !ok {
		return append(line, nowhere...)
	}
	return appendList(line, n, func(line []byte, i uint64) []byte {
		b := list[i*size:]
		switch wasi.Eventtype(b[8]) {
		case wasi.EventClock:
			line = clocks.append(line, uint64(binary.LittleEndian.Uint32(b[clock:])))
			sign := byte('+')
			if b[clock+24]&1 != 0 {
				sign = '@'
			}
			return strconv.AppendUint(append(line, sign), binary.LittleEndian.Uint64(b[clock+8:]), 10)
		case wasi.EventFdRead, wasi.EventFdWrite:
			line = eventtypes.append(line, uint64(b[8]))
			return strconv.AppendUint(append(line, ':'), uint64(binary.LittleEndian.Uint32(b[16:])), 10)
		}
		return eventtypes.append(line, uint64(b[8]))
	})
}

// appendEvents appends what poll_oneoff gave: clock, or read/12 for twelve
// bytes, with "hangup" or the error behind it.
func appendEvents(line []byte, m memory, ptr, n uint64) []byte {
	const size = 32
	line = strconv.AppendUint(line, n, 10)
	list, ok := m.span(ptr, n*size)
	if !ok {
		return line
	}
	return appendList(line, n, func(line []byte, i uint64) []byte {
		b := list[i*size:]
		line = eventtypes.append(line, uint64(b[10]))
		if wasi.Eventtype(b[10]) != wasi.EventClock {
			line = strconv.AppendUint(append(line, '/'), binary.LittleEndian.Uint64(b[16:]), 10)
		}
		if binary.LittleEndian.Uint16(b[24:])&wasi.EventHangup != 0 {
			line = append(line, "/hangup"...)
		}
		if errno := wasi.Errno(binary.LittleEndian.Uint16(b[8:])); errno != 0 {
			line = strconv.AppendQuote(append(line, '/'), errno.String())
		}
		return line
	})
}

// appendDirents appends the names of entries that fd_readdir gave, of which the
// last may be cut.
func appendDirents(line []byte, m memory, ptr, used uint64) []byte {
	const head = 24
	line = strconv.AppendUint(line, used, 10)
	b, ok := m.span(ptr, used)
	if !ok {
		return line
	}
	var names [shown][]byte
	n := uint64(0)
	for uint64(len(b)) >= head {
		size := uint64(binary.LittleEndian.Uint32(b[16:]))
		if size > uint64(len(b))-head {
			break
		}
		if n < shown {
			names[n] = b[head : head+size]
		}
		n++
		b = b[head+size:]
	}
	return appendList(line, n, func(line []byte, i uint64) []byte { return quote(line, names[i]) })
}

// appendText appends a length and what stands in the buffer.
func appendText(line []byte, m memory, ptr, n uint64) []byte {
	line = strconv.AppendUint(line, n, 10)
	if b, ok := m.span(ptr, n); ok && n > 0 {
		line = quote(append(line, '/'), b)
	}
	return line
}

// low is a value of 32 bits.
func low(v uint64) uint64 { return v & math.MaxUint32 }
