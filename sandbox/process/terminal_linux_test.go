package process

import (
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func TestTerminal(t *testing.T) {
	tty, err := (&Launcher{}).OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	slave := tty.Slave()
	if _, err := slave.WriteString("printed\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len("printed\r\n"))
	if _, err := io.ReadFull(tty, b); err != nil || string(b) != "printed\r\n" {
		t.Errorf("read %q, %v", b, err)
	}
	if err := tty.Resize(sandbox.WindowSize{Rows: 33, Cols: 101}); err != nil {
		t.Fatal(err)
	}
	size, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row != 33 || size.Col != 101 {
		t.Errorf("size %+v, %v, want 33 rows of 101", size, err)
	}
	if _, err := slave.WriteString("last"); err != nil {
		t.Fatal(err)
	}
	if err := tty.CloseSlave(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(tty); err != nil || string(b) != "last" {
		t.Errorf("at its end: %q, %v, want what was printed last and io.EOF", b, err)
	}
	if tty.Slave() != nil || tty.CloseSlave() != nil {
		t.Error("the guest's side is still there")
	}
}
