package wasitest

import "github.com/cri-wasmer/cri-wasmer/engine/wasi"

// Documented lists, for every function, what it must be able to give: success,
// what https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md
// says of it, and what POSIX says of the function that it stands for, as far as
// a guest can bring it about. A pointer beyond the memory is EFAULT.
var Documented = map[string][]wasi.Errno{
	"args_get":          {wasi.ESUCCESS, wasi.EFAULT},
	"args_sizes_get":    {wasi.ESUCCESS, wasi.EFAULT},
	"environ_get":       {wasi.ESUCCESS, wasi.EFAULT},
	"environ_sizes_get": {wasi.ESUCCESS, wasi.EFAULT},
	"clock_res_get":     {wasi.ESUCCESS, wasi.EINVAL, wasi.EFAULT},
	"clock_time_get":    {wasi.ESUCCESS, wasi.EINVAL, wasi.EFAULT},
	"proc_exit":         {wasi.ESUCCESS},
	"proc_raise":        {wasi.ESUCCESS, wasi.EINVAL},
	"sched_yield":       {wasi.ESUCCESS},
	"random_get":        {wasi.ESUCCESS, wasi.EFAULT},

	"fd_advise":             {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ESPIPE, wasi.ENOTCAPABLE},
	"fd_allocate":           {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ESPIPE, wasi.EFBIG, wasi.ENOTCAPABLE},
	"fd_close":              {wasi.ESUCCESS, wasi.EBADF},
	"fd_datasync":           {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ENOTCAPABLE},
	"fd_fdstat_get":         {wasi.ESUCCESS, wasi.EBADF, wasi.EFAULT},
	"fd_fdstat_set_flags":   {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ENOTSUP, wasi.ENOTCAPABLE},
	"fd_fdstat_set_rights":  {wasi.ESUCCESS, wasi.EBADF, wasi.ENOTCAPABLE},
	"fd_filestat_get":       {wasi.ESUCCESS, wasi.EBADF, wasi.ENOTCAPABLE, wasi.EFAULT},
	"fd_filestat_set_size":  {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ENOTCAPABLE},
	"fd_filestat_set_times": {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.EROFS, wasi.ENOTCAPABLE},
	"fd_pread":              {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ESPIPE, wasi.ENOTCAPABLE, wasi.EFAULT},
	"fd_prestat_dir_name":   {wasi.ESUCCESS, wasi.EBADF, wasi.ENAMETOOLONG, wasi.EFAULT},
	"fd_prestat_get":        {wasi.ESUCCESS, wasi.EBADF, wasi.EFAULT},
	"fd_pwrite":             {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ESPIPE, wasi.ENOTCAPABLE, wasi.EFAULT},
	"fd_read":               {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.EAGAIN, wasi.ENOTCAPABLE, wasi.EFAULT},
	"fd_readdir":            {wasi.ESUCCESS, wasi.EBADF, wasi.ENOTDIR, wasi.ENOTCAPABLE, wasi.EFAULT},
	"fd_renumber":           {wasi.ESUCCESS, wasi.EBADF},
	"fd_seek":               {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ESPIPE, wasi.ENOTCAPABLE, wasi.EFAULT},
	"fd_sync":               {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ENOTCAPABLE},
	"fd_tell":               {wasi.ESUCCESS, wasi.EBADF, wasi.ESPIPE, wasi.ENOTCAPABLE, wasi.EFAULT},
	"fd_write":              {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.EAGAIN, wasi.EPIPE, wasi.ENOTCAPABLE, wasi.EFAULT},

	"path_create_directory":   {wasi.ESUCCESS, wasi.EBADF, wasi.EEXIST, wasi.EINVAL, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.EPERM, wasi.EROFS, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_filestat_get":       {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.EPERM, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_filestat_set_times": {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.EPERM, wasi.EROFS, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_link":               {wasi.ESUCCESS, wasi.EBADF, wasi.EEXIST, wasi.EINVAL, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.EPERM, wasi.EROFS, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_open":               {wasi.ESUCCESS, wasi.EBADF, wasi.EEXIST, wasi.EINVAL, wasi.EISDIR, wasi.ELOOP, wasi.EMFILE, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.EPERM, wasi.EROFS, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_readlink":           {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.EPERM, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_remove_directory":   {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.ENOTEMPTY, wasi.EPERM, wasi.EROFS, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_rename":             {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.EISDIR, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.ENOTEMPTY, wasi.EPERM, wasi.EROFS, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_symlink":            {wasi.ESUCCESS, wasi.EBADF, wasi.EEXIST, wasi.EINVAL, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.EPERM, wasi.EROFS, wasi.ENOTCAPABLE, wasi.EFAULT},
	"path_unlink_file":        {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.EISDIR, wasi.ELOOP, wasi.ENAMETOOLONG, wasi.ENOENT, wasi.ENOTDIR, wasi.EPERM, wasi.EROFS, wasi.ENOTCAPABLE, wasi.EFAULT},

	"poll_oneoff": {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.EFAULT},

	"sock_accept":   {wasi.ESUCCESS, wasi.EBADF, wasi.EAGAIN, wasi.EINVAL, wasi.EMFILE, wasi.ENOTSOCK, wasi.ENOTCAPABLE, wasi.EFAULT},
	"sock_recv":     {wasi.ESUCCESS, wasi.EBADF, wasi.EAGAIN, wasi.EINVAL, wasi.ENOTSUP, wasi.ENOTCONN, wasi.ENOTSOCK, wasi.ENOTCAPABLE, wasi.EFAULT},
	"sock_send":     {wasi.ESUCCESS, wasi.EBADF, wasi.EAGAIN, wasi.EINVAL, wasi.ENOTSUP, wasi.ENOTCONN, wasi.ENOTSOCK, wasi.EPIPE, wasi.ENOTCAPABLE, wasi.EFAULT},
	"sock_shutdown": {wasi.ESUCCESS, wasi.EBADF, wasi.EINVAL, wasi.ENOTCONN, wasi.ENOTSOCK, wasi.ENOTCAPABLE},
}
