package shell

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// flag gives the option of a letter, or nil.
func (o *options) flag(letter byte) *bool {
	switch letter {
	case 'a':
		return &o.allexport
	case 'C':
		return &o.noclobber
	case 'e':
		return &o.errexit
	case 'f':
		return &o.noglob
	case 'n':
		return &o.noexec
	case 'u':
		return &o.nounset
	case 'v':
		return &o.verbose
	case 'x':
		return &o.xtrace
	}
	return nil
}

var optionNames = map[string]byte{
	"allexport": 'a', "noclobber": 'C', "errexit": 'e', "noglob": 'f', "noexec": 'n', "nounset": 'u',
	"verbose": 'v', "xtrace": 'x',
}

func (o *options) named(name string) *bool {
	if name == "pipefail" {
		return &o.pipefail
	}
	return o.flag(optionNames[name])
}

// letters is $-.
func (o *options) letters() string {
	set := ""
	for _, letter := range []byte("aCefnuvx") {
		if *o.flag(letter) {
			set += string(letter)
		}
	}
	return set
}

// setOptions takes the options of sh from the start of args.
func (s *shell) setOptions(args []string) (rest []string, ok bool) {
	for len(args) > 0 && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') {
		word := args[0]
		args = args[1:]
		if word == "--" {
			break
		}
		if strings.HasPrefix(word, "--") {
			continue // --login, --norc and their like
		}
		for _, letter := range []byte(word[1:]) {
			switch letter {
			case 'c':
				s.start.command = true
			case 's':
				s.start.stdin = true
			case 'i':
				s.start.interactive = true
			case 'l', 'm', 'b', 'h', 'B':
			case 'o':
				if args, ok = s.setNamed(args, word[0] == '-'); !ok {
					return nil, false
				}
			default:
				if !s.setFlag(letter, word[0] == '-') {
					return nil, false
				}
			}
		}
	}
	s.configure()
	return args, true
}

func (s *shell) setFlag(letter byte, on bool) bool {
	flag := s.opts.flag(letter)
	if flag == nil {
		s.errorf("Illegal option -%c", letter)
		return false
	}
	*flag = on
	return true
}

func (s *shell) setNamed(args []string, on bool) (rest []string, ok bool) {
	if len(args) == 0 {
		s.errorf("-o requires an argument")
		return nil, false
	}
	flag := s.opts.named(args[0])
	if flag == nil {
		s.errorf("Illegal option -o %s", args[0])
		return nil, false
	}
	*flag = on
	return args[1:], true
}

// setMain is the builtin set.
func (s *shell) setMain(args []string) int {
	if len(args) == 0 {
		for _, name := range slices.Sorted(maps.Keys(s.vars)) {
			if v := s.vars[name]; v.IsSet() {
				s.print(name + "=" + quote(v.String()))
			}
		}
		return 0
	}
	explicit := false
	for len(args) > 0 && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') && !explicit {
		word, on := args[0], args[0][0] == '-'
		args = args[1:]
		if explicit = word == "--"; explicit {
			break
		}
		for _, letter := range []byte(word[1:]) {
			if letter == 'o' {
				var ok bool
				if args, ok = s.setNamed(args, on); !ok {
					return bad
				}
				continue
			}
			if !s.setFlag(letter, on) {
				return bad
			}
		}
	}
	if len(args) > 0 || explicit {
		s.params = args
	}
	s.configure()
	return 0
}

// declare is export, readonly, local, declare and typeset.
func (s *shell) declare(cmd *syntax.DeclClause) {
	d := declaration{s: s, local: cmd.Variant.Value == "local"}
	switch cmd.Variant.Value {
	case "export":
		d.exported = true
	case "readonly":
		d.readonly = true
	case "declare", "typeset":
		d.local = len(s.frames) > 0
	}
	if d.local && len(s.frames) == 0 {
		s.status = s.fail(bad, "local: not in a function")
		return
	}
	s.substStatus = 0
	s.status = 0
	for _, a := range cmd.Args {
		if s.status = d.argument(a); s.status != 0 {
			return
		}
	}
	if d.list || len(cmd.Args) == 0 {
		d.show(cmd.Variant.Value)
	}
	s.status = s.substStatus
}

// declaration is one run of a declaring builtin.
type declaration struct {
	s                         *shell
	exported, readonly, local bool
	remove, list              bool
}

func (d *declaration) argument(a *syntax.Assign) int {
	if a.Name != nil {
		return d.assign(a)
	}
	words, err := expand.Fields(d.s.config, a.Value)
	if err != nil {
		d.s.expandFailed(err)
		return bad
	}
	for _, word := range words {
		if strings.HasPrefix(word, "-") {
			if !d.option(word) {
				return bad
			}
			continue
		}
		name, value, assigned := strings.Cut(word, "=")
		if !syntax.ValidName(name) {
			return d.s.fail(bad, "%s: bad variable name", name)
		}
		v := d.s.vars[name]
		if assigned {
			v = text(value)
		}
		if status := d.set(name, v, assigned); status != 0 {
			return status
		}
	}
	return 0
}

func (d *declaration) option(word string) bool {
	for _, letter := range word[1:] {
		switch letter {
		case 'x':
			d.exported = true
		case 'r':
			d.readonly = true
		case 'n':
			d.remove = true
		case 'p':
			d.list = true
		case 'a', 'g', 'i', 'f':
		default:
			d.s.errorf("Illegal option -%c", letter)
			return false
		}
	}
	return true
}

func (d *declaration) assign(a *syntax.Assign) int {
	name := a.Name.Value
	if a.Naked {
		return d.set(name, d.s.vars[name], false)
	}
	v, err := d.s.value(a)
	if err != nil {
		d.s.expandFailed(err)
		return bad
	}
	return d.set(name, v, true)
}

func (d *declaration) set(name string, v expand.Variable, assigned bool) int {
	s := d.s
	if d.local {
		hidden := s.frames[len(s.frames)-1].hidden
		if _, already := hidden[name]; !already {
			hidden[name] = s.vars[name]
			if !assigned {
				v = expand.Variable{}
			}
		}
	}
	if assigned {
		if err := s.set(name, v); err != nil {
			s.errorf("%s", err)
			if !s.interactive {
				s.exit(bad)
			}
			return bad
		}
		v = s.vars[name]
	}
	v.Exported = (v.Exported || d.exported) && !d.remove
	v.ReadOnly = v.ReadOnly || d.readonly
	if v.Declared() {
		s.vars[name] = v
	} else {
		delete(s.vars, name)
	}
	return 0
}

func (d *declaration) show(command string) {
	for _, name := range slices.Sorted(maps.Keys(d.s.vars)) {
		v := d.s.vars[name]
		if d.exported && !v.Exported || d.readonly && !v.ReadOnly || !v.IsSet() {
			continue
		}
		d.s.print(fmt.Sprintf("%s %s=%s", command, name, quote(v.String())))
	}
}
