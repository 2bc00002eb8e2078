package wasi

// What follows is no part of preview1: it is the socket extension of WasmEdge,
// which Go, Rust and C guests use
// (https://github.com/WasmEdge/WasmEdge/blob/master/thirdparty/wasi/api.hpp).

// AddressFamily is a kind of socket address.
type AddressFamily uint8

const (
	FamilyUnspec AddressFamily = iota
	FamilyInet4
	FamilyInet6
	FamilyUnix
)

// SocketType is how a socket moves data.
type SocketType uint8

const (
	SocketAny SocketType = iota
	SocketDatagram
	SocketStream
)

// Protocols of an address that getaddrinfo gives.
const (
	ProtocolIP uint8 = iota
	ProtocolTCP
	ProtocolUDP
)

// Addr is the address of a socket.
type Addr struct {
	Family AddressFamily
	IP     [16]byte // the first 4 bytes with FamilyInet4
	Port   uint16
	Path   string // with FamilyUnix
}

// Flags of getaddrinfo.
const (
	AIPassive uint16 = 1 << iota
	AICanonname
	AINumerichost
	AINumericserv
	AIV4mapped
	AIAll
	AIAddrconfig

	AIFlags = AIAddrconfig<<1 - 1
)

// AddrInfo is a wish to getaddrinfo, or one of its results.
type AddrInfo struct {
	Flags    uint16
	Type     SocketType
	Protocol uint8
	Family   AddressFamily // of a wish
	Addr     Addr          // of a result
}

// Errors of getaddrinfo, numbered behind those of preview1.
const (
	EAI_ADDRFAMILY Errno = ENOTCAPABLE + 1 + iota
	EAI_AGAIN
	EAI_BADFLAGS
	EAI_FAIL
	EAI_FAMILY
	EAI_MEMORY
	EAI_NODATA
	EAI_NONAME
	EAI_SERVICE
	EAI_SOCKTYPE
	EAI_SYSTEM
)

// Socket options by their numbers in the extension.
const (
	SoReuseaddr uint32 = iota
	SoType
	SoError
	SoDontroute
	SoBroadcast
	SoSndbuf
	SoRcvbuf
	SoKeepalive
	SoOobinline
	SoLinger
	SoRcvlowat
	SoRcvtimeo
	SoSndtimeo
	SoAcceptconn
	SoBindtodevice
)

// Levels of socket options, and the option of TCP that other hosts added.
const (
	SolSocket  uint32 = 0
	SolTCP     uint32 = 6
	TCPNodelay uint32 = 15
)
