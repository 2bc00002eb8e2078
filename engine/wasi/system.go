package wasi

// System is what stands behind the calls of one guest. Package preview1 decodes
// a call and gives its result to the guest; a System does what the call means,
// and knows nothing of the guest's memory but the buffers that it is handed,
// which it must not keep.
//
// Each method is the function of the same name in
// https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md. Where
// arguments can be wrong in themselves (flags, offsets), a System checks them;
// what does not fit the types here, the caller has refused. A result is valid
// only with ESUCCESS.
//
// A guest has one thread: no System need be safe for concurrent use. Package
// wasitest holds the tests that each must pass.
type System interface {
	// Args and Env are what the guest is started with; not to be changed.
	Args() [][]byte
	Env() [][]byte

	ClockRes(id ClockID) (uint64, Errno)
	ClockTime(id ClockID) (uint64, Errno)
	Random(p []byte) Errno
	// Poll waits until a subscription is due and fills events, which has room
	// for one of each, with those that are. No clock is due early.
	Poll(subs []Subscription, events []Event) (int, Errno)

	Files
	Paths
	Sockets
}

// Files are the calls on a descriptor.
type Files interface {
	FdAdvise(fd uint32, off, n uint64, advice Advice) Errno
	FdAllocate(fd uint32, off, n uint64) Errno
	FdClose(fd uint32) Errno
	// FdSync is fd_sync, or fd_datasync with dataOnly.
	FdSync(fd uint32, dataOnly bool) Errno
	FdFdstat(fd uint32) (Fdstat, Errno)
	FdFdstatSetFlags(fd uint32, flags Fdflags) Errno
	FdFdstatSetRights(fd uint32, rights, inheriting Rights) Errno
	FdFilestat(fd uint32) (Filestat, Errno)
	FdFilestatSetSize(fd uint32, size uint64) Errno
	FdFilestatSetTimes(fd uint32, atim, mtim uint64, flags Fstflags) Errno
	FdPread(fd uint32, bufs [][]byte, off uint64) (int, Errno)
	FdPwrite(fd uint32, bufs [][]byte, off uint64) (int, Errno)
	// FdPrestat gives the name of a preopened directory.
	FdPrestat(fd uint32) (string, Errno)
	FdRead(fd uint32, bufs [][]byte) (int, Errno)
	FdWrite(fd uint32, bufs [][]byte) (int, Errno)
	// FdReaddir gives the entries behind a cookie until to wants no more.
	FdReaddir(fd uint32, cookie uint64, to DirentTaker) Errno
	FdRenumber(from, to uint32) Errno
	// FdSeek is fd_tell, too: 0 from WhenceCur.
	FdSeek(fd uint32, offset int64, whence Whence) (uint64, Errno)
}

// Paths are the calls on a path beneath a directory.
type Paths interface {
	PathCreateDirectory(fd uint32, path string) Errno
	PathFilestat(fd uint32, lookup Lookupflags, path string) (Filestat, Errno)
	PathFilestatSetTimes(fd uint32, lookup Lookupflags, path string, atim, mtim uint64, flags Fstflags) Errno
	PathLink(fd uint32, lookup Lookupflags, path string, toFD uint32, to string) Errno
	PathOpen(fd uint32, lookup Lookupflags, path string, oflags Oflags, rights, inheriting Rights, flags Fdflags) (uint32, Errno)
	// PathReadlink fills buf with the target, cut to its length.
	PathReadlink(fd uint32, path string, buf []byte) (int, Errno)
	PathRemoveDirectory(fd uint32, path string) Errno
	PathRename(fd uint32, path string, toFD uint32, to string) Errno
	PathSymlink(target string, fd uint32, path string) Errno
	PathUnlinkFile(fd uint32, path string) Errno
}

// Sockets are the calls of preview1 on sockets, and those of the extension.
type Sockets interface {
	SockAccept(fd uint32, flags Fdflags) (uint32, Errno)
	SockRecv(fd uint32, bufs [][]byte, flags uint16) (n int, truncated bool, errno Errno)
	SockSend(fd uint32, bufs [][]byte) (int, Errno)
	SockShutdown(fd uint32, how uint8) Errno

	SockOpen(family AddressFamily, kind SocketType) (uint32, Errno)
	SockBind(fd uint32, addr Addr) Errno
	SockListen(fd uint32, backlog int32) Errno
	SockConnect(fd uint32, addr Addr) Errno
	SockRecvFrom(fd uint32, bufs [][]byte, flags uint16) (n int, truncated bool, from Addr, errno Errno)
	SockSendTo(fd uint32, bufs [][]byte, to Addr) (int, Errno)
	SockGetopt(fd uint32, level, name uint32, buf []byte) (int, Errno)
	SockSetopt(fd uint32, level, name uint32, value []byte) Errno
	SockLocalAddr(fd uint32) (Addr, Errno)
	SockPeerAddr(fd uint32) (Addr, Errno)
	GetAddrInfo(node, service string, hint AddrInfo) ([]AddrInfo, Errno)
}

// DirentTaker takes the entries of a directory.
type DirentTaker interface {
	// Take is given one entry, whose name is valid during the call, and says
	// whether it wants the next.
	Take(Dirent) bool
}

// MaxIovs is how many vectors one call has at most, IOV_MAX of Linux.
const MaxIovs = 1024
