package shell

import (
	"strconv"
	"strings"
)

func (s *shell) getopts(args []string) int {
	if len(args) < 2 {
		return s.fail(bad, "getopts: usage: getopts OPTIONS NAME [ARG]...")
	}
	spec, name, params := args[0], args[1], s.params
	if len(args) > 2 {
		params = args[2:]
	}
	g := getter{s: s, spec: spec, name: name, silent: strings.HasPrefix(spec, ":")}
	return g.next(params)
}

// getter is one call of getopts. OPTIND is the next argument; within a cluster
// OPTPOS, an own variable, is the next letter.
type getter struct {
	s          *shell
	spec, name string
	silent     bool
}

func (g getter) next(params []string) int {
	index, err := strconv.Atoi(g.s.get("OPTIND"))
	if err != nil || index < 1 {
		index = 1
	}
	at, _ := strconv.Atoi(g.s.get("OPTPOS")) // unset is 0
	if index > len(params) || len(params[index-1]) < 2 || params[index-1][0] != '-' || params[index-1] == "--" {
		if index <= len(params) && params[index-1] == "--" {
			index++
		}
		return g.finish("?", "", index, 0, 1)
	}
	word := params[index-1]
	if at < 1 || at >= len(word) {
		at = 1
	}
	letter := string(word[at])
	next, rest := at+1, word[at+1:]
	if rest == "" {
		index, next = index+1, 0
	}
	i := strings.Index(g.spec, letter)
	if i < 0 || letter == ":" {
		if g.silent {
			return g.finish("?", letter, index, next, 0)
		}
		g.s.errorf("Illegal option -%s", letter)
		return g.finish("?", "", index, next, 0)
	}
	if !strings.HasPrefix(g.spec[i+1:], ":") {
		return g.finish(letter, "", index, next, 0)
	}
	if rest != "" {
		return g.finish(letter, rest, index+1, 0, 0)
	}
	if index <= len(params) {
		return g.finish(letter, params[index-1], index+1, 0, 0)
	}
	if g.silent {
		return g.finish(":", letter, index, 0, 0)
	}
	g.s.errorf("No arg for -%s option", letter)
	return g.finish("?", "", index, 0, 0)
}

func (g getter) finish(value, arg string, index, at, status int) int {
	for _, v := range []struct{ name, value string }{
		{g.name, value}, {"OPTARG", arg}, {"OPTIND", strconv.Itoa(index)}, {"OPTPOS", strconv.Itoa(at)},
	} {
		if err := g.s.setText(v.name, v.value); err != nil {
			return g.s.fail(bad, "getopts: %s", err)
		}
	}
	return status
}
