package main

import (
	"fmt"
	"io"
	"slices"
)

// table prints rows in Markdown.
type table struct{ out io.Writer }

func (t table) head(both [2]*server) {
	fmt.Fprintf(t.out, "| median (p10 to p99) | %s | %s | ratio | must | aim |\n|---|---|---|---|---|---|\n", both[0].name, both[1].name)
}

func (t table) row(r row, samples [2][]float64) {
	ours, peers := median(samples[0]), median(samples[1])
	fmt.Fprintf(t.out, "| %s | %s | %s | %s | %s | %s |\n", r.name,
		r.figures(samples[0]), r.figures(samples[1]), r.ratio(ours, peers), r.verdict(r.must, ours, peers), r.verdict(r.aim, ours, peers))
}

func (r row) figures(samples []float64) string {
	text := fmt.Sprintf("%.*f %s", digits(median(samples)), median(samples), r.unit)
	if len(samples) < 10 {
		return text
	}
	low, high := at(samples, 0.1), at(samples, 0.99)
	return text + fmt.Sprintf(" (%.*f to %.*f)", digits(low), low, digits(high), high)
}

// digits after the point, so that there are three in all.
func digits(v float64) int {
	switch {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	}
	return 2
}

// ratio says how many times ours is better.
func (r row) ratio(ours, peers float64) string {
	if r.more {
		ours, peers = peers, ours
	}
	if ours == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f x", peers/ours)
}

// verdict judges ours by a limit, or by a part of the peer's.
func (r row) verdict(part, ours, peers float64) string {
	switch {
	case part == 0:
		return ""
	case r.absolute:
		return judged(ours <= part, fmt.Sprintf("%g %s", part, r.unit))
	case r.more:
		return judged(ours >= part*peers, fmt.Sprintf("%g x", part))
	}
	return judged(ours <= part*peers, fmt.Sprintf("1/%.0f", 1/part))
}

func judged(kept bool, promise string) string {
	if kept {
		return promise + ": yes"
	}
	return promise + ": **no**"
}

func median(samples []float64) float64 { return at(samples, 0.5) }

// at gives the sample below which that share of them lies.
func at(samples []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(share*float64(len(sorted)-1))]
}
