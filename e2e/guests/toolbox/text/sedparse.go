package text

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// sedParser reads a script from its start.
type sedParser struct {
	rest   string
	syntax syntax
}

// commands reads up to the end of the script, or of the block.
func (p *sedParser) commands(inBlock bool) ([]*sedCommand, error) {
	var all []*sedCommand
	for {
		p.rest = strings.TrimLeft(p.rest, " \t\n;")
		switch {
		case p.rest == "" && inBlock:
			return nil, errors.New("unmatched {")
		case p.rest == "":
			return all, nil
		case p.rest[0] == '}' && !inBlock:
			return nil, errors.New("unexpected }")
		case p.rest[0] == '}':
			p.rest = p.rest[1:]
			return all, nil
		case p.rest[0] == '#':
			_, p.rest, _ = strings.Cut(p.rest, "\n")
			continue
		}
		cmd, err := p.command()
		if err != nil {
			return nil, err
		}
		all = append(all, cmd)
	}
}

func (p *sedParser) command() (*sedCommand, error) {
	cmd := &sedCommand{}
	if err := p.addresses(cmd); err != nil {
		return nil, err
	}
	p.blanks()
	for strings.HasPrefix(p.rest, "!") {
		cmd.negate, p.rest = true, strings.TrimLeft(p.rest[1:], " \t")
	}
	if p.rest == "" {
		return nil, errors.New("missing command")
	}
	cmd.name, p.rest = p.rest[0], p.rest[1:]
	return cmd, p.arguments(cmd)
}

func (p *sedParser) arguments(cmd *sedCommand) (err error) {
	switch cmd.name {
	case '{':
		cmd.block, err = p.commands(true)
		return err
	case 's':
		return p.substitution(cmd)
	case 'y':
		return p.transliteration(cmd)
	case 'a', 'i', 'c':
		p.text(cmd)
		return nil
	case 'r':
		cmd.text, p.rest, _ = strings.Cut(strings.TrimLeft(p.rest, " \t"), "\n")
		return nil
	case 'q', 'Q':
		p.blanks()
		digits := len(p.rest) - len(strings.TrimLeft(p.rest, "0123456789"))
		cmd.text, p.rest = p.rest[:digits], p.rest[digits:]
		return p.end()
	case 'p', 'P', 'd', '=', 'n', 'N', 'h', 'H', 'g', 'G', 'x':
		return p.end()
	}
	return fmt.Errorf("unsupported command %c", cmd.name)
}

func (p *sedParser) blanks() { p.rest = strings.TrimLeft(p.rest, " \t") }

// end checks that nothing but the end of a command follows.
func (p *sedParser) end() error {
	p.blanks()
	if p.rest == "" || strings.IndexByte("\n;}#", p.rest[0]) >= 0 {
		return nil
	}
	return errors.New("extra characters after command")
}

func (p *sedParser) addresses(cmd *sedCommand) (err error) {
	if cmd.from, err = p.address(); err != nil || cmd.from == nil {
		return err
	}
	p.blanks()
	if !strings.HasPrefix(p.rest, ",") {
		return nil
	}
	p.rest = strings.TrimLeft(p.rest[1:], " \t")
	if cmd.to, err = p.address(); err == nil && cmd.to == nil {
		err = errors.New("unexpected ,")
	}
	return err
}

func (p *sedParser) address() (*sedAddress, error) {
	switch {
	case p.rest == "":
		return nil, nil
	case p.rest[0] == '$':
		p.rest = p.rest[1:]
		return &sedAddress{last: true}, nil
	case p.rest[0] >= '0' && p.rest[0] <= '9':
		digits := len(p.rest) - len(strings.TrimLeft(p.rest, "0123456789"))
		n, err := strconv.Atoi(p.rest[:digits])
		p.rest = p.rest[digits:]
		return &sedAddress{line: n}, err
	case p.rest[0] == '/' || p.rest[0] == '\\' && len(p.rest) > 1:
		p.rest = strings.TrimPrefix(p.rest, `\`)
		pattern, err := p.delimited(p.rest[0], 1)
		if err != nil {
			return nil, err
		}
		fold := strings.HasPrefix(p.rest, "I")
		p.rest = strings.TrimPrefix(p.rest, "I")
		re, err := compile(pattern, p.syntax, fold)
		return &sedAddress{re: re}, err
	}
	return nil, nil
}

// delimited reads up to delim, from skip on. An escaped delimiter is the plain
// character; a bracket expression hides it.
func (p *sedParser) delimited(delim byte, skip int) (string, error) {
	var b strings.Builder
	for i := skip; i < len(p.rest); i++ {
		ch := p.rest[i]
		switch {
		case ch == delim:
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case ch == '\\' && i+1 < len(p.rest):
			i++
			if p.rest[i] != delim {
				b.WriteByte('\\')
			}
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(ch)
		}
	}
	return "", fmt.Errorf("missing %c", delim)
}

func (p *sedParser) substitution(cmd *sedCommand) error {
	if p.rest == "" {
		return errors.New("missing pattern")
	}
	delim := p.rest[0]
	pattern, err := p.delimited(delim, 1)
	if err != nil {
		return err
	}
	if cmd.with, err = p.delimited(delim, 0); err != nil {
		return err
	}
	fold := false
	for cmd.nth = 1; p.rest != ""; p.rest = p.rest[1:] {
		switch ch := p.rest[0]; {
		case ch == 'g':
			cmd.global = true
		case ch == 'p':
			cmd.print = true
		case ch == 'i' || ch == 'I':
			fold = true
		case ch >= '1' && ch <= '9':
			cmd.nth = int(ch - '0')
		default:
			cmd.re, err = compile(pattern, p.syntax, fold)
			return errors.Join(err, p.end())
		}
	}
	cmd.re, err = compile(pattern, p.syntax, fold)
	return err
}

func (p *sedParser) transliteration(cmd *sedCommand) (err error) {
	if p.rest == "" {
		return errors.New("missing string")
	}
	delim := p.rest[0]
	if cmd.text, err = p.delimited(delim, 1); err != nil {
		return err
	}
	if cmd.toBytes, err = p.delimited(delim, 0); err != nil {
		return err
	}
	if len(cmd.text) != len(cmd.toBytes) {
		return errors.New("strings for y have different lengths")
	}
	return p.end()
}

// text reads what a, i and c write: the rest of the line, or in the old form
// the next one; a backslash at the end of a line goes on to the next.
func (p *sedParser) text(cmd *sedCommand) {
	p.blanks()
	p.rest = strings.TrimPrefix(p.rest, `\`)
	p.rest = strings.TrimPrefix(p.rest, "\n")
	var b strings.Builder
	for {
		line, rest, more := strings.Cut(p.rest, "\n")
		p.rest = rest
		if stem, ok := strings.CutSuffix(line, `\`); ok && more {
			b.WriteString(stem + "\n")
			continue
		}
		b.WriteString(line)
		break
	}
	cmd.text = b.String()
}
