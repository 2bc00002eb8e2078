package trace

import "strings"

// param is a parameter, which one or two wasm values make up.
type param struct {
	name, kind string
	at         int // its first value
}

// out says that the parameter only tells where a result goes.
func (p param) out() bool { return p.kind[0] == '*' }

// paramsOf lists the parameters of an import. One that is not in the table,
// or of another type, has its raw values.
func paramsOf(module, name string, types []byte) []param {
	spec, _ := specOf(name)
	if module == "wasi_unstable" {
		spec = strings.NewReplacer("*filestat", "*filestat0", ":whence", ":whence0", ":subs", ":subs0").Replace(spec)
	}
	for variant := range strings.SplitSeq(spec, "|") {
		if list, wide := parse(variant); wide == len(types) {
			return list
		}
	}
	return raw(types)
}

// raw lists the values of a function that is not known, or not by this type.
func raw(types []byte) []param {
	var list []param
	for i, t := range types {
		kind := "u32"
		if t == 0x7e {
			kind = "u64"
		}
		list = append(list, param{"arg", kind, i})
	}
	return list
}

func parse(spec string) (list []param, wide int) {
	for field := range strings.FieldsSeq(spec) {
		name, kind, _ := strings.Cut(field, ":")
		list = append(list, param{name, kind, wide})
		wide++
		switch kind {
		case "str", "iovs", "ciovs", "*buf", "buf":
			wide++
		}
	}
	return list, wide
}

// specOf finds a function. Those of WasmEdge have a second name.
func specOf(name string) (spec string, ok bool) {
	name = strings.TrimSuffix(name, "_v2")
	for i := range specs {
		if specs[i].name == name {
			return specs[i].spec, true
		}
	}
	return "", false
}

// specs has the parameters of each function as name:kind. Variants that differ
// in type, as of the two versions of WasmEdge's sockets, are separated by "|".
//
//	u32 s64 u64 fd          numbers
//	clock whence lookup ... names of numbers and flags
//	subs                    subscriptions: where, and in the value after the next how many
//	str ciovs buf           what the guest gives: where, and how many
//	*u32 *fdstat ...        where a result goes; *buf and iovs: where, and how many
var specs = [...]struct{ name, spec string }{
	{"args_get", "argv:u32 buf:u32"},
	{"args_sizes_get", "argc:*u32 size:*u32"},
	{"environ_get", "environ:u32 buf:u32"},
	{"environ_sizes_get", "count:*u32 size:*u32"},
	{"clock_res_get", "id:clock resolution:*u64"},
	{"clock_time_get", "id:clock precision:u64 time:*u64"},
	{"fd_advise", "fd:fd offset:u64 len:u64 advice:advice"},
	{"fd_allocate", "fd:fd offset:u64 len:u64"},
	{"fd_close", "fd:fd"},
	{"fd_datasync", "fd:fd"},
	{"fd_fdstat_get", "fd:fd stat:*fdstat"},
	{"fd_fdstat_set_flags", "fd:fd flags:fdflags"},
	{"fd_fdstat_set_rights", "fd:fd base:hex inheriting:hex"},
	{"fd_filestat_get", "fd:fd stat:*filestat"},
	{"fd_filestat_set_size", "fd:fd size:u64"},
	{"fd_filestat_set_times", "fd:fd atim:u64 mtim:u64 flags:fstflags"},
	{"fd_pread", "fd:fd iovs:iovs offset:u64 nread:*data"},
	{"fd_prestat_get", "fd:fd stat:*prestat"},
	{"fd_prestat_dir_name", "fd:fd name:*buf"},
	{"fd_pwrite", "fd:fd iovs:ciovs offset:u64 nwritten:*u32"},
	{"fd_read", "fd:fd iovs:iovs nread:*data"},
	{"fd_readdir", "fd:fd buf:u32 len:u32 cookie:u64 used:*dirents"},
	{"fd_renumber", "fd:fd to:fd"},
	{"fd_seek", "fd:fd offset:s64 whence:whence position:*u64"},
	{"fd_sync", "fd:fd"},
	{"fd_tell", "fd:fd position:*u64"},
	{"fd_write", "fd:fd iovs:ciovs nwritten:*u32"},
	{"path_create_directory", "fd:fd path:str"},
	{"path_filestat_get", "fd:fd flags:lookup path:str stat:*filestat"},
	{"path_filestat_set_times", "fd:fd flags:lookup path:str atim:u64 mtim:u64 fst:fstflags"},
	{"path_link", "fd:fd flags:lookup path:str new_fd:fd new_path:str"},
	{"path_open", "fd:fd flags:lookup path:str oflags:oflags base:hex inheriting:hex fdflags:fdflags opened:*u32"},
	{"path_readlink", "fd:fd path:str buf:u32 len:u32 used:*link"},
	{"path_remove_directory", "fd:fd path:str"},
	{"path_rename", "fd:fd path:str new_fd:fd new_path:str"},
	{"path_symlink", "target:str fd:fd path:str"},
	{"path_unlink_file", "fd:fd path:str"},
	{"poll_oneoff", "subs:subs out:u32 n:u32 ready:*events"},
	{"proc_exit", "code:u32"},
	{"proc_raise", "signal:signal"},
	{"sched_yield", ""},
	{"random_get", "buf:u32 len:u32"},
	{"sock_accept", "fd:fd accepted:*u32|fd:fd flags:fdflags accepted:*u32"},
	{"sock_recv", "fd:fd iovs:iovs flags:riflags nread:*data oflags:*u16"},
	{"sock_send", "fd:fd iovs:ciovs flags:u32 nwritten:*u32"},
	{"sock_shutdown", "fd:fd how:sdflags"},
	{"sock_open", "family:u32 type:u32 opened:*u32"},
	{"sock_bind", "fd:fd addr:addr port:u32"},
	{"sock_connect", "fd:fd addr:addr port:u32"},
	{"sock_listen", "fd:fd backlog:u32"},
	{"sock_recv_from", "fd:fd iovs:iovs addr:*addr flags:u32 nread:*data oflags:*u16|fd:fd iovs:iovs addr:*addr flags:u32 port:*u32 nread:*data oflags:*u16"},
	{"sock_send_to", "fd:fd iovs:ciovs addr:addr port:u32 flags:u32 nwritten:*u32"},
	{"sock_getsockopt", "fd:fd level:u32 name:u32 value:u32 size:u32"},
	{"sock_setsockopt", "fd:fd level:u32 name:u32 value:buf"},
	{"sock_getlocaladdr", "fd:fd addr:*addr port:*u32|fd:fd addr:*addr type:*u32 port:*u32"},
	{"sock_getpeeraddr", "fd:fd addr:*addr port:*u32|fd:fd addr:*addr type:*u32 port:*u32"},
	{"sock_getaddrinfo", "node:str service:str hints:u32 results:u32 max:u32 count:*u32"},
}
