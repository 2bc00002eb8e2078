package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// event is one line of `go test -json` (see `go doc test2json`), and of our own
// record, which ends with an event whose action is actionExit.
type event struct {
	Action     string
	Package    string  `json:",omitempty"`
	ImportPath string  `json:",omitempty"` // of build events
	Test       string  `json:",omitempty"`
	Elapsed    float64 `json:",omitempty"`
	Output     string  `json:",omitempty"`
	Code       int     `json:",omitempty"` // of actionExit
}

const actionExit = "testsum-exit"

// run starts a go test -json command, shows its progress and records its
// events. The error tells that the command failed, not why: that has been shown.
func run(out string, command []string, stdout io.Writer) error {
	if out == "" || len(command) == 0 {
		return errors.New("use: testsum run -out FILE -- COMMAND")
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()

	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := record(pipe, f, newPrinter(stdout)); err != nil {
		return errors.Join(err, cmd.Wait())
	}
	err = cmd.Wait()
	if e := json.NewEncoder(f).Encode(event{Action: actionExit, Code: cmd.ProcessState.ExitCode()}); e != nil {
		return e
	}
	return err
}

// record copies the events to w and to p. A line that is no event, such as
// what a compiler prints, is shown as it is.
func record(r io.Reader, w io.Writer, p *printer) error {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			if e := recordLine(line, w, p); e != nil {
				return e
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func recordLine(line []byte, w io.Writer, p *printer) error {
	var ev event
	if json.Unmarshal(line, &ev) != nil || ev.Action == "" {
		fmt.Fprint(p.w, string(line))
		return nil
	}
	p.show(ev)
	_, err := w.Write(line)
	return err
}

// printer shows one line for each package and the whole output of each test
// that fails. Not safe for concurrent use.
type printer struct {
	w       io.Writer
	outputs map[string]*strings.Builder // by package and test
}

func newPrinter(w io.Writer) *printer {
	return &printer{w: w, outputs: make(map[string]*strings.Builder)}
}

func (p *printer) show(ev event) {
	key := ev.Package + " " + ev.Test
	switch ev.Action {
	case "output":
		p.add(key, ev.Output)
	case "build-output":
		fmt.Fprint(p.w, ev.Output)
	case "pass", "skip":
		if ev.Test == "" && ev.Action == "pass" {
			fmt.Fprintf(p.w, "ok    %s  %.1fs\n", ev.Package, ev.Elapsed)
		}
		delete(p.outputs, key)
	case "fail":
		p.flush(key)
		if ev.Test == "" {
			fmt.Fprintf(p.w, "FAIL  %s  %.1fs\n", ev.Package, ev.Elapsed)
		}
	}
}

func (p *printer) add(key, s string) {
	b := p.outputs[key]
	if b == nil {
		b = new(strings.Builder)
		p.outputs[key] = b
	}
	b.WriteString(s)
}

func (p *printer) flush(key string) {
	if b := p.outputs[key]; b != nil {
		fmt.Fprint(p.w, b.String())
		delete(p.outputs, key)
	}
}
