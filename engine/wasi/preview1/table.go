package preview1

import (
	"bytes"
	"slices"
	"sort"
)

// Modules that guests import.
const (
	moduleName   = "wasi_snapshot_preview1"
	unstableName = "wasi_unstable"
)

// function is one entry of the interface. params has an i for each i32 and an
// I for each i64; all functions but proc_exit give an i32.
type function struct {
	params string
	void   bool
	call   Func
}

// functions is the whole of preview1.
func functions(name string) (function, bool) {
	switch name {
	case "args_get":
		return function{params: "ii", call: argsGet}, true
	case "args_sizes_get":
		return function{params: "ii", call: argsSizesGet}, true
	case "environ_get":
		return function{params: "ii", call: environGet}, true
	case "environ_sizes_get":
		return function{params: "ii", call: environSizesGet}, true
	case "clock_res_get":
		return function{params: "ii", call: clockResGet}, true
	case "clock_time_get":
		return function{params: "iIi", call: clockTimeGet}, true
	case "fd_advise":
		return function{params: "iIIi", call: fdAdvise}, true
	case "fd_allocate":
		return function{params: "iII", call: fdAllocate}, true
	case "fd_close":
		return function{params: "i", call: fdClose}, true
	case "fd_datasync":
		return function{params: "i", call: fdDatasync}, true
	case "fd_fdstat_get":
		return function{params: "ii", call: fdFdstatGet}, true
	case "fd_fdstat_set_flags":
		return function{params: "ii", call: fdFdstatSetFlags}, true
	case "fd_fdstat_set_rights":
		return function{params: "iII", call: fdFdstatSetRights}, true
	case "fd_filestat_get":
		return function{params: "ii", call: fdFilestatGet}, true
	case "fd_filestat_set_size":
		return function{params: "iI", call: fdFilestatSetSize}, true
	case "fd_filestat_set_times":
		return function{params: "iIIi", call: fdFilestatSetTimes}, true
	case "fd_pread":
		return function{params: "iiiIi", call: fdPread}, true
	case "fd_prestat_get":
		return function{params: "ii", call: fdPrestatGet}, true
	case "fd_prestat_dir_name":
		return function{params: "iii", call: fdPrestatDirName}, true
	case "fd_pwrite":
		return function{params: "iiiIi", call: fdPwrite}, true
	case "fd_read":
		return function{params: "iiii", call: fdRead}, true
	case "fd_readdir":
		return function{params: "iiiIi", call: fdReaddir}, true
	case "fd_renumber":
		return function{params: "ii", call: fdRenumber}, true
	case "fd_seek":
		return function{params: "iIii", call: fdSeek}, true
	case "fd_sync":
		return function{params: "i", call: fdSync}, true
	case "fd_tell":
		return function{params: "ii", call: fdTell}, true
	case "fd_write":
		return function{params: "iiii", call: fdWrite}, true
	}
	return moreFunctions(name)
}

func moreFunctions(name string) (function, bool) {
	switch name {
	case "path_create_directory":
		return function{params: "iii", call: pathCreateDirectory}, true
	case "path_filestat_get":
		return function{params: "iiiii", call: pathFilestatGet}, true
	case "path_filestat_set_times":
		return function{params: "iiiiIIi", call: pathFilestatSetTimes}, true
	case "path_link":
		return function{params: "iiiiiii", call: pathLink}, true
	case "path_open":
		return function{params: "iiiiiIIii", call: pathOpen}, true
	case "path_readlink":
		return function{params: "iiiiii", call: pathReadlink}, true
	case "path_remove_directory":
		return function{params: "iii", call: pathRemoveDirectory}, true
	case "path_rename":
		return function{params: "iiiiii", call: pathRename}, true
	case "path_symlink":
		return function{params: "iiiii", call: pathSymlink}, true
	case "path_unlink_file":
		return function{params: "iii", call: pathUnlinkFile}, true
	case "poll_oneoff":
		return function{params: "iiii", call: pollOneoff}, true
	case "proc_exit":
		return function{params: "i", void: true, call: procExit}, true
	case "proc_raise":
		return function{params: "i", call: procRaise}, true
	case "random_get":
		return function{params: "ii", call: randomGet}, true
	case "sched_yield":
		return function{params: "", call: schedYield}, true
	case "sock_accept":
		return function{params: "iii", call: sockAccept}, true
	case "sock_recv":
		return function{params: "iiiiii", call: sockRecv}, true
	case "sock_send":
		return function{params: "iiiii", call: sockSend}, true
	case "sock_shutdown":
		return function{params: "ii", call: sockShutdown}, true
	}
	return function{}, false
}

// names lists what functions knows.
var names = [...]string{
	"args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "clock_res_get", "clock_time_get", "fd_advise", "fd_allocate",
	"fd_close", "fd_datasync", "fd_fdstat_get", "fd_fdstat_set_flags", "fd_fdstat_set_rights", "fd_filestat_get", "fd_filestat_set_size",
	"fd_filestat_set_times", "fd_pread", "fd_prestat_get", "fd_prestat_dir_name", "fd_pwrite", "fd_read", "fd_readdir", "fd_renumber",
	"fd_seek", "fd_sync", "fd_tell", "fd_write", "path_create_directory", "path_filestat_get", "path_filestat_set_times", "path_link",
	"path_open", "path_readlink", "path_remove_directory", "path_rename", "path_symlink", "path_unlink_file", "poll_oneoff", "proc_exit",
	"proc_raise", "random_get", "sched_yield", "sock_accept", "sock_recv", "sock_send", "sock_shutdown",
}

// unstable gives the functions that wasi_unstable has in another layout.
func unstable(name string) (function, bool) {
	f, ok := functions(name)
	switch name {
	case "sock_accept": // came with preview1
		return function{}, false
	case "fd_filestat_get":
		f.call = unstableFdFilestatGet
	case "path_filestat_get":
		f.call = unstablePathFilestatGet
	case "fd_seek":
		f.call = unstableFdSeek
	case "poll_oneoff":
		f.call = unstablePollOneoff
	}
	return f, ok
}

// find gives the functions of a name, which differ by their types.
func find(module, name string) (list []function) {
	switch module {
	case moduleName:
		if f, ok := functions(name); ok {
			list = append(list, f)
		}
		return append(list, wasmEdge(name)...)
	case unstableName:
		if f, ok := unstable(name); ok {
			list = append(list, f)
		}
	}
	return list
}

// Lookup finds the function for an import. Types are those of the binary
// format: 0x7f for i32, 0x7e for i64. ok is false for what is not served, or
// not with these types.
func Lookup(module, name string, params, results []byte) (call Func, ok bool) {
	for _, f := range find(module, name) {
		if bytes.Equal(params, f.paramTypes()) && bytes.Equal(results, f.resultTypes()) {
			return f.call, true
		}
	}
	return nil, false
}

func (f function) paramTypes() []byte {
	t := make([]byte, len(f.params))
	for i := range f.params {
		t[i] = 0x7f
		if f.params[i] == 'I' {
			t[i] = 0x7e
		}
	}
	return t
}

func (f function) resultTypes() []byte {
	if f.void {
		return nil
	}
	return []byte{0x7f}
}

// allNames lists every name once.
func allNames() []string {
	list := slices.Clone(names[:])
	for _, name := range wasmEdgeNames {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return append(list, secondNames[:]...)
}

// Import is a function that Lookup finds.
type Import struct {
	Module, Name    string
	Params, Results []byte
}

// Imports lists all of them.
func Imports() []Import {
	var list []Import
	for _, module := range []string{moduleName, unstableName} {
		for _, name := range allNames() {
			for _, f := range find(module, name) {
				list = append(list, Import{module, name, f.paramTypes(), f.resultTypes()})
			}
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Module < list[j].Module })
	return list
}
