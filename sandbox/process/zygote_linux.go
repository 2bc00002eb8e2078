package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// zygotes keeps, for the modules used last, a worker that has loaded its module
// and clones itself for each start: what takes a worker from scratch tens of
// milliseconds and megabytes is done once. A zygote ends when it was not used
// for a while, when others are used more, and when its daemon ends. Safe for
// concurrent use.
type zygotes struct {
	launcher *Launcher
	max      int

	mu     sync.Mutex
	byCode map[codeID]*zygote
	closed bool

	quit  chan struct{}
	ended chan struct{}
}

const (
	zygoteIdle    = 5 * time.Minute
	zygoteTimeout = time.Minute // to load a module on a loaded node
)

// codeID names compiled code by what it was made from.
type codeID struct{ module, engine [32]byte }

// zygote is one such worker. Its fields but for used never change.
type zygote struct {
	mu   sync.Mutex // one request at a time
	sock *os.File
	proc *process
	used time.Time // guarded by zygotes.mu
}

func newZygotes(l *Launcher, most int) *zygotes {
	z := &zygotes{launcher: l, max: most, byCode: map[codeID]*zygote{}, quit: make(chan struct{}), ended: make(chan struct{})}
	go z.expire()
	return z
}

func (z *zygotes) close() {
	close(z.quit)
	<-z.ended
	z.mu.Lock()
	z.closed = true
	all := z.byCode
	z.byCode = nil
	z.mu.Unlock()
	for _, y := range all {
		y.retire()
		<-y.proc.done
	}
}

// expire ends the zygotes that nobody uses.
func (z *zygotes) expire() {
	defer close(z.ended)
	tick := time.NewTicker(zygoteIdle / 10)
	defer tick.Stop()
	for {
		select {
		case <-z.quit:
			return
		case now := <-tick.C:
			z.mu.Lock()
			for id, y := range z.byCode {
				if now.Sub(y.used) > zygoteIdle {
					delete(z.byCode, id)
					y.retire()
				}
			}
			z.mu.Unlock()
		}
	}
}

// fork gives a child of the module's zygote, which is made if there is none.
func (z *zygotes) fork(b *builder, sock *os.File) (*child, error) {
	id, err := identify(b.spec.Code)
	if err != nil {
		return nil, err
	}
	y, err := z.get(id, b.spec.Code)
	if err != nil {
		return nil, err
	}
	c, err := y.fork(b, sock)
	if err != nil {
		z.drop(id, y)
		return nil, err
	}
	return c, nil
}

func identify(code *os.File) (codeID, error) {
	head := make([]byte, workerv1.CodePayload)
	if _, err := code.ReadAt(head, 0); err != nil {
		return codeID{}, fmt.Errorf("read code file: %w", err)
	}
	h, err := workerv1.DecodeCodeHeader(head)
	if err != nil {
		return codeID{}, err
	}
	return codeID{h.Module, h.Engine}, nil
}

// get finds or starts the zygote; it may still be loading its module.
func (z *zygotes) get(id codeID, code *os.File) (*zygote, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.closed {
		return nil, errors.New("the daemon is ending")
	}
	y := z.byCode[id]
	if y == nil {
		z.makeRoom()
		var err error
		if y, err = z.launcher.newZygote(code); err != nil {
			return nil, err
		}
		z.byCode[id] = y
	}
	y.used = time.Now()
	return y, nil
}

// makeRoom ends the zygote that was used least lately when all places are
// taken. The caller holds mu.
func (z *zygotes) makeRoom() {
	if len(z.byCode) < z.max {
		return
	}
	var oldest codeID
	for id, y := range z.byCode {
		if o := z.byCode[oldest]; o == nil || y.used.Before(o.used) {
			oldest = id
		}
	}
	z.byCode[oldest].retire()
	delete(z.byCode, oldest)
}

func (z *zygotes) drop(id codeID, y *zygote) {
	z.mu.Lock()
	if z.byCode[id] == y {
		delete(z.byCode, id)
	}
	z.mu.Unlock()
	y.retire()
}

func (l *Launcher) newZygote(code *os.File) (*zygote, error) {
	sock, peer, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	c := &child{}
	if err := l.exec(c, workerArgs("zygote"), l.procAttr(peer, code, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("start zygote: %w", err), sock.Close())
	}
	p := newProcess(l, c.pidfd)
	p.isChild, p.ref.PID = true, c.pid
	if err := l.reaper.watch(p); err != nil {
		l.discard(c)
		return nil, errors.Join(err, sock.Close())
	}
	return &zygote{sock: sock, proc: p}, nil
}

// retire lets the zygote end: its socket is at its end. Its children live on.
func (y *zygote) retire() {
	y.sock.Close() // ends a request under way, too
}

const requestMagic = 0x31515743 // "CWQ1"

// fork asks for one child, whose end of the spawn socket is sock.
func (y *zygote) fork(b *builder, sock *os.File) (*child, error) {
	fds := []int{int(sock.Fd())}
	join := uint32(0)
	if target := pidNamespaceOf(b.spec); target != nil {
		p, ok := target.(*process)
		if !ok {
			return nil, fmt.Errorf("join the pid namespace of a foreign process (%T)", target)
		}
		release, fd, err := p.hold()
		if err != nil {
			return nil, err
		}
		defer release()
		fds, join = append(fds, fd), 1
	}
	message := binary.LittleEndian.AppendUint64(nil, uint64(cloneFlags(b.spec)))
	message = binary.LittleEndian.AppendUint32(message, join)
	message = binary.LittleEndian.AppendUint32(message, requestMagic)

	y.mu.Lock()
	defer y.mu.Unlock()
	pid, pidfd, err := y.ask(message, fds)
	if err != nil {
		return nil, err
	}
	return &child{pid: pid, pidfd: pidfd, stderr: b.stderr}, nil
}

// ask sends a request and reads the answer. The caller holds mu.
func (y *zygote) ask(message []byte, fds []int) (pid, pidfd int, err error) {
	if err := y.sock.SetDeadline(time.Now().Add(zygoteTimeout)); err != nil {
		return 0, -1, err
	}
	if err := sendWith(y.sock, message, fds); err != nil {
		return 0, -1, fmt.Errorf("ask zygote: %w", err)
	}
	raw, err := y.sock.SyscallConn()
	if err != nil {
		return 0, -1, err
	}
	buf, oob := make([]byte, workerv1.MaxStatus), make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	var got error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, got = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(got, unix.EAGAIN)
	})
	if err = errors.Join(err, got); err != nil {
		return 0, -1, fmt.Errorf("zygote does not answer: %w", err)
	}
	return born(buf[:n], oob[:oobn])
}

// born reads the answer of a zygote: its child, or why there is none.
func born(message, oob []byte) (pid, pidfd int, err error) {
	if len(message) == 0 {
		return 0, -1, errors.New("zygote has ended")
	}
	status, err := workerv1.DecodeStatus(message)
	if err != nil {
		return 0, -1, err
	}
	if status.Step != workerv1.StepReady {
		return 0, -1, &StepError{Status: status}
	}
	rights, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(rights) != 1 {
		return 0, -1, fmt.Errorf("zygote gave no pidfd: %w", errors.Join(err, workerv1.ErrMalformed))
	}
	fds, err := unix.ParseUnixRights(&rights[0])
	if err != nil || len(fds) != 1 {
		return 0, -1, fmt.Errorf("zygote gave no pidfd: %w", errors.Join(err, workerv1.ErrMalformed))
	}
	return int(status.Index), fds[0], nil
}
