package preview1_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

// sound has a call that works for every function, by name and number of
// parameters. From it the test makes those that do not.
//
//	12          a number
//	file dir .. a descriptor
//	<text>      a string: pointer and length
//	iov         a list of one vector: pointer and count
//	buf:n       n bytes: pointer and length
//	>n          a result of n bytes: a pointer
//	in:n        n bytes that are read, a pointer; in:n=v with v in the first 4
//	addr:n      a pointer to the pointer and the size of an address
//	count:n     a number of things
var sound = map[string]string{
	"args_get/2": ">8 >9", "args_sizes_get/2": ">4 >4", "environ_get/2": ">4 >4", "environ_sizes_get/2": ">4 >4",
	"clock_res_get/2": "0 >8", "clock_time_get/3": "1 0 >8",
	"fd_advise/4": "file 0 0 0", "fd_allocate/3": "file 0 16", "fd_close/1": "extra", "fd_datasync/1": "file",
	"fd_fdstat_get/2": "file >24", "fd_fdstat_set_flags/2": "file 0", "fd_fdstat_set_rights/3": "extra 0 0",
	"fd_filestat_get/2": "file >64", "fd_filestat_set_size/2": "file 5", "fd_filestat_set_times/4": "file 0 0 0",
	"fd_pread/5": "file iov 0 >4", "fd_prestat_get/2": "dir >8", "fd_prestat_dir_name/3": "dir buf:1", "fd_pwrite/5": "file iov 0 >4",
	"fd_read/4": "file iov >4", "fd_readdir/5": "dir buf:200 0 >4", "fd_renumber/2": "file extra", "fd_seek/4": "file 0 0 >8",
	"fd_sync/1": "file", "fd_tell/2": "file >8", "fd_write/4": "file iov >4",
	"path_create_directory/3": "dir <new>", "path_filestat_get/5": "dir 0 <file> >64", "path_filestat_set_times/7": "dir 0 <file> 0 0 0",
	"path_link/7": "dir 0 <file> dir <hard>", "path_open/9": "dir 0 <file> 0 0 0 0 >4", "path_readlink/6": "dir <link> buf:4 >4",
	"path_remove_directory/3": "dir <empty>", "path_rename/6": "dir <file> dir <moved>", "path_symlink/5": "<x> dir <soft>",
	"path_unlink_file/3": "dir <file>", "poll_oneoff/4": "in:48 >32 count:1 >4", "proc_exit/1": "0", "proc_raise/1": "0",
	"random_get/2": "buf:16", "sched_yield/0": "",
	"sock_accept/3": "listener 0 >4", "sock_recv/6": "conn iov 0 >4 >2", "sock_send/5": "conn iov 0 >4", "sock_shutdown/2": "conn 2",

	"sock_accept/2": "listener >4", "sock_open/3": "1 2 >4", "sock_bind/3": "fresh addr:4 0", "sock_listen/2": "listener 5",
	"sock_connect/3": "fresh addr:4 9", "sock_recv_from/8": "datagram iov addr:128 0 >2 >4 >2", "sock_recv_from/7": "datagram iov addr:16 0 >4 >2",
	"sock_send_to/7": "fresh iov addr:4 9 0 >4", "sock_getsockopt/5": "fresh 0 1 >4 in:4=4", "sock_setsockopt/5": "fresh 0 0 buf:4",
	"sock_getlocaladdr/3": "conn addr:128 >4", "sock_getlocaladdr/4": "conn addr:16 >4 >4",
	"sock_getpeeraddr/3": "conn addr:128 >4", "sock_getpeeraddr/4": "conn addr:16 >4 >4",
	"sock_getaddrinfo/8": "<localhost> <80> in:28 in:4=0 count:1 >4",

	"wasi_unstable.fd_filestat_get/2": "file >56", "wasi_unstable.path_filestat_get/5": "dir 0 <file> >56",
	"wasi_unstable.poll_oneoff/4": "in:56 >32 count:1 >4",
}

func soundCall(im preview1.Import) (string, bool) {
	name := fmt.Sprintf("%s/%d", strings.TrimSuffix(im.Name, "_v2"), len(im.Params))
	if spec, ok := sound[im.Module+"."+name]; ok {
		return spec, true
	}
	spec, ok := sound[name]
	return spec, ok
}

// distinct are the imports that are functions of their own: most of
// wasi_unstable is that of preview1.
func distinct() (list []preview1.Import) {
	for _, im := range preview1.Imports() {
		_, own := sound[fmt.Sprintf("%s.%s/%d", im.Module, im.Name, len(im.Params))]
		if im.Module == module || own {
			list = append(list, im)
		}
	}
	return list
}

// argument is one value of a call, and what it is.
type argument struct {
	kind  string // number, fd, pointer, length
	value uint64
	size  uint64 // of what a pointer leads to
}

// stage is a guest in whose memory the calls are made: it ends with a page that
// nobody may touch, and so it begins.
type stage struct {
	*guest
	next uint64 // free memory
	fds  map[string]uint64
}

const (
	memorySize = 64 << 10
	page       = 4 << 10
)

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{guest: newGuest(t), next: 4096, fds: map[string]uint64{"dir": 3}}
	region, err := unix.Mmap(-1, 0, memorySize+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(region) })
	for _, guard := range [][]byte{region[:page], region[page+memorySize:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	s.mem = region[page : page+memorySize : page+memorySize]
	for _, err := range []error{
		os.Mkdir(filepath.Join(s.dir, "etc"), 0o755), os.Mkdir(filepath.Join(s.dir, "empty"), 0o755), os.Symlink("file", filepath.Join(s.dir, "link")),
		os.WriteFile(filepath.Join(s.dir, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644),
		os.WriteFile(filepath.Join(s.dir, "etc/resolv.conf"), []byte("nameserver 255.255.255.255\n"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.fds["file"], s.fds["extra"] = uint64(s.open("file", wasi.OflagsCreat)), uint64(s.open("extra", wasi.OflagsCreat))
	return s
}

// sockets opens those of a call; the listener has a connection waiting, and the
// others have something to receive.
func (s *stage) sockets() {
	s.t.Helper()
	listener := s.socket(wasi.FamilyInet4, wasi.SocketStream)
	s.address(4, 127, 0, 0, 1)
	s.must("sock_bind", listener, addrPair, 0)
	s.must("sock_listen", listener, 4)
	conn, other := s.connectTo(listener), uint64(0)
	s.must("sock_accept", listener, 0, fdAt)
	other = uint64(s.u32(fdAt))
	s.connectTo(listener)
	s.iovec(iovAt, dataAt, 4)
	s.must("sock_send", other, iovAt, 1, 0, outAt)

	datagram, sender := s.socket(wasi.FamilyInet4, wasi.SocketDatagram), s.socket(wasi.FamilyInet4, wasi.SocketDatagram)
	s.address(4, 127, 0, 0, 1)
	s.must("sock_bind", datagram, addrPair, 0)
	s.must("sock_send_to", sender, iovAt, 1, addrPair, s.portOf(datagram), 0, outAt)
	fresh := s.socket(wasi.FamilyInet4, wasi.SocketDatagram)
	s.fds["listener"], s.fds["conn"], s.fds["datagram"], s.fds["fresh"] = listener, conn, datagram, fresh
	clear(s.mem[:4096])
}

func (s *stage) portOf(fd uint64) uint64 {
	s.address(128)
	s.must("sock_getlocaladdr", fd, addrPair, outAt)
	return uint64(s.u32(outAt))
}

func (s *stage) connectTo(listener uint64) uint64 {
	s.t.Helper()
	port := s.portOf(listener)
	c := s.socket(wasi.FamilyInet4, wasi.SocketStream)
	s.address(4, 127, 0, 0, 1)
	s.must("sock_connect", c, addrPair, port)
	return c
}

// room gives memory for something.
func (s *stage) room(n uint64) uint64 {
	at := s.next
	s.next += n + 64
	return at
}

// arguments lays a call out in memory.
func (s *stage) arguments(spec string) (list []argument) {
	s.t.Helper()
	number := func(text string) uint64 {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			s.t.Fatalf("bad call %q: %v", spec, err)
		}
		return n
	}
	for word := range strings.FieldsSeq(spec) {
		fd, isFD := s.fds[word]
		kind, rest, _ := strings.Cut(word, ":")
		switch {
		case isFD:
			list = append(list, argument{"fd", fd, 0})
		case word[0] == '<':
			text := word[1 : len(word)-1]
			at := s.room(uint64(len(text)))
			copy(s.mem[at:], text)
			list = append(list, argument{"pointer", at, uint64(len(text))}, argument{"length", uint64(len(text)), 0})
		case word[0] == '>':
			n := number(word[1:])
			list = append(list, argument{"pointer", s.room(n), n})
		case kind == "iov":
			at, data := s.room(8), s.room(4)
			s.iovec(int(at), uint32(data), 4)
			list = append(list, argument{"pointer", at, 8}, argument{"length", 1, 0})
		case kind == "buf":
			list = append(list, argument{"pointer", s.room(number(rest)), number(rest)}, argument{"length", number(rest), 0})
		case kind == "in":
			size, value, _ := strings.Cut(rest, "=")
			at := s.room(number(size))
			if value != "" {
				s.setU32(int(at), uint32(number(value)))
			}
			list = append(list, argument{"pointer", at, number(size)})
		case kind == "addr":
			at, address := s.room(8), s.room(number(rest))
			s.iovec(int(at), uint32(address), uint32(number(rest)))
			if number(rest) == sizeAddr4 {
				copy(s.mem[address:], "\x7f\x00\x00\x01")
			}
			list = append(list, argument{"pointer", at, 8})
		case kind == "count":
			list = append(list, argument{"length", number(rest), 0})
		default:
			list = append(list, argument{"number", number(word), 0})
		}
	}
	return list
}

const sizeAddr4 = 4

func values(list []argument) []uint64 {
	v := make([]uint64, len(list))
	for i, a := range list {
		v[i] = a.value
	}
	return v
}

// hostile is a call in which one thing is not as it should be.
type hostile struct {
	what  string
	wrong func(s *stage, list []argument) []wasi.Errno // changes it, and gives the answers that are right
}

// refusals are the answers to a count that is too large.
var refusals = []wasi.Errno{wasi.EFAULT, wasi.EINVAL, wasi.ENAMETOOLONG, wasi.EAI_MEMORY}

// hostileCalls gives every way to spoil an argument.
func hostileCalls(list []argument) (all []hostile) {
	add := func(what string, i int, wrong func(s *stage, list []argument) []wasi.Errno) {
		all = append(all, hostile{fmt.Sprintf("argument %d %s", i, what), wrong})
	}
	to := func(i int, v uint64, answers ...wasi.Errno) func(*stage, []argument) []wasi.Errno {
		return func(_ *stage, list []argument) []wasi.Errno {
			list[i].value = v
			return answers
		}
	}
	for i, a := range list {
		switch a.kind {
		case "fd":
			for _, v := range []uint64{99, 1 << 31, 1<<32 - 1} {
				add(fmt.Sprintf("is descriptor %d", v), i, to(i, v, wasi.EBADF))
			}
		case "pointer":
			for _, v := range []uint64{memorySize - a.size + 1, memorySize, 1 << 31, 1<<32 - 1, 1<<32 - a.size} {
				add(fmt.Sprintf("points to %#x", v), i, to(i, v, wasi.EFAULT))
			}
			add("ends with the memory", i, func(s *stage, list []argument) []wasi.Errno {
				at := memorySize - a.size
				copy(s.mem[at:], s.mem[list[i].value:][:a.size])
				list[i].value = at
				return []wasi.Errno{0}
			})
		case "length":
			for _, v := range []uint64{memorySize + 1, 1 << 28, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
				add(fmt.Sprintf("is %#x long", v), i, to(i, v, refusals...))
			}
		}
	}
	return all
}

// TestEveryFunctionRefusesWhatIsBeyondMemory spoils one argument of a call at a
// time. A guard page on both sides of the memory ends the test if anything
// beyond it is touched, by the kernel or by us.
func TestEveryFunctionRefusesWhatIsBeyondMemory(t *testing.T) {
	for _, im := range distinct() {
		spec, ok := soundCall(im)
		if !ok {
			t.Errorf("%s with %d parameters has no call that works", im.Name, len(im.Params))
			continue
		}
		t.Run(fmt.Sprintf("%s.%s.%d", im.Module, im.Name, len(im.Params)), func(t *testing.T) {
			call, _ := preview1.Lookup(im.Module, im.Name, im.Params, im.Results)
			begin := func() (*stage, []argument) {
				s := newStage(t)
				if strings.HasPrefix(im.Name, "sock_") {
					s.sockets()
				}
				return s, s.arguments(spec)
			}
			s, list := begin()
			if len(list) != len(im.Params) {
				t.Fatalf("the call %q has %d arguments, want %d", spec, len(list), len(im.Params))
			}
			if errno := call(s.host, s.mem, values(list)); errno != 0 {
				t.Fatalf("the sound call gave %v", errno)
			}
			used := true
			for _, h := range hostileCalls(list) {
				if used { // by a call that did something
					s, list = begin()
				}
				list := slices.Clone(list)
				answers := h.wrong(s, list)
				before := allocated()
				errno := call(s.host, s.mem, values(list))
				used = errno == 0
				if grown := allocated() - before; grown > 1<<20 {
					t.Errorf("%s: %d bytes were allocated", h.what, grown)
				}
				if !slices.Contains(answers, errno) && !(errno == 0 && onlyBounds[im.Name] != "" && strings.HasPrefix(h.what, onlyBounds[im.Name])) {
					t.Errorf("%s: %v, want one of %v", h.what, errno, answers)
				}
			}
		})
	}
}

// onlyBounds are the lengths that only bound what is written, which is no more
// than there is.
var onlyBounds = map[string]string{"sock_getaddrinfo": "argument 6 is", "fd_prestat_dir_name": "argument 2 is"}

// TestOverlappingMemory gives every pointer of a call the same place: whatever
// is answered, it is an answer, and the bytes beyond stay as they were.
func TestOverlappingMemory(t *testing.T) {
	for _, im := range distinct() {
		spec, _ := soundCall(im)
		if im.Name == "proc_exit" || im.Name == "proc_raise" {
			continue
		}
		t.Run(fmt.Sprintf("%s.%s.%d", im.Module, im.Name, len(im.Params)), func(t *testing.T) {
			call, _ := preview1.Lookup(im.Module, im.Name, im.Params, im.Results)
			for _, at := range []uint64{0, memorySize / 2, memorySize - 512} {
				s := newStage(t)
				if strings.HasPrefix(im.Name, "sock_") {
					s.sockets()
				}
				list := s.arguments(spec)
				reach := uint64(0)
				for i := range list {
					if list[i].kind == "pointer" {
						copy(s.mem[at:], s.mem[list[i].value:][:list[i].size])
						list[i].value, reach = at, max(reach, list[i].size)
					}
				}
				if len(list) > 1 && im.Name == "poll_oneoff" { // no clock that the overlap could make long
					binary.LittleEndian.PutUint64(s.mem[at+24:], 0)
				}
				image := string(s.mem)
				errno := call(s.host, s.mem, values(list))
				if errno > 100 {
					t.Errorf("at %#x: %d is no errno", at, errno)
				}
				if spread(image, s.mem, at, reach) && !strings.Contains(spec, "iov") && !strings.Contains(spec, "addr") {
					t.Errorf("at %#x: what is beyond the %d bytes of the results has changed", at, reach)
				}
			}
		})
	}
}

// spread says whether memory has changed outside of n bytes at a place.
func spread(was string, is []byte, at, n uint64) bool {
	return was[:at] != string(is[:at]) || was[at+n:] != string(is[at+n:])
}
