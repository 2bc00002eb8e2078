package network

import "testing"

func TestParseBitRate(t *testing.T) {
	tests := []struct {
		in   string
		want uint64 // 0: an error
	}{
		{"1000", 1000},
		{"10k", 10_000},
		{"10M", 10_000_000},
		{"1.5G", 1_500_000_000},
		{"1P", 1_000_000_000_000_000},
		{"1Ki", 1024},
		{"2Mi", 2 << 20},
		{"1e6", 1_000_000},
		{"1E6", 1_000_000},
		{"1000001m", 1001}, // rounded up
		{" 10M ", 10_000_000},
		{"+10M", 10_000_000},
		{"1E", 0}, // exa: too much
		{"999", 0},
		{"0", 0},
		{"-10M", 0},
		{"", 0},
		{"M", 0},
		{"10MB", 0},
		{"ten", 0},
		{"1/2M", 0},
		{"0x400", 0},
		{"1e999999999", 0},
		{"1e", 0},
		{"1_000", 0},
		{"Inf", 0},
	}
	for _, tt := range tests {
		got, err := parseBitRate(tt.in)
		if (err != nil) != (tt.want == 0) || got != tt.want {
			t.Errorf("parseBitRate(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func FuzzParseBitRate(f *testing.F) {
	for _, s := range []string{"10M", "1.5Gi", "1e6", "-1", "1e999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseBitRate(s)
		if err == nil && (got < minBitRate || got > maxBitRate) {
			t.Errorf("parseBitRate(%q) = %d, out of bounds", s, got)
		}
	})
}
