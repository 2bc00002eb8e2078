package wasi

import (
	"errors"
	"fmt"
	"syscall"
)

// Errno is a WASI error number. It is a value, not a Go error, so that no call
// allocates for it.
type Errno uint16

const (
	ESUCCESS Errno = iota
	E2BIG
	EACCES
	EADDRINUSE
	EADDRNOTAVAIL
	EAFNOSUPPORT
	EAGAIN
	EALREADY
	EBADF
	EBADMSG
	EBUSY
	ECANCELED
	ECHILD
	ECONNABORTED
	ECONNREFUSED
	ECONNRESET
	EDEADLK
	EDESTADDRREQ
	EDOM
	EDQUOT
	EEXIST
	EFAULT
	EFBIG
	EHOSTUNREACH
	EIDRM
	EILSEQ
	EINPROGRESS
	EINTR
	EINVAL
	EIO
	EISCONN
	EISDIR
	ELOOP
	EMFILE
	EMLINK
	EMSGSIZE
	EMULTIHOP
	ENAMETOOLONG
	ENETDOWN
	ENETRESET
	ENETUNREACH
	ENFILE
	ENOBUFS
	ENODEV
	ENOENT
	ENOEXEC
	ENOLCK
	ENOLINK
	ENOMEM
	ENOMSG
	ENOPROTOOPT
	ENOSPC
	ENOSYS
	ENOTCONN
	ENOTDIR
	ENOTEMPTY
	ENOTRECOVERABLE
	ENOTSOCK
	ENOTSUP
	ENOTTY
	ENXIO
	EOVERFLOW
	EOWNERDEAD
	EPERM
	EPIPE
	EPROTO
	EPROTONOSUPPORT
	EPROTOTYPE
	ERANGE
	EROFS
	ESPIPE
	ESRCH
	ESTALE
	ETIMEDOUT
	ETXTBSY
	EXDEV
	ENOTCAPABLE
)

// names in the order of their numbers, as the Linux ones they come from.
var fromLinux = [...]struct {
	linux syscall.Errno
	wasi  Errno
}{
	{syscall.E2BIG, E2BIG}, {syscall.EACCES, EACCES}, {syscall.EADDRINUSE, EADDRINUSE}, {syscall.EADDRNOTAVAIL, EADDRNOTAVAIL},
	{syscall.EAFNOSUPPORT, EAFNOSUPPORT}, {syscall.EAGAIN, EAGAIN}, {syscall.EALREADY, EALREADY}, {syscall.EBADF, EBADF},
	{syscall.EBADMSG, EBADMSG}, {syscall.EBUSY, EBUSY}, {syscall.ECANCELED, ECANCELED}, {syscall.ECHILD, ECHILD},
	{syscall.ECONNABORTED, ECONNABORTED}, {syscall.ECONNREFUSED, ECONNREFUSED}, {syscall.ECONNRESET, ECONNRESET},
	{syscall.EDEADLK, EDEADLK}, {syscall.EDESTADDRREQ, EDESTADDRREQ}, {syscall.EDOM, EDOM}, {syscall.EDQUOT, EDQUOT},
	{syscall.EEXIST, EEXIST}, {syscall.EFAULT, EFAULT}, {syscall.EFBIG, EFBIG}, {syscall.EHOSTUNREACH, EHOSTUNREACH},
	{syscall.EIDRM, EIDRM}, {syscall.EILSEQ, EILSEQ}, {syscall.EINPROGRESS, EINPROGRESS}, {syscall.EINTR, EINTR},
	{syscall.EINVAL, EINVAL}, {syscall.EIO, EIO}, {syscall.EISCONN, EISCONN}, {syscall.EISDIR, EISDIR}, {syscall.ELOOP, ELOOP},
	{syscall.EMFILE, EMFILE}, {syscall.EMLINK, EMLINK}, {syscall.EMSGSIZE, EMSGSIZE}, {syscall.EMULTIHOP, EMULTIHOP},
	{syscall.ENAMETOOLONG, ENAMETOOLONG}, {syscall.ENETDOWN, ENETDOWN}, {syscall.ENETRESET, ENETRESET},
	{syscall.ENETUNREACH, ENETUNREACH}, {syscall.ENFILE, ENFILE}, {syscall.ENOBUFS, ENOBUFS}, {syscall.ENODEV, ENODEV},
	{syscall.ENOENT, ENOENT}, {syscall.ENOEXEC, ENOEXEC}, {syscall.ENOLCK, ENOLCK}, {syscall.ENOLINK, ENOLINK},
	{syscall.ENOMEM, ENOMEM}, {syscall.ENOMSG, ENOMSG}, {syscall.ENOPROTOOPT, ENOPROTOOPT}, {syscall.ENOSPC, ENOSPC},
	{syscall.ENOSYS, ENOSYS}, {syscall.ENOTCONN, ENOTCONN}, {syscall.ENOTDIR, ENOTDIR}, {syscall.ENOTEMPTY, ENOTEMPTY},
	{syscall.ENOTRECOVERABLE, ENOTRECOVERABLE}, {syscall.ENOTSOCK, ENOTSOCK}, {syscall.EOPNOTSUPP, ENOTSUP}, {syscall.ENOTTY, ENOTTY},
	{syscall.ENXIO, ENXIO}, {syscall.EOVERFLOW, EOVERFLOW}, {syscall.EOWNERDEAD, EOWNERDEAD}, {syscall.EPERM, EPERM},
	{syscall.EPIPE, EPIPE}, {syscall.EPROTO, EPROTO}, {syscall.EPROTONOSUPPORT, EPROTONOSUPPORT}, {syscall.EPROTOTYPE, EPROTOTYPE},
	{syscall.ERANGE, ERANGE}, {syscall.EROFS, EROFS}, {syscall.ESPIPE, ESPIPE}, {syscall.ESRCH, ESRCH}, {syscall.ESTALE, ESTALE},
	{syscall.ETIMEDOUT, ETIMEDOUT}, {syscall.ETXTBSY, ETXTBSY}, {syscall.EXDEV, EXDEV},
}

// ErrnoOf gives the errno of a Go error: that of the system call behind it, or
// EIO.
func ErrnoOf(err error) Errno {
	if err == nil {
		return ESUCCESS
	}
	linux, ok := err.(syscall.Errno) // without errors.As, which allocates
	if !ok && !errors.As(err, &linux) {
		return EIO
	}
	for _, e := range fromLinux {
		if e.linux == linux {
			return e.wasi
		}
	}
	return EIO
}

// Linux gives the host's number for an errno, 0 when there is none.
func (e Errno) Linux() syscall.Errno {
	for _, p := range fromLinux {
		if p.wasi == e {
			return p.linux
		}
	}
	return 0
}

func (e Errno) String() string {
	switch e {
	case ESUCCESS:
		return "success"
	case ENOTCAPABLE:
		return "not capable"
	}
	if l := e.Linux(); l != 0 {
		return l.Error()
	}
	return fmt.Sprintf("errno %d", uint16(e))
}
