package wasmer_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
)

func TestCPUFeaturesAreThoseOfTheKernel(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	flags := strings.Fields(string(info))
	words := wasmer.CPUFeatures()
	for _, f := range []struct {
		name      string
		word, bit int
	}{
		{"ssse3", 0, 9}, {"sse4_2", 0, 20}, {"popcnt", 0, 23}, {"avx", 0, 28}, {"bmi1", 1, 3}, {"avx2", 1, 5}, {"bmi2", 1, 8},
		{"avx512f", 1, 16}, {"avx512dq", 1, 17}, {"avx512vl", 1, 31}, {"avx512_bitalg", 2, 12}, {"abm", 3, 5},
	} {
		got, want := words[f.word]>>f.bit&1 == 1, slices.Contains(flags, f.name)
		if got != want {
			t.Errorf("%s is %v, the kernel says %v", f.name, got, want)
		}
	}
	if again := wasmer.CPUFeatures(); !slices.Equal(words, again) {
		t.Errorf("got %v, then %v", words, again)
	}
}
