// Package programs is the list of all programs of the toolbox.
package programs

import (
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/files"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/network"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/proc"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/shell"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/text"
)

// Launcher gives a launcher with every program in its table.
func Launcher() *shell.Launcher {
	l := &shell.Launcher{}
	l.Table = applet.Merge(files.Programs(), network.Programs(), proc.Programs(), text.Programs(), shell.Programs(l))
	return l
}

// Names gives the names of all programs, sorted.
func Names() []string { return Launcher().Table.Names() }
