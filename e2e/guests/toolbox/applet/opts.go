package applet

import (
	"strconv"
	"strings"
	"syscall"
)

var errIsDirectory error = syscall.EISDIR

// Opts are the options of a command line.
type Opts struct {
	counts map[byte]int
	values map[byte][]string
}

// Has tells whether the option was given.
func (o *Opts) Has(b byte) bool { return o.counts[b] > 0 }

// Any tells whether one of the options was given.
func (o *Opts) Any(list string) bool {
	for i := range len(list) {
		if o.Has(list[i]) {
			return true
		}
	}
	return false
}

// Value is the last argument of the option, or fallback.
func (o *Opts) Value(b byte, fallback string) string {
	if v := o.values[b]; len(v) > 0 {
		return v[len(v)-1]
	}
	return fallback
}

// Values are all arguments of the option.
func (o *Opts) Values(b byte) []string { return o.values[b] }

// Spec says which options a program takes, as getopt(3) does: a letter, and a
// colon after it when the option has an argument. A leading "+" ends the
// options at the first operand. Long options stand for a short one; a short one
// that is zero is accepted and ignored.
type Spec struct {
	Short string
	Long  map[string]byte
}

// Opts parses args by spec. It reports what is wrong and then gives ok=false.
func (c *Ctx) Opts(args []string, short string) (o *Opts, operands []string, ok bool) {
	return c.OptsOf(args, Spec{Short: short})
}

// OptsOf is Opts with long options.
func (c *Ctx) OptsOf(args []string, spec Spec) (o *Opts, operands []string, ok bool) {
	p := optParser{c: c, spec: spec, opts: &Opts{counts: map[byte]int{}, values: map[byte][]string{}}}
	p.spec.Short, p.inOrder = strings.CutPrefix(spec.Short, "+")
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return p.opts, append(operands, args...), true
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
			if p.inOrder {
				return p.opts, append(operands, args...), true
			}
			continue
		case strings.HasPrefix(arg, "--"):
			args, ok = p.long(arg[2:], args)
		default:
			args, ok = p.cluster(arg[1:], args)
		}
		if !ok {
			return nil, nil, false
		}
	}
	return p.opts, operands, true
}

type optParser struct {
	c       *Ctx
	spec    Spec
	inOrder bool
	opts    *Opts
}

// takes tells whether b is an option and whether it has an argument.
func (p *optParser) takes(b byte) (known, arg bool) {
	i := strings.IndexByte(p.spec.Short, b)
	if i < 0 || b == ':' {
		return false, false
	}
	return true, strings.HasPrefix(p.spec.Short[i+1:], ":")
}

func (p *optParser) cluster(letters string, rest []string) ([]string, bool) {
	for len(letters) > 0 {
		b := letters[0]
		letters = letters[1:]
		known, arg := p.takes(b)
		if !known {
			p.c.Errorf("invalid option -- '%c'", b)
			return nil, false
		}
		p.opts.counts[b]++
		if !arg {
			continue
		}
		if letters == "" {
			if len(rest) == 0 {
				p.c.Errorf("option requires an argument -- '%c'", b)
				return nil, false
			}
			letters, rest = rest[0], rest[1:]
		}
		p.opts.values[b] = append(p.opts.values[b], letters)
		return rest, true
	}
	return rest, true
}

func (p *optParser) long(text string, rest []string) ([]string, bool) {
	name, value, hasValue := strings.Cut(text, "=")
	b, known := p.spec.Long[name]
	if !known {
		p.c.Errorf("unrecognized option '--%s'", name)
		return nil, false
	}
	if b == 0 {
		return rest, true
	}
	p.opts.counts[b]++
	if _, arg := p.takes(b); !arg {
		return rest, true
	}
	if !hasValue {
		if len(rest) == 0 {
			p.c.Errorf("option '--%s' requires an argument", name)
			return nil, false
		}
		value, rest = rest[0], rest[1:]
	}
	p.opts.values[b] = append(p.opts.values[b], value)
	return rest, true
}

// Number parses the number of an option or operand and reports what is none.
func (c *Ctx) Number(text string) (n int64, ok bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		c.Errorf("invalid number '%s'", text)
		return 0, false
	}
	return n, true
}

// Size parses a number with one of the suffixes c, w, b, k, K, kB, M, MB, G, T.
func (c *Ctx) Size(text string) (n int64, ok bool) {
	digits := strings.TrimRight(text, "cwbkKMGTB")
	factor, known := sizeFactor[text[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < 0 || (factor > 1 && n > (1<<62)/factor) {
		c.Errorf("invalid number '%s'", text)
		return 0, false
	}
	return n * factor, true
}

var sizeFactor = map[string]int64{
	"": 1, "c": 1, "w": 2, "b": 512, "k": 1 << 10, "K": 1 << 10, "kB": 1000,
	"M": 1 << 20, "MB": 1000_000, "G": 1 << 30, "GB": 1000_000_000, "T": 1 << 40,
}
