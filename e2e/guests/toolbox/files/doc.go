// Package files holds the toolbox's programs that work on files and
// directories: listing, copying, archiving.
//
// preview1 knows neither owners nor permissions. So nothing here shows or
// changes them; what a file's mode would say is printed as question marks.
package files

import "github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"

// Programs gives the programs of this package.
func Programs() applet.Table {
	return applet.Table{
		"cp": cp, "dd": dd, "du": du, "find": find, "gunzip": gunzip, "gzip": gzipMain,
		"ln": ln, "ls": ls, "mkdir": mkdir, "mktemp": mktemp, "mv": mv, "readlink": readlink,
		"realpath": realpath, "rm": rm, "rmdir": rmdir, "stat": stat, "sync": syncMain,
		"tar": tarMain, "touch": touch, "truncate": truncate, "zcat": zcat,
	}
}
