package config

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// loadFile sets what one file has. Keys that no option has are errors that name
// the line and the nearest key that there is.
func (c *Config) loadFile(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return syntaxError(file, err)
	}
	c.Files = append(c.Files, file)
	lines := keyLines(data)
	found := flatten("", tree)
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool { return lines[names[i]] < lines[names[j]] })
	var errs []error
	for _, name := range names {
		errs = append(errs, c.setFromFile(name, found[name], fmt.Sprintf("%s:%d", file, lines[name])))
	}
	return errors.Join(errs...)
}

func (c *Config) setFromFile(name string, val any, source string) error {
	for _, opt := range table {
		if opt.Name() == name {
			return c.set(opt, source, fmt.Sprint(val), opt.value(&c.Options).setTOML(val))
		}
	}
	return &Error{Option: name, Source: source, Err: unknown(name)}
}

func unknown(name string) error {
	for _, opt := range table {
		if opt.Section == name {
			return fmt.Errorf("[%s] is a section, not an option", name)
		}
	}
	if near := nearest(name); near != "" {
		return fmt.Errorf("there is no such option; did you mean %s?", near)
	}
	return errors.New("there is no such option; `cri-wasmer config default` lists them")
}

func syntaxError(file string, err error) error {
	var de *toml.DecodeError
	if errors.As(err, &de) {
		row, column := de.Position()
		return fmt.Errorf("%s:%d:%d: not TOML: %w", file, row, column, err)
	}
	return fmt.Errorf("%s: not TOML: %w", file, err)
}

// flatten gives each leaf its full key. An empty table has no options, so it
// cannot be wrong, unless no section has its name.
func flatten(prefix string, tree map[string]any) map[string]any {
	out := make(map[string]any)
	for k, v := range tree {
		name := prefix + k
		sub, ok := v.(map[string]any)
		if !ok || len(sub) == 0 && !isSection(name) {
			out[name] = v
			continue
		}
		for n, x := range flatten(name+".", sub) {
			out[n] = x
		}
	}
	return out
}

func isSection(name string) bool {
	for _, opt := range table {
		if opt.Section == name {
			return true
		}
	}
	return false
}

// keyLines finds the line of each key, and of each table, of a valid document.
func keyLines(data []byte) map[string]int {
	lines := make(map[string]int)
	p := &unstable.Parser{}
	p.Reset(data)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			name, line := dotted(p, e.Key())
			lines[name], table = line, name+"."
		case unstable.KeyValue:
			noteLines(p, e, table, lines)
		}
	}
	return lines
}

// noteLines notes the line of a key and, in an inline table, of those in it.
func noteLines(p *unstable.Parser, kv *unstable.Node, prefix string, lines map[string]int) {
	key, line := dotted(p, kv.Key())
	lines[prefix+key] = line
	if v := kv.Value(); v.Kind == unstable.InlineTable {
		for it := v.Children(); it.Next(); {
			noteLines(p, it.Node(), prefix+key+".", lines)
		}
	}
}

// dotted joins a key and finds its line.
func dotted(p *unstable.Parser, it unstable.Iterator) (name string, line int) {
	var parts []string
	for it.Next() {
		n := it.Node()
		parts = append(parts, string(n.Data))
		if line == 0 {
			line = p.Shape(n.Raw).Start.Line
		}
	}
	return strings.Join(parts, "."), line
}

// nearest finds the option whose name, or whose key in another section, is most
// like name; empty when none is.
func nearest(name string) string {
	key := name[strings.LastIndex(name, ".")+1:]
	best, least := "", 4 // more than three edits apart is something else
	for _, opt := range table {
		d := min(distance(name, opt.Name()), distance(key, opt.Key)+1)
		if d < least && d < len(name) {
			best, least = opt.Name(), d
		}
	}
	return best
}

// distance counts the characters to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
