package text

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// span is a part of a line, counted from 1; to is 0 for "to the end".
type span struct{ from, to int }

func parseSpans(list string) ([]span, error) {
	var spans []span
	for part := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(part, "-")
		s := span{from: 1}
		var err1, err2 error
		if from != "" {
			s.from, err1 = strconv.Atoi(from)
		}
		s.to = s.from
		if ranged {
			s.to = 0
			if to != "" {
				s.to, err2 = strconv.Atoi(to)
			}
		}
		if errors.Join(err1, err2) != nil || s.from < 1 || part == "-" || part == "" {
			return nil, errors.New("invalid list '" + list + "'")
		}
		spans = append(spans, s)
	}
	return spans, nil
}

func holds(spans []span, n int) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return n >= s.from && (s.to == 0 || n <= s.to) })
}

func cut(c *applet.Ctx, args []string) int {
	o, operands, ok := c.OptsOf(args, applet.Spec{Short: "b:c:f:d:snO:", Long: map[string]byte{"output-delimiter": 'O', "delimiter": 'd', "fields": 'f'}})
	list := ""
	if ok {
		list = o.Value('f', o.Value('c', o.Value('b', "")))
	}
	if !ok || list == "" {
		return c.Usage("-b|-c|-f LIST [-d CHAR] [-s] [FILE]...")
	}
	spans, err := parseSpans(list)
	if err != nil {
		return c.Errorf("%s", err)
	}
	delim := o.Value('d', "\t")
	return c.EachInput(operands, func(_ string, r io.Reader) error {
		return eachLine(r, func(line []byte, _ bool) bool {
			if !o.Has('f') {
				c.Out.Println(pick(bytesOf(line, o.Has('c')), spans, ""))
				return true
			}
			if !bytes.Contains(line, []byte(delim)) {
				if !o.Has('s') {
					c.Out.Println(string(line))
				}
				return true
			}
			c.Out.Println(pick(strings.Split(string(line), delim), spans, o.Value('O', delim)))
			return true
		})
	})
}

func bytesOf(line []byte, chars bool) []string {
	parts := make([]string, 0, len(line))
	if chars {
		for _, r := range string(line) {
			parts = append(parts, string(r))
		}
		return parts
	}
	for i := range line {
		parts = append(parts, string(line[i:i+1]))
	}
	return parts
}

func pick(parts []string, spans []span, sep string) string {
	var picked []string
	for i, part := range parts {
		if holds(spans, i+1) {
			picked = append(picked, part)
		}
	}
	return strings.Join(picked, sep)
}

// sorter compares lines by the keys of sort.
type sorter struct {
	keys    []sortKey
	sep     string
	unique  bool
	stable  bool
	reverse bool
}

// sortKey is one -k, or the whole line.
type sortKey struct {
	from, to     int // fields from 1; to 0 is the end of the line
	fromC, toC   int // characters within the field; 0 is all
	numeric      bool
	human, fold  bool
	blanks       bool
	reverse      bool
	ownModifiers bool
}

func sortMain(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "bcfghik:no:rst:uVz")
	if !ok {
		return applet.ExitUsage
	}
	s := &sorter{sep: o.Value('t', ""), unique: o.Has('u'), stable: o.Has('s'), reverse: o.Has('r')}
	global := sortKey{from: 1, numeric: o.Any("ng"), human: o.Has('h'), fold: o.Has('f'), blanks: o.Has('b'), reverse: o.Has('r')}
	for _, text := range o.Values('k') {
		key, err := parseKey(text, global)
		if err != nil {
			return c.Errorf("%s", err)
		}
		s.keys = append(s.keys, key)
	}
	if len(s.keys) == 0 {
		s.keys = []sortKey{global}
	}
	var all []string
	code := c.EachInput(operands, func(_ string, r io.Reader) error {
		return eachLine(r, func(line []byte, _ bool) bool { all = append(all, string(line)); return true })
	})
	if o.Has('c') {
		return s.check(c, all)
	}
	slices.SortStableFunc(all, s.compare)
	if s.unique {
		all = slices.CompactFunc(all, func(a, b string) bool { return s.compareKeys(a, b) == 0 })
	}
	return max(code, writeAll(c, o.Value('o', ""), all))
}

func writeAll(c *applet.Ctx, name string, all []string) int {
	if name == "" {
		for _, line := range all {
			c.Out.Println(line)
		}
		return 0
	}
	text := strings.Join(all, "\n")
	if len(all) > 0 {
		text += "\n"
	}
	if err := os.WriteFile(c.Path(name), []byte(text), 0o666); err != nil {
		return c.Fail(name, err)
	}
	return 0
}

func (s *sorter) check(c *applet.Ctx, all []string) int {
	for i := 1; i < len(all); i++ {
		if n := s.compare(all[i-1], all[i]); n > 0 || n == 0 && s.unique {
			return c.Errorf("line %d is out of order: %s", i+1, all[i])
		}
	}
	return 0
}

func parseKey(text string, global sortKey) (sortKey, error) {
	key := sortKey{from: 1}
	from, to, ranged := strings.Cut(text, ",")
	err := key.position(from, &key.from, &key.fromC)
	if ranged {
		err = errors.Join(err, key.position(to, &key.to, &key.toC))
	}
	if err != nil || key.from < 1 {
		return key, errors.New("invalid key '" + text + "'")
	}
	if !key.ownModifiers {
		key.numeric, key.human, key.fold, key.blanks, key.reverse = global.numeric, global.human, global.fold, global.blanks, global.reverse
	}
	return key, nil
}

// position parses F[.C][modifiers].
func (k *sortKey) position(text string, field, char *int) error {
	digits := strings.TrimRight(text, "bdfghinrV")
	for _, m := range text[len(digits):] {
		k.ownModifiers = true
		switch m {
		case 'n', 'g':
			k.numeric = true
		case 'h':
			k.human = true
		case 'f':
			k.fold = true
		case 'b':
			k.blanks = true
		case 'r':
			k.reverse = true
		}
	}
	f, ch, dotted := strings.Cut(digits, ".")
	var err1, err2 error
	*field, err1 = strconv.Atoi(f)
	if dotted {
		*char, err2 = strconv.Atoi(ch)
	}
	return errors.Join(err1, err2)
}

func (s *sorter) compare(a, b string) int {
	if n := s.compareKeys(a, b); n != 0 || s.unique || s.stable {
		return n
	}
	n := strings.Compare(a, b)
	if s.reverse {
		n = -n
	}
	return n
}

func (s *sorter) compareKeys(a, b string) int {
	for _, k := range s.keys {
		n := k.compare(s.extract(a, k), s.extract(b, k))
		if k.reverse {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	return 0
}

func (k sortKey) compare(a, b string) int {
	switch {
	case k.human:
		return cmp.Compare(magnitude(a), magnitude(b))
	case k.numeric:
		return cmp.Compare(leadingNumber(a), leadingNumber(b))
	case k.fold:
		a, b = strings.ToUpper(a), strings.ToUpper(b)
	}
	if k.blanks {
		a, b = strings.TrimLeft(a, " \t"), strings.TrimLeft(b, " \t")
	}
	return strings.Compare(a, b)
}

// extract is the part of a line that a key names.
func (s *sorter) extract(line string, k sortKey) string {
	if k.from == 1 && k.to == 0 && k.fromC == 0 {
		return line
	}
	fields := s.split(line)
	if k.from > len(fields) {
		return ""
	}
	to := len(fields)
	if k.to > 0 {
		to = min(k.to, to)
	}
	if to < k.from {
		return ""
	}
	picked := slices.Clone(fields[k.from-1 : to])
	if k.toC > 0 && k.to <= len(fields) {
		end := &picked[len(picked)-1]
		*end = (*end)[:min(k.toC, len(*end))]
	}
	if k.fromC > 1 {
		picked[0] = picked[0][min(k.fromC-1, len(picked[0])):]
	}
	return strings.Join(picked, s.sep)
}

// split keeps the blanks in front of fields that blanks separate.
func (s *sorter) split(line string) []string {
	if s.sep != "" {
		return strings.Split(line, s.sep)
	}
	var fields []string
	for line != "" {
		start := len(line) - len(strings.TrimLeft(line, " \t"))
		end := strings.IndexAny(line[start:], " \t")
		if end < 0 {
			return append(fields, line)
		}
		fields = append(fields, line[:start+end])
		line = line[start+end:]
	}
	return fields
}

func leadingNumber(s string) float64 {
	s = strings.TrimLeft(s, " \t")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.' || end == 0 && s[end] == '-') {
		end++
	}
	n, _ := strconv.ParseFloat(s[:end], 64) // no number counts as 0
	return n
}

func magnitude(s string) float64 {
	s = strings.TrimSpace(s)
	n := leadingNumber(s)
	if i := strings.IndexAny(s, "KMGTPE"); i > 0 {
		for range strings.IndexByte("KMGTPE", s[i]) + 1 {
			n *= 1024
		}
	}
	return n
}

func uniq(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "cdui")
	if !ok || len(operands) > 2 {
		return c.Usage("[-cdui] [INPUT [OUTPUT]]")
	}
	var kept []string
	prev, n := "", 0
	emit := func() {
		if n == 0 || o.Has('d') && n < 2 || o.Has('u') && n > 1 {
			return
		}
		if o.Has('c') {
			kept = append(kept, strings.Repeat(" ", max(0, 7-len(strconv.Itoa(n))))+strconv.Itoa(n)+" "+prev)
			return
		}
		kept = append(kept, prev)
	}
	code := c.EachInput(operands[:min(1, len(operands))], func(_ string, r io.Reader) error {
		return eachLine(r, func(line []byte, _ bool) bool {
			text := string(line)
			if n > 0 && (text == prev || o.Has('i') && strings.EqualFold(text, prev)) {
				n++
				return true
			}
			emit()
			prev, n = text, 1
			return true
		})
	})
	emit()
	out := ""
	if len(operands) == 2 {
		out = operands[1]
	}
	return max(code, writeAll(c, out, kept))
}
