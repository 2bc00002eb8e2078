package sock

import (
	"runtime"
	"structs"
	"unsafe"
)

// The numbers of the socket calls.
const (
	familyAny   = 0
	familyInet4 = 1
	familyInet6 = 2

	typeStream = 2

	levelSocket     = 0
	optReuseAddress = 0
	optError        = 2

	shutdownWrite = 2
)

// address is what socket calls take and give: family, then the bytes.
type address struct {
	_      structs.HostLayout
	family uint16
	bytes  [126]byte
}

// pointer is an address in the guest's memory as the host sees it: Go's own
// pointers have 64 bits on wasm, so they cannot stand in structures of the
// calls. What it leads to must be pinned.
type pointer uint32

func pointTo[T any](pin *runtime.Pinner, to *T) pointer {
	pin.Pin(to)
	return pointer(uintptr(unsafe.Pointer(to)))
}

// buffer points the host to an address.
type buffer struct {
	_    structs.HostLayout
	at   pointer
	size uint32
}

//go:wasmimport wasi_snapshot_preview1 sock_open
//go:noescape
func sockOpen(family, kind int32, fd *int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_bind
//go:noescape
func sockBind(fd int32, addr *buffer, port uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_listen
//go:noescape
func sockListen(fd, backlog int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_accept
//go:noescape
func sockAccept(fd int32, flags int32, conn *int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_connect
//go:noescape
func sockConnect(fd int32, addr *buffer, port uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_shutdown
//go:noescape
func sockShutdown(fd int32, how uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_getsockopt
//go:noescape
func sockGetOption(fd int32, level, name uint32, value *int32, size uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_setsockopt
//go:noescape
func sockSetOption(fd int32, level, name uint32, value *int32, size uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_getpeeraddr
//go:noescape
func sockPeerAddress(fd int32, addr *buffer, port *uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_getaddrinfo
//go:noescape
func sockAddressInfo(node unsafe.Pointer, nodeSize uint32, service unsafe.Pointer, serviceSize uint32,
	hints *info, list *pointer, most uint32, count *uint32) uint32

// info is one entry of the linked list that sock_getaddrinfo fills in.
type info struct {
	_        structs.HostLayout
	flags    uint16
	family   uint8
	kind     uint8
	protocol uint32
	size     uint32
	addr     pointer // to infoAddress
	name     pointer
	nameSize uint32
	next     pointer // to info
}

// infoAddress is the address of an info: the port in two bytes, then the bytes
// of the address.
type infoAddress struct {
	_      structs.HostLayout
	family uint8
	size   uint32
	data   pointer
}
