package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table has the times of each thing under each host, the first of which is
// ours.
type table struct {
	hosts []string
	names []string // of what was measured, in the order of the guest
	times map[string]map[string][]float64
}

func newTable(hosts []string) *table {
	return &table{hosts: hosts, times: map[string]map[string][]float64{}}
}

// add takes what a guest printed under a host.
func (t *table) add(host, out string) error {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		name, text, _ := strings.Cut(line, " ")
		ns, err := strconv.ParseFloat(text, 64)
		if err != nil || ns <= 0 {
			return fmt.Errorf("the guest printed %q", line)
		}
		if t.times[name] == nil {
			t.names = append(t.names, name)
			t.times[name] = map[string][]float64{}
		}
		t.times[name][host] = append(t.times[name][host], ns)
	}
	return nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// String prints a row for each thing: the medians, and for each other host the
// ratio to ours. The last row has the geometric means of the ratios.
func (t *table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %-24s", "")
	for _, h := range t.hosts {
		fmt.Fprintf(&b, "%14s", h)
	}
	for _, h := range t.hosts[1:] {
		fmt.Fprintf(&b, "%14s", h+" ÷")
	}
	b.WriteByte('\n')
	logs := make([]float64, len(t.hosts))
	for _, name := range t.names {
		own := median(t.times[name][t.hosts[0]])
		fmt.Fprintf(&b, "  %-24s", name)
		for _, h := range t.hosts {
			fmt.Fprintf(&b, "%14s", format(median(t.times[name][h])))
		}
		for i, h := range t.hosts[1:] {
			ratio := median(t.times[name][h]) / own
			logs[i+1] += math.Log(ratio)
			fmt.Fprintf(&b, "%14.2f", ratio)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "  %-24s%s", "geometric mean", strings.Repeat(" ", 14*len(t.hosts)))
	for i := range t.hosts[1:] {
		fmt.Fprintf(&b, "%14.2f", math.Exp(logs[i+1]/float64(len(t.names))))
	}
	return b.String() + "\n"
}

func format(ns float64) string {
	d := time.Duration(ns)
	switch {
	case ns < 1e4:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e7:
		return d.Round(100 * time.Nanosecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
