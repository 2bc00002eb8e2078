package preview1

import (
	"encoding/binary"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// Layout of the list that sock_getaddrinfo fills: the guest makes all of its
// items, with room for an address and a name in each.
//
//	addrinfo: flags u16, family u8, type u8, protocol u8 at 4, address length at 8,
//	          *address at 12, *name at 16, name length at 20, *next at 24
//	address:  family u8, data length at 4, *data at 8
//	data:     port in network order, then the address
const (
	addrinfoSize = 28
	addressSize  = 12

	// What guests say about the size of data. The client library in Rust says
	// 14, though it has 26, and means the rest of a struct sockaddr_in6, whose
	// flow comes before the address; the one in Go says 26, and has none.
	dataInet4   = 14
	dataInet6   = 26
	flowSize    = 4
	maxAddrinfo = 64
)

func sockGetaddrinfo(h *Host, mem []byte, a []uint64) wasi.Errno {
	m := memory(mem)
	node, errno := m.name(a[0], a[1])
	if errno != 0 {
		return errno
	}
	service, errno := m.name(a[2], a[3])
	if errno != 0 {
		return errno
	}
	hint, ok := m.span(a[4], addrinfoSize)
	list, ok2 := m.span(a[5], 4)
	if !ok || !ok2 || !m.writable(a[7], 4) {
		return wasi.EFAULT
	}
	if a[6] == 0 { // room for nothing
		return wasi.EAI_MEMORY
	}
	first := uint64(binary.LittleEndian.Uint32(list))
	found, errno := h.sys.GetAddrInfo(node, service, wasi.AddrInfo{
		Flags: binary.LittleEndian.Uint16(hint), Family: wasi.AddressFamily(hint[2]), Type: wasi.SocketType(hint[3]), Protocol: hint[4],
	})
	if errno != 0 {
		return errno
	}
	if binary.LittleEndian.Uint16(hint)&wasi.AICanonname == 0 {
		node = ""
	}
	n, errno := m.putList(first, found[:min(uint64(len(found)), a[6], maxAddrinfo)], node)
	if errno != 0 {
		return errno
	}
	return m.putU32(a[7], n)
}

// name reads a name, which may have a NUL behind it.
func (m memory) name(ptr, n uint64) (string, wasi.Errno) {
	s, errno := m.str(ptr, n)
	if errno != 0 {
		return "", errno
	}
	s, _, _ = strings.Cut(s, "\x00")
	return s, 0
}

// putList fills the items from the one at ptr on, as many as the guest has. The
// first gets the canonical name.
func (m memory) putList(ptr uint64, found []wasi.AddrInfo, canonical string) (n uint32, errno wasi.Errno) {
	for _, info := range found {
		if ptr == 0 {
			break
		}
		item, ok := m.span(ptr, addrinfoSize)
		if !ok {
			return 0, wasi.EFAULT
		}
		if errno := m.putItem(item, info); errno != 0 {
			return 0, errno
		}
		if errno := m.putCanonical(item, canonical); errno != 0 {
			return 0, errno
		}
		canonical = ""
		ptr = uint64(binary.LittleEndian.Uint32(item[24:]))
		n++
	}
	return n, 0
}

func (m memory) putItem(item []byte, info wasi.AddrInfo) wasi.Errno {
	address, ok := m.span(uint64(binary.LittleEndian.Uint32(item[12:])), addressSize)
	if !ok {
		return wasi.EFAULT
	}
	said := binary.LittleEndian.Uint32(address[4:])
	size := uint64(dataInet4)
	if info.Addr.Family == wasi.FamilyInet6 {
		size = dataInet6
	}
	data, ok := m.span(uint64(binary.LittleEndian.Uint32(address[8:])), size)
	if !ok {
		return wasi.EFAULT
	}
	if uint64(said) < size && said != dataInet4 {
		return wasi.EAI_MEMORY
	}
	clear(data)
	binary.BigEndian.PutUint16(data, info.Addr.Port)
	switch {
	case info.Addr.Family == wasi.FamilyInet4:
		copy(data[2:], info.Addr.IP[:sizeInet4])
	case said == dataInet6:
		copy(data[2:], info.Addr.IP[:])
	default:
		copy(data[2+flowSize:], info.Addr.IP[:])
	}
	address[0] = byte(info.Addr.Family)
	binary.LittleEndian.PutUint32(address[4:], uint32(size))
	binary.LittleEndian.PutUint16(item, 0)
	item[2], item[3], item[4] = byte(info.Addr.Family), byte(info.Type), info.Protocol
	binary.LittleEndian.PutUint32(item[8:], 16)
	return 0
}

// putCanonical writes the name where the item says that there is room.
func (m memory) putCanonical(item []byte, name string) wasi.Errno {
	room := uint64(binary.LittleEndian.Uint32(item[20:]))
	binary.LittleEndian.PutUint32(item[20:], 0)
	if name == "" || room <= uint64(len(name)) {
		return 0
	}
	b, ok := m.span(uint64(binary.LittleEndian.Uint32(item[16:])), uint64(len(name))+1)
	if !ok {
		return wasi.EFAULT
	}
	b[copy(b, name)] = 0
	binary.LittleEndian.PutUint32(item[20:], uint32(len(name)))
	return 0
}
