package sandbox

import (
	"io"
	"os"
)

// WindowSize is the size of a terminal in characters.
type WindowSize struct{ Rows, Cols uint16 }

// Terminal is a pseudo terminal. Reading and writing are those of its master:
// Read gives io.EOF once nobody holds the guest's side. Close hangs up. Safe for
// concurrent use.
type Terminal interface {
	io.ReadWriteCloser
	Resize(WindowSize) error
	// Master is the terminal's other side as a file, which stays its own.
	Master() *os.File
	// Slave is the guest's side; nil after CloseSlave.
	Slave() *os.File
	// CloseSlave leaves the guest as the only one on its side.
	CloseSlave() error
}
