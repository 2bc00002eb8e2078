package text

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"mvdan.cc/sh/v3/expand"
)

func trueMain(*applet.Ctx, []string) int  { return 0 }
func falseMain(*applet.Ctx, []string) int { return 1 }

func echo(c *applet.Ctx, args []string) int {
	newline, escapes := true, false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		newline = newline && !strings.Contains(args[0], "n")
		escapes = escapes && !strings.Contains(args[0], "E") || strings.Contains(args[0], "e")
		args = args[1:]
	}
	text := strings.Join(args, " ")
	if escapes {
		var stop bool
		if text, stop = unescape(text); stop {
			newline = false
		}
	}
	c.Out.WriteString(text)
	if newline {
		c.Out.WriteByte('\n')
	}
	return 0
}

// unescape expands the backslashes of echo -e. stop is true after \c.
func unescape(s string) (text string, stop bool) {
	if before, _, found := strings.Cut(s, `\c`); found {
		s, stop = before, true
	}
	text, _, err := expand.Format(nil, strings.ReplaceAll(s, "%", "%%"), nil)
	if err != nil {
		return s, stop
	}
	return text, stop
}

// printf repeats its format until the arguments are used up.
func printf(c *applet.Ctx, args []string) int {
	if len(args) == 0 {
		return c.Usage("FORMAT [ARG]...")
	}
	format, args := args[0], args[1:]
	for {
		text, n, err := expand.Format(nil, format, args)
		if err != nil {
			return c.Errorf("%s", err)
		}
		c.Out.WriteString(text)
		args = args[min(n, len(args)):]
		if n == 0 || len(args) == 0 {
			return 0
		}
	}
}

// cat hands on what it reads at once: what it reads may never end.
func cat(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "nuvAeT")
	if !ok {
		return applet.ExitUsage
	}
	number := 0
	return c.EachInput(operands, func(_ string, r io.Reader) error {
		if o.Has('n') {
			return eachLine(r, func(line []byte, ended bool) bool {
				number++
				c.Out.Printf("%6d\t%s", number, line)
				if ended {
					c.Out.WriteByte('\n')
				}
				return c.Alive()
			})
		}
		return stream(c, r)
	})
}

func stream(c *applet.Ctx, r io.Reader) error {
	buf := make([]byte, 64<<10)
	for c.Alive() {
		n, err := r.Read(buf)
		if n > 0 {
			c.Out.Write(buf[:n])
			c.Out.Flush()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func tee(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "ai")
	if !ok {
		return applet.ExitUsage
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if o.Has('a') {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	code := 0
	var sinks []*os.File
	for _, name := range operands {
		f, err := os.OpenFile(c.Path(name), flags, 0o666)
		if err != nil {
			code = c.Fail(name, err)
			continue
		}
		defer f.Close()
		sinks = append(sinks, f)
	}
	err := stream(c, readerFunc(func(p []byte) (int, error) {
		n, err := c.In.Read(p)
		for _, f := range sinks {
			if _, err := f.Write(p[:n]); err != nil {
				code = c.Fail(f.Name(), err)
			}
		}
		return n, err
	}))
	if err != nil {
		return c.Fail("-", err)
	}
	return code
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func seq(c *applet.Ctx, args []string) int {
	o, operands, ok := seqOptions(c, args)
	if !ok || len(operands) < 1 || len(operands) > 3 {
		return c.Usage("[-w] [-s SEP] [FIRST [STEP]] LAST")
	}
	nums := []float64{1, 1, 1}
	places := 0
	for i, text := range operands {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return c.Errorf("invalid number '%s'", text)
		}
		if _, fraction, ok := strings.Cut(text, "."); ok {
			places = max(places, len(fraction))
		}
		switch {
		case i == len(operands)-1:
			nums[2] = n
		case i == 0:
			nums[0] = n
		default:
			nums[1] = n
		}
	}
	first, step, last := nums[0], nums[1], nums[2]
	if step == 0 {
		return c.Errorf("step must not be 0")
	}
	width := 0
	if o.Has('w') {
		width = max(len(strconv.FormatFloat(first, 'f', places, 64)), len(strconv.FormatFloat(last, 'f', places, 64)))
	}
	sep := o.Value('s', "\n")
	for i := 0; c.Alive(); i++ {
		v := first + float64(i)*step
		if step > 0 && v > last+step*1e-9 || step < 0 && v < last+step*1e-9 {
			if i > 0 {
				c.Out.WriteByte('\n')
			}
			break
		}
		if i > 0 {
			c.Out.WriteString(sep)
		}
		text := strconv.FormatFloat(v, 'f', places, 64)
		c.Out.WriteString(strings.Repeat("0", max(0, width-len(text))) + text)
	}
	return 0
}

// seqOptions leaves negative numbers alone.
func seqOptions(c *applet.Ctx, args []string) (*applet.Opts, []string, bool) {
	for i, arg := range args {
		if _, err := strconv.ParseFloat(arg, 64); err == nil {
			args = slices.Insert(slices.Clone(args), i, "--")
			break
		}
	}
	return c.Opts(args, "+ws:")
}

func yes(c *applet.Ctx, args []string) int {
	word := "y"
	if len(args) > 0 {
		word = strings.Join(args, " ")
	}
	for c.Alive() {
		c.Out.Println(word)
	}
	return 0
}

func basename(c *applet.Ctx, args []string) int {
	if len(args) < 1 || len(args) > 2 {
		return c.Usage("FILE [SUFFIX]")
	}
	name := path.Base(args[0])
	if len(args) == 2 && name != args[1] {
		name = strings.TrimSuffix(name, args[1])
	}
	c.Out.Println(name)
	return 0
}

func dirname(c *applet.Ctx, args []string) int {
	if len(args) == 0 {
		return c.Usage("FILE...")
	}
	for _, name := range args {
		c.Out.Println(path.Dir(strings.TrimRight(name, "/") + strings.Repeat("/", btoi(strings.Trim(name, "/") == ""))))
	}
	return 0
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// xargs starts a command with what it reads as further arguments.
func xargs(c *applet.Ctx, args []string) int {
	o, command, ok := c.Opts(args, "+0n:I:rtL:P:x")
	if !ok {
		return applet.ExitUsage
	}
	if len(command) == 0 {
		command = []string{"echo"}
	}
	words, err := xargsWords(c.In, o)
	if err != nil {
		return c.Errorf("%s", err)
	}
	x := xargsRun{c: c, command: command, trace: o.Has('t')}
	switch {
	case o.Has('I'):
		for _, w := range words {
			x.replace(o.Value('I', ""), w)
		}
	case len(words) == 0:
		if !o.Has('r') {
			x.start(command)
		}
	default:
		size := int64(5000)
		if text := o.Value('n', o.Value('L', "")); text != "" {
			if size, ok = c.Number(text); !ok || size < 1 {
				return 1
			}
		}
		for chunk := range slices.Chunk(words, int(size)) {
			x.start(append(slices.Clone(command), chunk...))
		}
	}
	return x.code
}

type xargsRun struct {
	c       *applet.Ctx
	command []string
	trace   bool
	code    int
}

func (x *xargsRun) replace(mark, word string) {
	argv := make([]string, len(x.command))
	for i, arg := range x.command {
		argv[i] = strings.ReplaceAll(arg, mark, word)
	}
	x.start(argv)
}

func (x *xargsRun) start(argv []string) {
	if x.trace {
		io.WriteString(x.c.Err, strings.Join(argv, " ")+"\n")
	}
	child := x.c.Child(argv[0])
	child.In = strings.NewReader("")
	switch code := x.c.Start(child, argv); {
	case code == applet.ExitNotFound || code == applet.ExitCannotExec:
		x.code = code
	case code != 0:
		x.code = 123
	}
}

func xargsWords(r io.Reader, o *applet.Opts) ([]string, error) {
	if o.Has('0') {
		all, err := io.ReadAll(r)
		text := strings.TrimSuffix(string(all), "\x00")
		if text == "" {
			return nil, err
		}
		return strings.Split(text, "\x00"), err
	}
	if o.Any("IL") {
		var words []string
		err := eachLine(r, func(line []byte, _ bool) bool {
			if text := strings.TrimSpace(string(line)); text != "" {
				words = append(words, text)
			}
			return true
		})
		return words, err
	}
	return splitWords(bufio.NewReader(r))
}

// splitWords splits at blanks; quotes and backslashes hide them.
func splitWords(r *bufio.Reader) (words []string, err error) {
	var word []byte
	var quote byte
	inWord, escaped := false, false
	for {
		b, err := r.ReadByte()
		if err == io.EOF {
			break
		}
		if err != nil {
			return words, err
		}
		switch {
		case escaped:
			word, escaped = append(word, b), false
		case quote != 0 && b == quote:
			quote = 0
		case quote != 0:
			word = append(word, b)
		case b == '\\':
			inWord, escaped = true, true
		case b == '\'' || b == '"':
			inWord, quote = true, b
		case b == ' ' || b == '\t' || b == '\n':
			if inWord {
				words = append(words, string(word))
			}
			word, inWord = nil, false
		default:
			word, inWord = append(word, b), true
		}
	}
	if quote != 0 {
		return words, errors.New("unmatched quote")
	}
	if inWord {
		words = append(words, string(word))
	}
	return words, nil
}
