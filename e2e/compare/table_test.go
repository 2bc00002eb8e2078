package main

import (
	"bytes"
	"testing"
)

func TestRowsAreJudgedByTheirPromises(t *testing.T) {
	for name, tc := range map[string]struct {
		row         row
		ours, peers float64
		want        string
	}{
		"kept":         {row{name: "r", unit: "ms", must: 0.25, aim: 0.1}, 2, 10, "| r | 2.00 ms | 10.0 ms | 5.0 x | 1/4: yes | 1/10: **no** |\n"},
		"more is good": {row{name: "r", unit: "/s", more: true, must: 3, aim: 20}, 100, 10, "| r | 100 /s | 10.0 /s | 10.0 x | 3 x: yes | 20 x: **no** |\n"},
		"limits":       {row{name: "r", unit: "MiB", absolute: true, must: 60, aim: 20}, 50, 25, "| r | 50.0 MiB | 25.0 MiB | 0.5 x | 60 MiB: yes | 20 MiB: **no** |\n"},
		"no promise":   {row{name: "r", unit: "ms"}, 1, 4, "| r | 1.00 ms | 4.00 ms | 4.0 x |  |  |\n"},
	} {
		var out bytes.Buffer
		table{&out}.row(tc.row, [2][]float64{{tc.ours}, {tc.peers}})
		if got := out.String(); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestFiguresOfManySamples(t *testing.T) {
	var samples []float64
	for i := range 100 {
		samples = append(samples, float64(100-i))
	}
	if got, want := (row{unit: "ms"}).figures(samples), "50.0 ms (10.0 to 99.0)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
