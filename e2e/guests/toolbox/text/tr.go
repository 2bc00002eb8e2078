package text

import (
	"bufio"
	"io"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// tr works on bytes.
func tr(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "+cCds")
	sets := 2
	if ok && (o.Has('d') != o.Has('s')) && len(operands) == 1 {
		sets = 1
	}
	if !ok || len(operands) != sets {
		return c.Usage("[-cds] SET1 [SET2]")
	}
	from := byteSet(operands[0])
	if o.Any("cC") {
		from = complement(from)
	}
	var to []byte
	if sets == 2 {
		to = byteSet(operands[1])
	}
	t := newTranslation(from, to, o.Has('d'), o.Has('s'))
	in := bufio.NewReaderSize(c.In, 32<<10)
	for {
		if in.Buffered() == 0 {
			c.Out.Flush()
		}
		b, err := in.ReadByte()
		if err == io.EOF {
			return 0
		}
		if err != nil {
			return c.Errorf("%s", applet.Strerror(err))
		}
		t.put(c.Out, b)
	}
}

// translation says what becomes of every byte.
type translation struct {
	become  [256]byte
	drop    [256]bool
	squeeze [256]bool
	last    int // the last byte written, or -1
}

func newTranslation(from, to []byte, drop, squeeze bool) *translation {
	t := &translation{last: -1}
	for i := range t.become {
		t.become[i] = byte(i)
	}
	for i, b := range from {
		switch {
		case drop:
			t.drop[b] = true
		case len(to) > 0:
			t.become[b] = to[min(i, len(to)-1)]
		}
	}
	if squeeze {
		set := to
		if len(to) == 0 {
			set = from
		}
		for _, b := range set {
			t.squeeze[b] = true
		}
	}
	return t
}

func (t *translation) put(w *applet.Output, b byte) {
	if t.drop[b] {
		return
	}
	b = t.become[b]
	if t.squeeze[b] && t.last == int(b) {
		return
	}
	t.last = int(b)
	w.WriteByte(b)
}

func complement(set []byte) []byte {
	var in [256]bool
	for _, b := range set {
		in[b] = true
	}
	var rest []byte
	for i, is := range in {
		if !is {
			rest = append(rest, byte(i))
		}
	}
	return rest
}

// byteSet expands ranges, classes and escapes.
func byteSet(text string) []byte {
	var set []byte
	for i := 0; i < len(text); i++ {
		if strings.HasPrefix(text[i:], "[:") {
			if end := strings.Index(text[i:], ":]"); end > 0 {
				set = append(set, byteClass(text[i+2:i+end])...)
				i += end + 1
				continue
			}
		}
		b, n := setByte(text[i:])
		i += n - 1
		if i+2 < len(text) && text[i+1] == '-' {
			high, n := setByte(text[i+2:])
			for v := int(b); v <= int(high); v++ {
				set = append(set, byte(v))
			}
			i += 1 + n
			continue
		}
		set = append(set, b)
	}
	return set
}

// setByte reads one byte, perhaps escaped, and gives how long it is written.
func setByte(text string) (b byte, n int) {
	if text[0] != '\\' || len(text) == 1 {
		return text[0], 1
	}
	if i := strings.IndexByte("ntrabfv\\", text[1]); i >= 0 {
		return "\n\t\r\a\b\f\v\\"[i], 2
	}
	v, n := 0, 1
	for n < len(text) && n < 4 && text[n] >= '0' && text[n] <= '7' {
		v, n = v*8+int(text[n]-'0'), n+1
	}
	if n > 1 {
		return byte(v), n
	}
	return text[1], 2
}

func byteClass(name string) []byte {
	var set []byte
	for i := range 256 {
		if inClass(name, byte(i)) {
			set = append(set, byte(i))
		}
	}
	return set
}

func inClass(name string, b byte) bool {
	upper, lower, digit := b >= 'A' && b <= 'Z', b >= 'a' && b <= 'z', b >= '0' && b <= '9'
	switch name {
	case "upper":
		return upper
	case "lower":
		return lower
	case "alpha":
		return upper || lower
	case "digit":
		return digit
	case "alnum":
		return upper || lower || digit
	case "space":
		return b == ' ' || b >= '\t' && b <= '\r'
	case "blank":
		return b == ' ' || b == '\t'
	case "punct":
		return b > ' ' && b < 0x7f && !upper && !lower && !digit
	case "print":
		return b >= ' ' && b < 0x7f
	case "graph":
		return b > ' ' && b < 0x7f
	case "cntrl":
		return b < ' ' || b == 0x7f
	case "xdigit":
		return digit || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
	}
	return false
}
