package entry_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/entry"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

func plan(t testing.TB, build func(*workerv1.Plan)) []byte {
	t.Helper()
	var p workerv1.Plan
	build(&p)
	b, err := p.Encode([]byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func everyStep(p *workerv1.Plan) {
	p.AddFDU32(workerv1.StepStdio, 10, 1)
	p.AddFDU32(workerv1.StepFD, 11, workerv1.FDLog)
	p.AddFD(workerv1.StepCgroup, 12, nil)
	p.AddFDU32(workerv1.StepSetNS, 13, 0x20000)
	p.AddU32(workerv1.StepProc, 0)
	p.AddU32(workerv1.StepOOMScore, 1000)
	p.Add(workerv1.StepMask, []byte("/proc/kcore\x00size=0"))
	p.Add(workerv1.StepReadonly, []byte("/proc/sys"))
	p.Add(workerv1.StepRlimit, make([]byte, 20))
	p.AddU64(workerv1.StepBounding, 1)
	p.AddU32(workerv1.StepGroups, 1, 2, 3)
	p.AddU32(workerv1.StepIDs, 1, 2)
	p.Add(workerv1.StepNoNewPrivs, nil)
	p.AddU64(workerv1.StepCaps, 1, 2, 3)
	p.Add(workerv1.StepName, []byte("guest"))
	p.Add(workerv1.StepTerminal, nil)
	p.Add(workerv1.StepTitle, []byte("/app\x00arg\x00"))
	p.Add(workerv1.StepAppArmor, []byte("profile"))
	p.Add(workerv1.StepSELinux, []byte("system_u:system_r:container_t:s0:c1,c2"))
	p.Add(workerv1.StepSeccomp, make([]byte, 16))
}

func TestBothSidesAgreeOnEveryStep(t *testing.T) {
	if err := entry.CheckPlan(plan(t, everyStep)); err != nil {
		t.Error(err)
	}
}

func TestBadPlansAreRefused(t *testing.T) {
	good := plan(t, everyStep)
	with := func(at int, v uint32) []byte {
		b := append([]byte{}, good...)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	tests := []struct {
		name string
		plan []byte
		want string
	}{
		{"empty", nil, "not a spawn plan"},
		{"other magic", with(0, 1), "not a spawn plan"},
		{"other version", with(4, 99), "another version"},
		{"longer than it is", with(8, uint32(len(good)+1)), "truncated"},
		{"payload outside", with(12, uint32(len(good)+1)), "truncated"},
		{"payload in the header", with(12, 3), "truncated"},
		{"too many descriptors", with(20, 100000), "too many descriptors"},
		{"fewer descriptors than used", with(20, 1), "wrong descriptor"},
		{"step of an older release", plan(t, func(p *workerv1.Plan) { p.Add(workerv1.Step(7), []byte("host")) }), "unknown step"},
		{"unknown step", plan(t, func(p *workerv1.Plan) { p.Add(workerv1.Step(99), nil) }), "unknown step"},
		{"step without its descriptor", plan(t, func(p *workerv1.Plan) { p.AddU32(workerv1.StepStdio, 1) }), "wrong descriptor"},
		{"data too short", plan(t, func(p *workerv1.Plan) { p.AddU32(workerv1.StepIDs, 1) }), "wrong length"},
		{"data too long", plan(t, func(p *workerv1.Plan) { p.Add(workerv1.StepName, make([]byte, 16)) }), "wrong length"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := entry.CheckPlan(tt.plan); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAnOrdinaryProcessHasNoPlan(t *testing.T) {
	if _, err := entry.Payload(); !errors.Is(err, entry.ErrNoPlan) {
		t.Errorf("err = %v, want ErrNoPlan", err)
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(plan(f, everyStep))
	f.Fuzz(func(t *testing.T, b []byte) { entry.CheckPlan(b) })
}
