package text

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// oldStyle turns "-5" into "-n 5".
func oldStyle(args []string) []string {
	if len(args) == 0 || len(args[0]) < 2 || (args[0][0] != '-' && args[0][0] != '+') {
		return args
	}
	if _, err := strconv.Atoi(args[0][1:]); err != nil {
		return args
	}
	count := strings.TrimPrefix(args[0], "-")
	return append([]string{"-n", count}, args[1:]...)
}

// quantity is the argument of -n or -c of head and tail.
type quantity struct {
	n     int64
	sign  byte // as written: '-', '+' or 0
	bytes bool
}

func parseQuantity(c *applet.Ctx, o *applet.Opts) (q quantity, ok bool) {
	text := o.Value('n', "10")
	if o.Has('c') {
		q.bytes, text = true, o.Value('c', "")
	}
	if text != "" && (text[0] == '-' || text[0] == '+') {
		q.sign, text = text[0], text[1:]
	}
	q.n, ok = c.Size(text)
	return q, ok
}

func head(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(oldStyle(args), "n:c:qv")
	if !ok {
		return applet.ExitUsage
	}
	q, ok := parseQuantity(c, o)
	if !ok {
		return 1
	}
	t := titles{c: c, on: len(operands) > 1 && !o.Has('q') || o.Has('v')}
	return c.EachInput(operands, func(name string, r io.Reader) error {
		t.print(name)
		switch {
		case q.sign == '-':
			return allBut(c, r, q)
		case q.bytes:
			_, err := io.Copy(c.Out, io.LimitReader(r, q.n))
			return err
		}
		return headLines(c, r, q.n)
	})
}

// headLines reads no more than it must: the next program may want the rest.
func headLines(c *applet.Ctx, r io.Reader, n int64) error {
	if n == 0 {
		return nil
	}
	return eachLine(r, func(line []byte, ended bool) bool {
		writeLine(c.Out, line, ended)
		n--
		return n > 0
	})
}

func writeLine(w *applet.Output, line []byte, ended bool) {
	w.Write(line)
	if ended {
		w.WriteByte('\n')
	}
}

func allBut(c *applet.Ctx, r io.Reader, q quantity) error {
	all, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.Out.Write(all[:len(all)-len(last(all, q))])
	return nil
}

// last is the end of all that q asks for.
func last(all []byte, q quantity) []byte {
	if q.bytes {
		return all[max(0, int64(len(all))-q.n):]
	}
	at := len(all)
	for range q.n {
		if at == 0 {
			break
		}
		at = bytes.LastIndexByte(all[:at-1], '\n') + 1
	}
	return all[at:]
}

// titles prints the names above the parts of several files.
type titles struct {
	c     *applet.Ctx
	on    bool
	later bool
}

func (t *titles) print(name string) {
	if !t.on {
		return
	}
	if t.later {
		t.c.Out.WriteByte('\n')
	}
	t.later = true
	if name == "-" {
		name = "standard input"
	}
	t.c.Out.Printf("==> %s <==\n", name)
}

func tail(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(oldStyle(args), "n:c:fFqvs:")
	if !ok {
		return applet.ExitUsage
	}
	q, ok := parseQuantity(c, o)
	if !ok {
		return 1
	}
	t := titles{c: c, on: len(operands) > 1 && !o.Has('q') || o.Has('v')}
	code := c.EachInput(operands, func(name string, r io.Reader) error {
		t.print(name)
		return tailOf(c, r, q)
	})
	if o.Any("fF") && len(operands) > 0 && operands[0] != "-" {
		follow(c, operands[len(operands)-1])
	}
	return code
}

// tailOf keeps only what it may have to print.
func tailOf(c *applet.Ctx, r io.Reader, q quantity) error {
	if q.sign == '+' {
		return fromStart(c, r, q)
	}
	keep := []byte{}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		keep = append(keep, buf[:n]...)
		if len(keep) > 1<<20 || err != nil {
			keep = append(keep[:0], last(keep, q)...)
		}
		if err == io.EOF {
			c.Out.Write(keep)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func fromStart(c *applet.Ctx, r io.Reader, q quantity) error {
	skip := max(0, q.n-1)
	if q.bytes {
		if _, err := io.CopyN(io.Discard, r, skip); err != nil && err != io.EOF {
			return err
		}
		_, err := io.Copy(c.Out, r)
		return err
	}
	return eachLine(r, func(line []byte, ended bool) bool {
		if skip > 0 {
			skip--
			return true
		}
		writeLine(c.Out, line, ended)
		return true
	})
}

// follow prints what is added to a file, until the run ends. A file that
// shrinks or is replaced is read from its start.
func follow(c *applet.Ctx, name string) {
	at := int64(-1)
	var was os.FileInfo
	for c.Alive() {
		c.Out.Flush()
		if info, err := os.Stat(c.Path(name)); err == nil {
			switch {
			case at < 0:
				at = info.Size()
			case info.Size() < at || was != nil && !os.SameFile(was, info):
				at = 0
			}
			at += copyFrom(c, name, at)
			was = info
		}
		select {
		case <-c.Life.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func copyFrom(c *applet.Ctx, name string, at int64) int64 {
	f, err := os.Open(c.Path(name))
	if err != nil {
		return 0
	}
	defer f.Close()
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return 0
	}
	n, _ := io.Copy(c.Out, f) // the next look goes on from there
	return n
}

// counts is what wc counts.
type counts struct{ lines, words, chars, bytes int64 }

func wc(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "lwcm")
	if !ok {
		return applet.ExitUsage
	}
	var total counts
	code := c.EachInput(operands, func(name string, r io.Reader) error {
		n, err := count(r)
		if name == "-" && len(operands) == 0 {
			name = ""
		}
		n.print(c, o, name)
		total.add(n)
		return err
	})
	if len(operands) > 1 {
		total.print(c, o, "total")
	}
	return code
}

func count(r io.Reader) (n counts, err error) {
	buf := make([]byte, 64<<10)
	inWord := false
	for {
		got, err := r.Read(buf)
		n.bytes += int64(got)
		for _, b := range buf[:got] {
			blank := b == ' ' || b >= '\t' && b <= '\r'
			n.lines += int64(btoi(b == '\n'))
			n.words += int64(btoi(!blank && !inWord))
			n.chars += int64(btoi(utf8.RuneStart(b)))
			inWord = !blank
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (n *counts) add(m counts) {
	n.lines, n.words, n.chars, n.bytes = n.lines+m.lines, n.words+m.words, n.chars+m.chars, n.bytes+m.bytes
}

func (n counts) print(c *applet.Ctx, o *applet.Opts, name string) {
	var fields []string
	for _, f := range []struct {
		letter byte
		value  int64
	}{{'l', n.lines}, {'w', n.words}, {'m', n.chars}, {'c', n.bytes}} {
		if o.Has(f.letter) || !o.Any("lwmc") && f.letter != 'm' {
			fields = append(fields, strconv.FormatInt(f.value, 10))
		}
	}
	if len(fields) > 1 {
		for i, f := range fields {
			fields[i] = fmt.Sprintf("%7s", f)
		}
	}
	if name != "" {
		fields = append(fields, name)
	}
	c.Out.Println(strings.Join(fields, " "))
}

func nl(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "b:w:")
	if !ok {
		return applet.ExitUsage
	}
	number := 0
	return c.EachInput(operands, func(_ string, r io.Reader) error {
		return eachLine(r, func(line []byte, _ bool) bool {
			if len(line) == 0 && o.Value('b', "t") != "a" {
				c.Out.WriteByte('\n')
				return true
			}
			number++
			c.Out.Printf("%6d\t%s\n", number, line)
			return true
		})
	})
}

func rev(c *applet.Ctx, args []string) int {
	return c.EachInput(args, func(_ string, r io.Reader) error {
		return eachLine(r, func(line []byte, ended bool) bool {
			runes := []rune(string(line))
			slices.Reverse(runes)
			writeLine(c.Out, []byte(string(runes)), ended)
			return true
		})
	})
}

func tac(c *applet.Ctx, args []string) int {
	return c.EachInput(args, func(_ string, r io.Reader) error {
		var all []string
		err := eachLine(r, func(line []byte, _ bool) bool { all = append(all, string(line)); return true })
		for _, line := range slices.Backward(all) {
			c.Out.Println(line)
		}
		return err
	})
}
