// Package text holds the toolbox's programs that read and write streams of
// lines and bytes.
package text

import "github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"

// Programs gives the programs of this package.
func Programs() applet.Table {
	return applet.Table{
		"base64": base64Main, "basename": basename, "cat": cat, "cut": cut, "dirname": dirname,
		"echo": echo, "egrep": egrep, "false": falseMain, "fgrep": fgrep, "grep": grep, "head": head,
		"md5sum": md5sum, "nl": nl, "printf": printf, "rev": rev, "sed": sed, "seq": seq,
		"sha1sum": sha1sum, "sha256sum": sha256sum, "sha512sum": sha512sum, "sort": sortMain,
		"tac": tac, "tail": tail, "tee": tee, "tr": tr, "true": trueMain, "uniq": uniq, "wc": wc,
		"xargs": xargs, "yes": yes,
	}
}
