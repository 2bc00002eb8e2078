// Package wasi holds the vocabulary of WASI preview1: errnos, rights, flags and
// the layout-free forms of its structures
// (https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md). It
// knows neither guest memory (package preview1) nor system calls (package
// hostsys).
package wasi

// Filetype is what a descriptor or directory entry is.
type Filetype uint8

const (
	FiletypeUnknown Filetype = iota
	FiletypeBlockDevice
	FiletypeCharacterDevice
	FiletypeDirectory
	FiletypeRegularFile
	FiletypeSocketDgram
	FiletypeSocketStream
	FiletypeSymbolicLink
)

// Fdflags are the status flags of a descriptor.
type Fdflags uint16

const (
	FdflagsAppend Fdflags = 1 << iota
	FdflagsDsync
	FdflagsNonblock
	FdflagsRsync
	FdflagsSync

	FdflagsAll = FdflagsAppend | FdflagsDsync | FdflagsNonblock | FdflagsRsync | FdflagsSync
)

// Oflags say how path_open opens.
type Oflags uint16

const (
	OflagsCreat Oflags = 1 << iota
	OflagsDirectory
	OflagsExcl
	OflagsTrunc

	OflagsAll = OflagsCreat | OflagsDirectory | OflagsExcl | OflagsTrunc
)

// Lookupflags say how the last part of a path is resolved.
type Lookupflags uint32

// LookupSymlinkFollow follows a symbolic link at the end of a path.
const LookupSymlinkFollow Lookupflags = 1

// Fstflags say which times to set, and to what.
type Fstflags uint16

const (
	FstflagsAtim Fstflags = 1 << iota
	FstflagsAtimNow
	FstflagsMtim
	FstflagsMtimNow

	FstflagsAll = FstflagsAtim | FstflagsAtimNow | FstflagsMtim | FstflagsMtimNow
)

// Rights of a descriptor.
type Rights uint64

const (
	RightFdDatasync Rights = 1 << iota
	RightFdRead
	RightFdSeek
	RightFdFdstatSetFlags
	RightFdSync
	RightFdTell
	RightFdWrite
	RightFdAdvise
	RightFdAllocate
	RightPathCreateDirectory
	RightPathCreateFile
	RightPathLinkSource
	RightPathLinkTarget
	RightPathOpen
	RightFdReaddir
	RightPathReadlink
	RightPathRenameSource
	RightPathRenameTarget
	RightPathFilestatGet
	RightPathFilestatSetSize
	RightPathFilestatSetTimes
	RightFdFilestatGet
	RightFdFilestatSetSize
	RightFdFilestatSetTimes
	RightPathSymlink
	RightPathRemoveDirectory
	RightPathUnlinkFile
	RightPollFdReadwrite
	RightSockShutdown
	RightSockAccept

	RightsAll = RightSockAccept<<1 - 1
)

// What the kinds of descriptor can do at most.
const (
	RightsFile = RightFdDatasync | RightFdRead | RightFdSeek | RightFdFdstatSetFlags | RightFdSync | RightFdTell | RightFdWrite |
		RightFdAdvise | RightFdAllocate | RightFdFilestatGet | RightFdFilestatSetSize | RightFdFilestatSetTimes | RightPollFdReadwrite
	RightsDirectory = RightFdFdstatSetFlags | RightFdSync | RightFdDatasync | RightFdAdvise | RightPathCreateDirectory | RightPathCreateFile | RightPathLinkSource |
		RightPathLinkTarget | RightPathOpen | RightFdReaddir | RightPathReadlink | RightPathRenameSource | RightPathRenameTarget |
		RightPathFilestatGet | RightPathFilestatSetSize | RightPathFilestatSetTimes | RightFdFilestatGet | RightFdFilestatSetTimes |
		RightPathSymlink | RightPathRemoveDirectory | RightPathUnlinkFile | RightPollFdReadwrite
	RightsStream = RightFdRead | RightFdWrite | RightFdFdstatSetFlags | RightFdFilestatGet | RightPollFdReadwrite
	RightsSocket = RightsStream | RightSockShutdown | RightSockAccept
)

// Fdstat describes a descriptor.
type Fdstat struct {
	Filetype         Filetype
	Flags            Fdflags
	Rights           Rights
	RightsInheriting Rights
}

// Filestat describes a file. Times are nanoseconds since 1970.
type Filestat struct {
	Dev, Ino         uint64
	Filetype         Filetype
	Nlink, Size      uint64
	Atim, Mtim, Ctim uint64
}

// Dirent is one entry of a directory.
type Dirent struct {
	Next uint64 // cookie of the entry after it
	Ino  uint64
	Type Filetype
	Name []byte // valid until the next call
}

// Whence says from where an offset counts.
type Whence uint8

const (
	WhenceSet Whence = iota
	WhenceCur
	WhenceEnd
)

// ClockID names a clock.
type ClockID uint32

const (
	ClockRealtime ClockID = iota
	ClockMonotonic
	ClockProcessCPU
	ClockThreadCPU
)

// Eventtype is what a subscription waits for.
type Eventtype uint8

const (
	EventClock Eventtype = iota
	EventFdRead
	EventFdWrite
)

// Subscription is one thing that poll_oneoff waits for.
type Subscription struct {
	Userdata uint64
	Type     Eventtype
	Clock    ClockID
	Timeout  uint64 // nanoseconds
	Absolute bool
	FD       uint32
}

// EventHangup says that the peer of a descriptor is gone.
const EventHangup uint16 = 1

// Event is one thing that has happened.
type Event struct {
	Userdata uint64
	Errno    Errno
	Type     Eventtype
	NBytes   uint64
	Flags    uint16
}

// Advice of fd_advise.
type Advice uint8

const (
	AdviceNormal Advice = iota
	AdviceSequential
	AdviceRandom
	AdviceWillneed
	AdviceDontneed
	AdviceNoreuse
)

// Flags of sock_recv, sock_send and sock_shutdown.
const (
	RiflagsPeek    uint16 = 1
	RiflagsWaitall uint16 = 2
	RoflagsTrunc   uint16 = 1
	SdflagsRd      uint8  = 1
	SdflagsWr      uint8  = 2
)
