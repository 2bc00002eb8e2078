package seccomp

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// decide is the meaning of a policy, written as plainly as possible.
func (p *policy) decide(c call) action {
	if c.arch != uint32(p.arch.ID) {
		return killProcess
	}
	if p.arch.Name == "x86_64" && c.number >= x32Bit {
		return fail(uint32(unix.ENOSYS))
	}
	for _, r := range p.byNumber[c.number] {
		fits := true
		for _, cond := range r.conditions {
			fits = fits && cond.holds(c.args[cond.arg])
		}
		if fits {
			return r.action
		}
	}
	return p.otherwise
}

func (c condition) holds(arg uint64) bool {
	switch c.op {
	case equal:
		return arg == c.value
	case notEqual:
		return arg != c.value
	case less:
		return arg < c.value
	case lessOrEqual:
		return arg <= c.value
	case greater:
		return arg > c.value
	case greaterOrEqual:
		return arg >= c.value
	}
	return arg&c.mask == c.value
}

// interesting values lie around the places where comparisons of halves go wrong.
func interesting(r *rand.Rand) uint64 {
	half := []uint64{0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff}
	return half[r.IntN(len(half))]<<32 | half[r.IntN(len(half))]
}

func randomPolicy(t *testing.T, r *rand.Rand) *policy {
	actions := []action{allow, killProcess, fail(1), fail(38), logAndAllow}
	p, err := newPolicy(actions[r.IntN(len(actions))])
	if err != nil {
		t.Fatal(err)
	}
	for range r.IntN(300) {
		var rules []rule
		for range 1 + r.IntN(3) {
			rl := rule{action: actions[r.IntN(len(actions))]}
			for range r.IntN(4) * r.IntN(2) {
				c := condition{arg: uint(r.IntN(6)), op: op(r.IntN(7)), value: interesting(r)}
				if c.op == maskedEqual {
					c.mask = interesting(r)
					c.value &= c.mask
				}
				rl.conditions = append(rl.conditions, c)
			}
			rules = append(rules, rl)
		}
		p.byNumber[uint32(r.IntN(500))] = rules
	}
	return p
}

func TestProgramsDoWhatThePolicySays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		p := randomPolicy(t, r)
		program, err := p.compile()
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSimulator(program)
		if err != nil {
			t.Fatal(err)
		}
		for nr := range uint32(520) {
			for range 4 {
				c := call{arch: uint32(p.arch.ID), number: nr}
				for i := range c.args {
					c.args[i] = interesting(r)
				}
				got, err := s.run(c)
				if err != nil {
					t.Fatal(err)
				}
				if want := p.decide(c); got != want {
					t.Fatalf("%+v: got %#x, want %#x", c, got, want)
				}
			}
		}
	}
}

func TestConditionsOn64Bits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for o := equal; o <= maskedEqual; o++ {
		for range 400 {
			p, err := newPolicy(fail(1))
			if err != nil {
				t.Fatal(err)
			}
			c := condition{arg: uint(r.IntN(6)), op: o, value: interesting(r), mask: interesting(r)}
			p.byNumber[7] = []rule{{action: allow, conditions: []condition{c}}}
			program, err := p.compile()
			if err != nil {
				t.Fatal(err)
			}
			s, err := newSimulator(program)
			if err != nil {
				t.Fatal(err)
			}
			sys := call{arch: uint32(p.arch.ID), number: 7}
			sys.args[c.arg] = interesting(r)
			if r.IntN(3) == 0 {
				sys.args[c.arg] = c.value
			}
			got, err := s.run(sys)
			if err != nil {
				t.Fatal(err)
			}
			if want := p.decide(sys); got != want {
				t.Fatalf("%+v of %#x: got %#x, want %#x", c, sys.args[c.arg], got, want)
			}
		}
	}
}

func TestTooManyConditionsAreRefused(t *testing.T) {
	p, err := newPolicy(allow)
	if err != nil {
		t.Fatal(err)
	}
	for nr := range uint32(400) {
		for v := range uint64(4) {
			p.byNumber[nr] = append(p.byNumber[nr], rule{action: fail(1), conditions: []condition{{value: v}}})
		}
	}
	if _, err := p.compile(); err == nil {
		t.Error("got a program that no kernel takes")
	}
}
