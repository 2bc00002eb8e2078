package text

import (
	"errors"
	"regexp"
	"strings"
)

// syntax is the language of a pattern.
type syntax int

const (
	basic    syntax = iota // POSIX basic, with the usual \+ \? \|
	extended               // POSIX extended
	fixed                  // no operators
)

// compile makes a Go regular expression from a POSIX one.
func compile(pattern string, s syntax, fold bool) (*regexp.Regexp, error) {
	var err error
	switch s {
	case fixed:
		pattern = regexp.QuoteMeta(pattern)
	default:
		pattern, err = translate(pattern, s == basic)
	}
	if err != nil {
		return nil, err
	}
	flags := "(?s)"
	if fold {
		flags = "(?si)"
	}
	re, err := regexp.Compile(flags + pattern)
	if err != nil {
		return nil, errors.New("bad regular expression '" + pattern + "'")
	}
	return re, nil
}

// translate writes a POSIX expression in Go's syntax. In a basic one operators
// have the backslash and the plain characters are literal.
func translate(p string, isBasic bool) (string, error) {
	var b strings.Builder
	start := true // where a star is literal
	for i := 0; i < len(p); i++ {
		ch := p[i]
		wasStart := start
		start = false
		switch {
		case ch == '[':
			end := bracketEnd(p, i)
			if end < 0 {
				return "", errors.New("unmatched [")
			}
			b.WriteString(bracket(p[i:end]))
			i = end - 1
		case ch == '\\' && i+1 < len(p):
			i++
			text, err := escape(p[i], isBasic)
			if err != nil {
				return "", err
			}
			b.WriteString(text)
			start = isBasic && (p[i] == '(' || p[i] == '|')
		case ch == '\\':
			return "", errors.New("trailing backslash")
		case isBasic && strings.IndexByte("(){}|+?", ch) >= 0, isBasic && ch == '*' && wasStart:
			b.WriteByte('\\')
			b.WriteByte(ch)
		case isBasic && ch == '^' && !wasStart, isBasic && ch == '$' && !atEnd(p[i+1:]):
			b.WriteByte('\\')
			b.WriteByte(ch)
		default:
			b.WriteByte(ch)
			start = ch == '^' && wasStart
		}
	}
	return b.String(), nil
}

func atEnd(rest string) bool {
	return rest == "" || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`)
}

// escape is what a backslash and ch mean.
func escape(ch byte, isBasic bool) (string, error) {
	switch {
	case ch >= '1' && ch <= '9':
		return "", errors.New("back references are not supported")
	case ch == '<' || ch == '>' || ch == 'b':
		return `\b`, nil
	case strings.IndexByte("wWsSBntrfv", ch) >= 0:
		return `\` + string(ch), nil
	case isBasic && strings.IndexByte("(){}|+?", ch) >= 0:
		return string(ch), nil
	}
	return regexp.QuoteMeta(string(ch)), nil
}

// bracketEnd gives the index after the "]" of the expression at p[i], or -1.
func bracketEnd(p string, i int) int {
	j := i + 1
	if j < len(p) && p[j] == '^' {
		j++
	}
	if j < len(p) && p[j] == ']' {
		j++
	}
	for j < len(p) && p[j] != ']' {
		if p[j] == '[' && j+1 < len(p) && strings.IndexByte(":.=", p[j+1]) >= 0 {
			if k := strings.Index(p[j+2:], string(p[j+1])+"]"); k >= 0 {
				j += 2 + k + 1
			}
		}
		j++
	}
	if j >= len(p) {
		return -1
	}
	return j + 1
}

// bracket writes a bracket expression, where POSIX takes a backslash literally.
func bracket(p string) string {
	body := strings.ReplaceAll(p[1:len(p)-1], `\`, `\\`)
	negated := strings.HasPrefix(body, "^")
	body = strings.TrimPrefix(body, "^")
	if strings.HasPrefix(body, "]") {
		body = `\]` + body[1:]
	}
	var b strings.Builder
	b.WriteByte('[')
	if negated {
		b.WriteByte('^')
	}
	for i := 0; i < len(body); i++ {
		if body[i] == '[' && !strings.HasPrefix(body[i:], "[:") {
			b.WriteByte('\\')
		}
		b.WriteByte(body[i])
	}
	b.WriteByte(']')
	return b.String()
}
