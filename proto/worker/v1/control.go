package workerv1

import "fmt"

// Op is what the daemon asks of a running container over its control socket.
type Op uint16

const (
	OpPing      Op = 1 // is the worker alive; Reply.Text is its container id
	OpReopenLog Op = 2 // one descriptor: the new log file; the old one is closed before the reply
)

// Request is one datagram to the control socket. Descriptors travel beside it.
type Request struct {
	Op   Op
	Data []byte
}

// Reply answers a Request.
type Reply struct {
	Errno uint32 // 0: done
	Text  string
}

const (
	requestMagic = 0x31435743 // "CWC1"
	replyMagic   = 0x31415743 // "CWA1"
	// MaxControl bounds a datagram in bytes.
	MaxControl = 4096
)

// Encode gives the datagram.
func (r Request) Encode() []byte {
	e := encoder{}
	e.u32(requestMagic)
	e.u16(Version)
	e.u16(uint16(r.Op))
	e.bytes(r.Data)
	return e.b
}

// DecodeRequest reads a datagram.
func DecodeRequest(b []byte) (Request, error) {
	d := decoder{b: b}
	if d.u32() != requestMagic {
		return Request{}, fmt.Errorf("%w: not a control request", ErrMalformed)
	}
	if v := d.u16(); v != Version && d.err == nil {
		return Request{}, fmt.Errorf("%w: control request of version %d, this worker speaks %d", ErrMalformed, v, Version)
	}
	r := Request{Op: Op(d.u16()), Data: d.bytes()}
	return r, d.done()
}

// Encode gives the datagram.
func (r Reply) Encode() []byte {
	e := encoder{}
	e.u32(replyMagic)
	e.u32(r.Errno)
	e.str(r.Text)
	return e.b
}

// DecodeReply reads a datagram.
func DecodeReply(b []byte) (Reply, error) {
	d := decoder{b: b}
	if d.u32() != replyMagic {
		return Reply{}, fmt.Errorf("%w: not a control reply", ErrMalformed)
	}
	r := Reply{Errno: d.u32(), Text: d.str()}
	return r, d.done()
}
