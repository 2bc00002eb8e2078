package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

func date(c *applet.Ctx, args []string) int {
	o, operands, ok := c.OptsOf(args, applet.Spec{Short: "ud:r:RI", Long: map[string]byte{"utc": 'u', "date": 'd', "rfc-email": 'R', "iso-8601": 'I'}})
	if !ok || len(operands) > 1 {
		return c.Usage("[-uR] [-d TIME] [-r FILE] [+FORMAT]")
	}
	at, err := dateTime(c, o)
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	if o.Has('u') {
		at = at.UTC()
	}
	format := "%a %b %e %H:%M:%S %Z %Y"
	switch {
	case len(operands) == 1 && strings.HasPrefix(operands[0], "+"):
		format = operands[0][1:]
	case len(operands) == 1:
		return c.Errorf("can't set date: Function not implemented")
	case o.Has('R'):
		format = "%a, %d %b %Y %H:%M:%S %z"
	case o.Has('I'):
		format = "%Y-%m-%d"
	}
	c.Out.Println(strftime(format, at))
	return 0
}

func dateTime(c *applet.Ctx, o *applet.Opts) (time.Time, error) {
	if name := o.Value('r', ""); name != "" {
		info, err := os.Stat(c.Path(name))
		if err != nil {
			return time.Time{}, err
		}
		return info.ModTime(), nil
	}
	text := o.Value('d', "")
	switch {
	case text == "" || text == "now":
		return time.Now(), nil
	case strings.HasPrefix(text, "@"):
		seconds, err := strconv.ParseInt(text[1:], 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("invalid date '%s'", text)
		}
		return time.Unix(seconds, 0), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("invalid date '%s'", text)
}

var dateLayouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'd': "02", 'e': "_2", 'D': "01/02/06",
	'F': "2006-01-02", 'H': "15", 'I': "03", 'm': "01", 'M': "04", 'N': "000000000", 'p': "PM", 'R': "15:04",
	'r': "03:04:05 PM", 'S': "05", 'T': "15:04:05", 'X': "15:04:05", 'x': "01/02/06", 'y': "06", 'Y': "2006",
	'z': "-0700", 'Z': "MST", 'c': "Mon Jan _2 15:04:05 2006", 'j': "002",
}

// strftime formats as strftime(3) does.
func strftime(format string, at time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		switch letter := format[i]; letter {
		case 's':
			b.WriteString(strconv.FormatInt(at.Unix(), 10))
		case 'N':
			fmt.Fprintf(&b, "%09d", at.Nanosecond())
		case 'u':
			b.WriteString(strconv.Itoa((int(at.Weekday())+6)%7 + 1))
		case 'w':
			b.WriteString(strconv.Itoa(int(at.Weekday())))
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '%':
			b.WriteByte('%')
		default:
			if layout, ok := dateLayouts[letter]; ok {
				b.WriteString(at.Format(layout))
				continue
			}
			b.WriteString("%" + string(letter))
		}
	}
	return b.String()
}
