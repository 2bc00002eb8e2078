package workerv1

import "fmt"

// Op is what the daemon asks of a running container over its control socket.
type Op uint16

const (
	OpPing      Op = 1 // is the worker alive; Reply.Text is its container id
	OpReopenLog Op = 2 // one descriptor: the new log file; the old one is closed before the reply
	// OpAttach makes the connection the session of a client, with a descriptor
	// for each stream of Attach.Streams; closing it detaches. Further requests on
	// it are OpResize only.
	OpAttach Op = 3
	OpResize Op = 4 // the size of the guest's terminal; without reply
)

// Attach is the data of OpAttach: which streams are wanted.
type Attach struct{ Stdin, Stdout, Stderr bool }

// Encode gives the data.
func (a Attach) Encode() []byte {
	e := encoder{}
	e.u16(flags(a.Stdin, a.Stdout, a.Stderr))
	return e.b
}

// Streams is how many descriptors come with it.
func (a Attach) Streams() (n int) {
	for _, wanted := range []bool{a.Stdin, a.Stdout, a.Stderr} {
		if wanted {
			n++
		}
	}
	return n
}

// DecodeAttach reads the data of OpAttach.
func DecodeAttach(b []byte) (Attach, error) {
	d := decoder{b: b}
	f := d.u16()
	if f > 7 {
		d.fail("unknown stream")
	}
	return Attach{Stdin: f&1 != 0, Stdout: f&2 != 0, Stderr: f&4 != 0}, d.done()
}

// Resize is the data of OpResize.
type Resize struct{ Rows, Cols uint16 }

// Encode gives the data.
func (r Resize) Encode() []byte {
	e := encoder{}
	e.u16(r.Rows)
	e.u16(r.Cols)
	return e.b
}

// DecodeResize reads the data of OpResize.
func DecodeResize(b []byte) (Resize, error) {
	d := decoder{b: b}
	r := Resize{Rows: d.u16(), Cols: d.u16()}
	return r, d.done()
}

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
