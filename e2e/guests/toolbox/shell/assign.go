package shell

import (
	"fmt"
	"maps"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

func (s *shell) restore(hidden map[string]expand.Variable) {
	for name, v := range hidden {
		if v.Declared() || v.IsSet() {
			s.vars[name] = v
		} else {
			delete(s.vars, name)
		}
	}
}

// withAssigned runs f with assignments that end with it.
func (s *shell) withAssigned(assigns []*syntax.Assign, f func()) {
	if len(assigns) == 0 {
		f()
		return
	}
	before := maps.Clone(s.vars)
	if !s.assign(assigns) {
		return
	}
	hidden := map[string]expand.Variable{}
	for _, a := range assigns {
		name := a.Name.Value
		hidden[name] = before[name]
		v := s.vars[name]
		v.Exported = true
		s.vars[name] = v
	}
	f()
	s.restore(hidden)
}

// assign makes assignments in order. It gives false when one failed.
func (s *shell) assign(assigns []*syntax.Assign) bool {
	for _, a := range assigns {
		v, err := s.value(a)
		if err == nil {
			err = s.set(a.Name.Value, v)
		}
		if err != nil {
			s.expandFailed(err)
			return false
		}
		if s.opts.xtrace {
			fmt.Fprintf(s.stderr(), "+ %s=%s\n", a.Name.Value, v.String())
		}
	}
	return true
}

// value is the variable that an assignment makes.
func (s *shell) value(a *syntax.Assign) (expand.Variable, error) {
	old := s.vars[a.Name.Value]
	switch {
	case a.Array != nil:
		return s.array(a, old)
	case a.Index != nil:
		return s.element(a, old)
	}
	v := text("")
	if a.Value != nil {
		str, err := expand.Literal(s.config, a.Value)
		if err != nil {
			return v, err
		}
		v.Str = str
	}
	if a.Append {
		v.Str = old.String() + v.Str
	}
	return v, nil
}

func (s *shell) array(a *syntax.Assign, old expand.Variable) (expand.Variable, error) {
	v := expand.Variable{Set: true, Kind: expand.Indexed}
	if a.Append {
		v.List = append(v.List, old.List...)
	}
	for _, e := range a.Array.Elems {
		if e.Index != nil {
			return v, fmt.Errorf("%s: indexes in a list are not supported", a.Name.Value)
		}
		words, err := expand.Fields(s.config, e.Value)
		if err != nil {
			return v, err
		}
		v.List = append(v.List, words...)
	}
	return v, nil
}

func (s *shell) element(a *syntax.Assign, old expand.Variable) (expand.Variable, error) {
	i, err := expand.Arithm(s.config, a.Index)
	if err != nil {
		return old, err
	}
	if i < 0 || i > 1<<20 {
		return old, fmt.Errorf("%s: bad index", a.Name.Value)
	}
	str, err := expand.Literal(s.config, a.Value)
	if err != nil {
		return old, err
	}
	v := expand.Variable{Set: true, Kind: expand.Indexed, List: append([]string{}, old.List...)}
	if old.Kind == expand.String {
		v.List = []string{old.Str}
	}
	for len(v.List) <= i {
		v.List = append(v.List, "")
	}
	if a.Append {
		str = v.List[i] + str
	}
	v.List[i] = str
	return v, nil
}
