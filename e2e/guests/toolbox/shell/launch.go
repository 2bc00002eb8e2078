package shell

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// DefaultPath is searched where the environment has no PATH.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Launcher starts programs by command lines, as exec(2) does: the file decides
// whether and what. Safe for concurrent use.
type Launcher struct{ Table applet.Table }

// launchError says why a command cannot be started.
type launchError struct {
	code int
	text string
}

var (
	errNotFound   = &launchError{applet.ExitNotFound, "not found"}
	errNotAllowed = &launchError{applet.ExitCannotExec, "Permission denied"}
	errFormat     = &launchError{applet.ExitCannotExec, "Exec format error"}
)

// Start is an applet.Starter. What cannot be started is reported in the name of
// the program that wants it.
func (l *Launcher) Start(c *applet.Ctx, argv []string) int {
	caller := c.Caller
	c.Name, c.Start = argv[0], l.Start
	code, err := l.start(c, argv)
	if err != nil {
		fmt.Fprintf(c.Err, "%s: %s: %s\n", caller, argv[0], err.text)
		return err.code
	}
	return code
}

func (l *Launcher) start(c *applet.Ctx, argv []string) (int, *launchError) {
	file, err := find(c, argv[0])
	if err != nil {
		return 0, err
	}
	switch kind, interpreter := inspect(file); kind {
	case moduleFile:
		code, ok := l.Table.Run(c, append([]string{file}, argv[1:]...))
		if !ok {
			return 0, errFormat
		}
		return code, nil
	case scriptFile:
		if len(interpreter) == 0 {
			interpreter = []string{"sh"}
		}
		args := append(interpreter, file)
		code, ok := l.Table.Run(c, append(args, argv[1:]...))
		if !ok {
			return 0, errNotFound
		}
		return code, nil
	}
	return 0, errFormat
}

// find gives the file that a command name stands for. Only regular files can be
// started: a masked path, for example, is a device.
func find(c *applet.Ctx, name string) (string, *launchError) {
	if strings.Contains(name, "/") {
		file := c.Path(name)
		return file, runnable(file)
	}
	search := c.Getenv("PATH")
	if search == "" {
		search = DefaultPath
	}
	failure := errNotFound
	for dir := range strings.SplitSeq(search, ":") {
		file := c.Path(path.Join(dir, name))
		err := runnable(file)
		if err == nil {
			return file, nil
		}
		if err != errNotFound {
			failure = err
		}
	}
	return "", failure
}

func runnable(file string) *launchError {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return errNotFound
	case err != nil, !info.Mode().IsRegular():
		return errNotAllowed
	}
	return nil
}

// fileKind is what starting a file means.
type fileKind int

const (
	otherFile fileKind = iota
	moduleFile
	scriptFile
)

// inspect looks at the start of a file. A module that may be executed but not
// read is still a module.
func inspect(file string) (kind fileKind, interpreter []string) {
	f, err := os.Open(file)
	if err != nil {
		return moduleFile, nil
	}
	defer f.Close()
	start := make([]byte, 256)
	n, err := io.ReadFull(f, start)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return otherFile, nil
	}
	start = start[:n]
	switch {
	case bytes.HasPrefix(start, []byte("\x00asm")):
		return moduleFile, nil
	case bytes.HasPrefix(start, []byte("#!")):
		first, _, _ := bytes.Cut(start[2:], []byte("\n"))
		return scriptFile, strings.Fields(string(first))
	case bytes.IndexByte(start, 0) >= 0:
		return otherFile, nil
	}
	return scriptFile, nil
}
