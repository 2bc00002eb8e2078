package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is an option bound to its place in Options.
type value struct {
	kind string               // what flags and messages call it
	form form                 // in a TOML file
	def  []string             // default, as set takes it
	set  func([]string) error // for all forms but list of exactly one string
	get  func() []string
}

// form is how a value is written in a TOML file.
type form int

const (
	formString form = iota
	formInteger
	formBoolean
	formList
)

func (f form) String() string {
	return [...]string{"a string in quotes", "a whole number", "true or false", "a list of strings"}[f]
}

func (v value) reset() {
	if err := v.set(v.def); err != nil {
		panic(fmt.Sprintf("config: default %q: %v", v.def, err)) // the table is wrong
	}
}

// setText sets it from a flag or an environment variable, where commas separate
// the items of a list.
func (v value) setText(s string) error {
	if v.form != formList {
		return v.set([]string{s})
	}
	items := []string{}
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return v.set(items)
}

// setTOML sets it from a decoded file.
func (v value) setTOML(x any) error {
	switch x := x.(type) {
	case string:
		if v.form == formString {
			return v.set([]string{x})
		}
	case int64:
		if v.form == formInteger {
			return v.set([]string{strconv.FormatInt(x, 10)})
		}
	case bool:
		if v.form == formBoolean {
			return v.set([]string{strconv.FormatBool(x)})
		}
	case []any:
		if items, ok := asStrings(x); ok && v.form == formList {
			return v.set(items)
		}
	}
	return fmt.Errorf("want %v", v.form)
}

func asStrings(list []any) ([]string, bool) {
	items := make([]string, len(list))
	for i, x := range list {
		s, ok := x.(string)
		if !ok {
			return nil, false
		}
		items[i] = s
	}
	return items, true
}

// text is the value as setText takes it.
func (v value) text() string { return strings.Join(v.get(), ",") }

// toml is the value as a file has it.
func (v value) toml() string {
	items := v.get()
	switch v.form {
	case formString:
		return quote(items[0])
	case formList:
		quoted := make([]string, len(items))
		for i, s := range items {
			quoted[i] = quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return items[0]
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// single makes a value of one string.
func single(kind string, f form, def string, set func(string) error, get func() string) value {
	return value{
		kind: kind, form: f, def: []string{def},
		set: func(s []string) error { return set(s[0]) },
		get: func() []string { return []string{get()} },
	}
}

func text(p *string, def string) value {
	return single("string", formString, def,
		func(s string) error { *p = s; return nil },
		func() string { return *p })
}

func path(p *string, def string) value {
	return single("path", formString, def,
		func(s string) error {
			clean, err := absolute(s)
			*p = clean
			return err
		},
		func() string { return *p })
}

func optionalPath(p *string) value {
	v := path(p, "")
	set := v.set
	v.set = func(s []string) error {
		if s[0] == "" {
			*p = ""
			return nil
		}
		return set(s)
	}
	return v
}

func absolute(s string) (string, error) {
	if !filepath.IsAbs(s) {
		return "", errors.New("want an absolute path")
	}
	if strings.ContainsAny(s, "\x00\n") {
		return "", errors.New("a path cannot have a line break")
	}
	return filepath.Clean(s), nil
}

func paths(p *[]string, def ...string) value {
	return value{
		kind: "paths", form: formList, def: def,
		set: func(items []string) error {
			out := []string{}
			for _, s := range items {
				clean, err := absolute(s)
				if err != nil {
					return fmt.Errorf("%q: %w", s, err)
				}
				out = append(out, clean)
			}
			*p = out
			return nil
		},
		get: func() []string { return *p },
	}
}

func names(p *[]string) value {
	return value{
		kind: "names", form: formList,
		set: func(items []string) error {
			*p = append([]string{}, items...)
			return nil
		},
		get: func() []string { return *p },
	}
}

func prefixes(p *[]netip.Prefix, def ...string) value {
	return value{
		kind: "subnets", form: formList, def: def,
		set: func(items []string) error {
			out := []netip.Prefix{}
			for _, s := range items {
				prefix, err := netip.ParsePrefix(s)
				if err != nil {
					return fmt.Errorf("%q is no subnet, such as 10.88.0.0/16", s)
				}
				out = append(out, prefix)
			}
			*p = out
			return nil
		},
		get: func() []string {
			out := make([]string, len(*p))
			for i, prefix := range *p {
				out[i] = prefix.String()
			}
			return out
		},
	}
}

func boolean(p *bool, def bool) value {
	return single("bool", formBoolean, strconv.FormatBool(def),
		func(s string) error {
			switch strings.ToLower(s) {
			case "true", "1", "yes", "on":
				*p = true
			case "false", "0", "no", "off":
				*p = false
			default:
				return errors.New("want true or false")
			}
			return nil
		},
		func() string { return strconv.FormatBool(*p) })
}

func integer(p *int, def, least, most int) value {
	return single("number", formInteger, strconv.Itoa(def),
		func(s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < least || n > most {
				return fmt.Errorf("want a whole number from %d to %d", least, most)
			}
			*p = n
			return nil
		},
		func() string { return strconv.Itoa(*p) })
}

func mode(p *fs.FileMode, def fs.FileMode) value {
	return single("mode", formString, fmt.Sprintf("%04o", def),
		func(s string) error {
			n, err := strconv.ParseUint(s, 8, 32)
			if err != nil || n > 0o777 {
				return errors.New("want octal permissions, such as 0660")
			}
			*p = fs.FileMode(n)
			return nil
		},
		func() string { return fmt.Sprintf("%04o", *p) })
}

func duration(p *time.Duration, def string) value {
	return single("duration", formString, def,
		func(s string) error {
			d, err := time.ParseDuration(s)
			if err != nil || d <= 0 {
				return errors.New("want a duration above zero, such as 30s or 10m")
			}
			*p = d
			return nil
		},
		func() string { return shortDuration(*p) })
}

// shortDuration leaves out units that are zero: 1m, not 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// units of a size, largest first.
var units = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func size(p *int64, def string) value {
	return single("size", formString, def,
		func(s string) error {
			n, err := parseSize(s)
			if err != nil {
				return err
			}
			*p = n
			return nil
		},
		func() string { return formatSize(*p) })
}

func parseSize(s string) (int64, error) {
	bad := errors.New("want a size above zero, such as 512MiB or 3GiB")
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n <= 0 || n > math.MaxInt64/u.size {
			return 0, bad
		}
		return n * u.size, nil
	}
	return 0, bad
}

func formatSize(n int64) string {
	for _, u := range units {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return "0B"
}

func enum(p *string, def string, allowed ...string) value {
	return single(strings.Join(allowed, "|"), formString, def,
		func(s string) error {
			if !slices.Contains(allowed, s) {
				return fmt.Errorf("want one of %s", strings.Join(allowed, ", "))
			}
			*p = s
			return nil
		},
		func() string { return *p })
}

func level(p *slog.Level) value {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	return single("debug|info|warn|error", formString, "info",
		func(s string) error {
			l, ok := levels[strings.ToLower(s)]
			if !ok {
				return errors.New("want debug, info, warn or error")
			}
			*p = l
			return nil
		},
		func() string { return strings.ToLower(p.String()) })
}

// listenAddress is an address, without a host on loopback, or a unix socket.
func listenAddress(p *string) value {
	tcp := address(p, "", true)
	return single("host:port or unix:///path", formString, "",
		func(s string) error {
			if path, ok := strings.CutPrefix(s, "unix://"); ok {
				if !filepath.IsAbs(path) || len(path) > maxSocketPath {
					return fmt.Errorf("want unix:// and an absolute path of at most %d bytes, such as unix:///run/cri-wasmer/metrics.sock", maxSocketPath)
				}
				*p = s
				return nil
			}
			return tcp.set([]string{s})
		},
		func() string { return *p })
}

// endpoint is a URL of HTTP.
func endpoint(p *string) value {
	return single("URL", formString, "",
		func(s string) error {
			u, err := url.Parse(s)
			if s != "" && (err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "") {
				return errors.New("want a URL, such as http://127.0.0.1:4318")
			}
			*p = s
			return nil
		},
		func() string { return *p })
}

func address(p *string, def string, optional bool) value {
	return single("host:port", formString, def,
		func(s string) error {
			if s == "" && optional {
				*p = ""
				return nil
			}
			host, port, err := net.SplitHostPort(s)
			if err != nil {
				return errors.New("want host:port, such as 127.0.0.1:0")
			}
			if n, err := strconv.ParseUint(port, 10, 16); err != nil {
				return fmt.Errorf("%q is no port number", port)
			} else if n == 0 && optional {
				return errors.New("want a port that others can know, not 0")
			}
			if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && host != "" {
				return fmt.Errorf("%q is no IP address", host)
			}
			*p = s
			return nil
		},
		func() string { return *p })
}
