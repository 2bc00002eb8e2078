package wasmer_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"

	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
)

// The engine asks the processor, and so do the words. The kernel may hide what the
// processor has, by clearcpuid= or since a virtual machine was moved, but shows
// nothing that it has not.
func TestCPUFeaturesAreThoseOfTheProcessor(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	flags := strings.Fields(string(info))
	words := wasmer.CPUFeatures()
	const ymm, zmm = 0x06, 0xe6 // what the kernel must keep of the registers
	kept := words[4]
	for _, f := range []struct {
		name      string
		word, bit int
		registers uint32
		has       bool
	}{
		{"ssse3", 0, 9, 0, cpu.X86.HasSSSE3},
		{"sse4_2", 0, 20, 0, cpu.X86.HasSSE42},
		{"popcnt", 0, 23, 0, cpu.X86.HasPOPCNT},
		{"avx", 0, 28, ymm, cpu.X86.HasAVX},
		{"bmi1", 1, 3, 0, cpu.X86.HasBMI1},
		{"avx2", 1, 5, ymm, cpu.X86.HasAVX2},
		{"bmi2", 1, 8, 0, cpu.X86.HasBMI2},
		{"avx512f", 1, 16, zmm, cpu.X86.HasAVX512F},
		{"avx512dq", 1, 17, zmm, cpu.X86.HasAVX512DQ},
		{"avx512vl", 1, 31, zmm, cpu.X86.HasAVX512VL},
		{"avx512_bitalg", 2, 12, zmm, cpu.X86.HasAVX512BITALG},
	} {
		got := words[f.word]>>f.bit&1 == 1 && kept&f.registers == f.registers
		if got != f.has {
			t.Errorf("%s is %v, the processor says %v", f.name, got, f.has)
		}
		if !got && slices.Contains(flags, f.name) {
			t.Errorf("%s is false, the kernel has it", f.name)
		}
	}
	if slices.Contains(flags, "abm") && words[3]>>5&1 == 0 {
		t.Error("abm is false, the kernel has it")
	}
	if again := wasmer.CPUFeatures(); !slices.Equal(words, again) {
		t.Errorf("got %v, then %v", words, again)
	}
}
