package worker

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// serveControl answers the daemon on the socket that it left, if it left one.
// An idle worker spends nothing on it: the one goroutine waits in accept.
func (w *worker) serveControl() error {
	if !isListener(workerv1.FDControl) {
		return nil // an exec, in which the number may be that of something else
	}
	if err := unix.SetNonblock(workerv1.FDControl, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	listener := os.NewFile(workerv1.FDControl, "control") // in the runtime's poller from here on
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		for {
			conn := -1
			err := raw.Read(func(fd uintptr) bool {
				var err error
				conn, _, err = unix.Accept4(int(fd), unix.SOCK_CLOEXEC)
				return !errors.Is(err, unix.EAGAIN)
			})
			switch {
			case err != nil:
				return
			case conn < 0: // the guest may hold all descriptors that there are
				time.Sleep(100 * time.Millisecond)
			default:
				w.answer(conn)
			}
		}
	}()
	return nil
}

func isListener(fd int) bool {
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && listens == 1
}

// answer serves the one request of a connection, which then ends unless it has
// become the session of a client.
func (w *worker) answer(conn int) {
	attached := w.answerOnce(conn)
	if attached == nil {
		unix.Close(conn)
		return
	}
	go attached.serve(conn)
}

func (w *worker) answerOnce(conn int) *session {
	buf, oob := make([]byte, workerv1.MaxControl), make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := unix.Recvmsg(conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		return nil
	}
	fds := received(oob[:oobn])
	reply := workerv1.Reply{}
	text, attached, err := w.handle(buf[:n], &fds)
	if err != nil {
		reply = workerv1.Reply{Errno: errnoOf(err), Text: err.Error()}
	} else {
		reply.Text = text
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	unix.Send(conn, reply.Encode(), unix.MSG_NOSIGNAL) // a daemon that has gone needs no answer
	return attached
}

// handle does what is asked. Descriptors that it takes leave fds.
func (w *worker) handle(message []byte, fds *[]int) (text string, attached *session, err error) {
	r, err := workerv1.DecodeRequest(message)
	if err != nil {
		return "", nil, err
	}
	switch r.Op {
	case workerv1.OpPing:
		return w.start.ID, nil, nil
	case workerv1.OpReopenLog:
		if w.streams.log == nil || len(*fds) != 1 {
			return "", nil, unix.EINVAL
		}
		f := os.NewFile(uintptr((*fds)[0]), "log")
		*fds = nil
		return "", nil, w.streams.log.Reopen(f)
	case workerv1.OpAttach:
		a, err := workerv1.DecodeAttach(r.Data)
		if err != nil || len(*fds) != a.Streams() {
			return "", nil, errors.Join(err, unix.EINVAL)
		}
		attached, err = w.streams.attach(a, *fds)
		*fds = nil
		return "", attached, err
	}
	return "", nil, unix.ENOSYS
}

func received(oob []byte) []int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var fds []int
	for i := range messages {
		if list, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, list...)
		}
	}
	return fds
}

func errnoOf(err error) uint32 {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return uint32(errno)
	}
	return uint32(unix.EIO)
}
