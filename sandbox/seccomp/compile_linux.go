package seccomp

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data. Both architectures that we build for are
// little endian.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// x32Bit marks numbers of the x32 ABI, which amd64 kernels may have.
const x32Bit = 0x40000000

// maxProgram is the kernel's BPF_MAXINSNS.
const maxProgram = 4096

// span is a range of numbers, from first to that of the next span, with the
// same rules.
type span struct {
	first uint32
	rules []rule // ends with one that has no conditions
}

// compile turns the policy into struct sock_filter values.
func (p *policy) compile() ([]byte, error) {
	var g generator
	g.tree(p.spans())
	g.emit(bpf.LoadAbsolute{Off: offNumber, Size: 4})
	g.emit(bpf.RetConstant{Val: uint32(killProcess)})
	g.emit(bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(p.arch.ID), SkipTrue: 1})
	g.emit(bpf.LoadAbsolute{Off: offArch, Size: 4})
	slices.Reverse(g.code)
	code := g.code
	if len(code) > maxProgram {
		return nil, fmt.Errorf("seccomp: the program has %d instructions, the kernel takes %d: the profile has too many conditions", len(code), maxProgram)
	}
	return encode(code)
}

// spans covers all numbers. Neighbours that behave alike are one.
func (p *policy) spans() []span {
	var all []span
	put := func(first uint32, rules []rule) {
		if n := len(all); n > 0 && sameSimple(all[n-1].rules, rules) {
			return
		}
		all = append(all, span{first, rules})
	}
	other := []rule{{action: p.otherwise}}
	next := uint32(0)
	for _, nr := range slices.Sorted(maps.Keys(p.byNumber)) {
		if nr > next {
			put(next, other)
		}
		put(nr, p.complete(p.byNumber[nr]))
		next = nr + 1
	}
	put(next, other)
	if p.arch.Name == "x86_64" {
		put(x32Bit, []rule{{action: fail(uint32(unix.ENOSYS))}})
	}
	return all
}

// complete makes rules end with one without conditions. What comes after that
// one is never reached, and if all before it say the same, it is enough.
func (p *policy) complete(rules []rule) []rule {
	rules = append(slices.Clone(rules), rule{action: p.otherwise})
	end := slices.IndexFunc(rules, func(r rule) bool { return len(r.conditions) == 0 })
	differs := func(r rule) bool { return r.action != rules[end].action }
	if !slices.ContainsFunc(rules[:end], differs) {
		return rules[end : end+1]
	}
	return rules[:end+1]
}

// sameSimple says whether two spans can be one.
func sameSimple(a, b []rule) bool {
	return len(a) == 1 && len(b) == 1 && a[0].action == b[0].action
}

// generator writes a program from its end to its start, as jumps lead forward
// only: what a jump leads to is there before it. A place is the number of
// instructions from it to the end of the program.
type generator struct {
	code []bpf.Instruction // last first
	rets map[action]int    // the latest place that returns an action
}

func (g *generator) emit(i bpf.Instruction) int {
	g.code = append(g.code, i)
	return len(g.code)
}

// skip is how many instructions a jump that is emitted next passes over.
func (g *generator) skip(place int) int { return len(g.code) - place }

// reach is how far a conditional jump can skip, less what may come between.
const reach = 255 - 8

// near gives a place that does what place does and that the next few
// instructions can jump to.
func (g *generator) near(place int) int {
	if g.skip(place) <= reach {
		return place
	}
	if ret, ok := g.code[place-1].(bpf.RetConstant); ok {
		return g.ret(action(ret.Val))
	}
	return g.emit(bpf.Jump{Skip: uint32(g.skip(place))})
}

// ret gives a near place that returns an action. Programs get half as long by
// sharing them.
func (g *generator) ret(a action) int {
	if place, ok := g.rets[a]; ok && g.skip(place) <= reach {
		return place
	}
	if g.rets == nil {
		g.rets = map[action]int{}
	}
	g.rets[a] = g.emit(bpf.RetConstant{Val: uint32(a)})
	return g.rets[a]
}

// tree searches the number, which is in the accumulator, among spans. It
// returns the place where the search starts.
func (g *generator) tree(spans []span) int {
	if len(spans) == 1 {
		return g.chain(spans[0].rules)
	}
	mid := len(spans) / 2
	high := g.tree(spans[mid:])
	low := g.tree(spans[:mid])
	high, low = g.near(high), g.near(low)
	return g.emit(bpf.JumpIf{
		Cond:      bpf.JumpGreaterOrEqual,
		Val:       spans[mid].first,
		SkipTrue:  uint8(g.skip(high)),
		SkipFalse: uint8(g.skip(low)),
	})
}

// chain tries rules one after the other, the last of which has no conditions.
func (g *generator) chain(rules []rule) int {
	if len(rules) == 1 {
		return g.ret(rules[0].action)
	}
	place := 0
	for _, r := range slices.Backward(rules) {
		body := []bpf.Instruction{bpf.RetConstant{Val: uint32(r.action)}}
		for _, c := range slices.Backward(r.conditions) {
			body = append(c.test(uint8(len(body))), body...)
		}
		for _, i := range slices.Backward(body) {
			place = g.emit(i)
		}
	}
	return place
}

// test goes on behind itself when the condition holds, and rest instructions
// further when it does not. A rule has six conditions at most, so that no jump
// is too long.
func (c condition) test(rest uint8) []bpf.Instruction {
	hi, lo := uint32(c.value>>32), uint32(c.value)
	loadLo := bpf.LoadAbsolute{Off: offArgs + 8*uint32(c.arg), Size: 4}
	loadHi := bpf.LoadAbsolute{Off: offArgs + 8*uint32(c.arg) + 4, Size: 4}
	// differ fails when the high halves differ, over and rest.
	differ := func(over uint8) bpf.Instruction {
		return bpf.JumpIf{Cond: bpf.JumpEqual, Val: hi, SkipFalse: over + rest}
	}
	switch c.op {
	case equal:
		return []bpf.Instruction{loadHi, differ(2),
			loadLo, bpf.JumpIf{Cond: bpf.JumpEqual, Val: lo, SkipFalse: rest}}
	case notEqual:
		return []bpf.Instruction{loadHi, bpf.JumpIf{Cond: bpf.JumpEqual, Val: hi, SkipFalse: 2},
			loadLo, bpf.JumpIf{Cond: bpf.JumpEqual, Val: lo, SkipTrue: rest}}
	case greater, greaterOrEqual:
		last := bpf.JumpGreaterThan
		if c.op == greaterOrEqual {
			last = bpf.JumpGreaterOrEqual
		}
		return []bpf.Instruction{loadHi, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: hi, SkipTrue: 3}, differ(2),
			loadLo, bpf.JumpIf{Cond: last, Val: lo, SkipFalse: rest}}
	case less, lessOrEqual:
		last := bpf.JumpGreaterOrEqual
		if c.op == lessOrEqual {
			last = bpf.JumpGreaterThan
		}
		return []bpf.Instruction{loadHi, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: hi, SkipTrue: 3 + rest},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: hi, SkipFalse: 2},
			loadLo, bpf.JumpIf{Cond: last, Val: lo, SkipTrue: rest}}
	default: // maskedEqual
		return []bpf.Instruction{
			loadHi, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(c.mask >> 32)}, differ(3),
			loadLo, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(c.mask)},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: lo, SkipFalse: rest},
		}
	}
}

// encode writes instructions as struct sock_filter.
func encode(code []bpf.Instruction) ([]byte, error) {
	raw, err := bpf.Assemble(code)
	if err != nil {
		return nil, fmt.Errorf("seccomp: assemble: %w", err)
	}
	out := make([]byte, 0, 8*len(raw))
	for _, r := range raw {
		out = binary.LittleEndian.AppendUint16(out, r.Op)
		out = append(out, r.Jt, r.Jf)
		out = binary.LittleEndian.AppendUint32(out, r.K)
	}
	return out, nil
}
