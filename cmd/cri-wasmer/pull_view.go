package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
)

// pullView shows the progress of one pull: as a block of bars that is drawn
// anew, or as a line for each thing that happened. Not safe for concurrent use.
type pullView struct {
	w             io.Writer
	ref           string
	rows, columns int // of the terminal; 0: none
	quiet         bool

	drawn int             // lines of the block on the terminal
	said  map[string]bool // lines that were written
	begun time.Time       // of the first download seen, for the rate
	base  int64           // bytes that were here then
}

func newPullView(w io.Writer, ref string, quiet bool) *pullView {
	v := &pullView{w: w, ref: printable(ref), quiet: quiet, said: map[string]bool{}}
	if rows, columns, ok := terminal(w); ok && !quiet {
		v.rows, v.columns = rows, columns
	}
	return v
}

// interval is how often it makes sense to look.
func (v *pullView) interval() time.Duration {
	if v.rows > 0 {
		return 100 * time.Millisecond
	}
	return 500 * time.Millisecond
}

func (v *pullView) show(p imageservice.PullProgress, now time.Time) {
	switch {
	case v.quiet:
	case v.rows > 0:
		v.draw(v.block(p, now))
	default:
		v.tell(p)
	}
}

// end takes the block away: what came of the pull is told in its place.
func (v *pullView) end() {
	if v.drawn > 0 {
		v.draw(nil)
	}
}

// draw puts lines in the place of those that were drawn last.
func (v *pullView) draw(lines []string) {
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	b.WriteString("\r\x1b[J")
	for _, l := range lines {
		if r := []rune(l); len(r) >= v.columns {
			l = string(r[:v.columns-1])
		}
		b.WriteString(l + "\n")
	}
	v.drawn = len(lines)
	io.WriteString(v.w, b.String())
}

// block lays the state out as a heading and a bar for each blob, at most as many
// as fit: those that are done go first.
func (v *pullView) block(p imageservice.PullProgress, now time.Time) []string {
	lines := []string{v.heading(p, now)}
	content := p.Content
	hidden := 0
	for len(content) > max(1, v.rows-4) {
		content, hidden = dropOne(content), hidden+1
	}
	for _, c := range content {
		lines = append(lines, barLine(c))
	}
	if hidden > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", hidden))
	}
	return lines
}

// dropOne leaves out the first blob that is done, else the last one.
func dropOne(content []imageservice.ContentProgress) []imageservice.ContentProgress {
	at := len(content) - 1
	for i, c := range content {
		if c.State == imageservice.ContentDone {
			at = i
			break
		}
	}
	return append(content[:at:at], content[at+1:]...)
}

func (v *pullView) heading(p imageservice.PullProgress, now time.Time) string {
	switch p.Phase {
	case imageservice.PullCompiling:
		return v.ref + ": " + compilingText(p.Code, now)
	case imageservice.PullDownloading:
		done, size := sum(p.Content)
		text := fmt.Sprintf("%s: downloading, %s of %s", v.ref, bytesText(done), bytesText(size))
		if v.begun.IsZero() {
			v.begun, v.base = now, done
		}
		if took := now.Sub(v.begun); took > 500*time.Millisecond {
			text += fmt.Sprintf(", %s/s", bytesText(int64(float64(done-v.base)/took.Seconds())))
		}
		return text
	}
	return v.ref + ": looking it up"
}

func sum(content []imageservice.ContentProgress) (done, size int64) {
	for _, c := range content {
		done, size = done+c.Done, size+c.Size
	}
	return done, size
}

func compilingText(tiers []codecache.Tier, now time.Time) string {
	for _, t := range tiers {
		if t.State == codecache.TierCompiling {
			return fmt.Sprintf("compiling with %s for %s", t.Compiler, now.Sub(t.Since).Round(time.Second))
		}
	}
	for _, t := range tiers {
		if t.State == codecache.TierQueued {
			return "waiting for a compiler"
		}
	}
	return "compiling"
}

const barWidth = 30

func barLine(c imageservice.ContentProgress) string {
	id := shortID(c.Digest)
	switch c.State {
	case imageservice.ContentDone:
		return fmt.Sprintf("  %s  done     %s", id, bytesText(c.Size))
	case imageservice.ContentWaiting:
		return fmt.Sprintf("  %s  waiting  %s", id, bytesText(c.Size))
	}
	full := 0
	if c.Size > 0 {
		full = int(c.Done * barWidth / c.Size)
	}
	bar := strings.Repeat("=", full)
	if full < barWidth {
		bar += ">" + strings.Repeat(" ", barWidth-full-1)
	}
	return fmt.Sprintf("  %s  [%s] %s of %s", id, bar, bytesText(c.Done), bytesText(c.Size))
}

// tell writes a line for what is new.
func (v *pullView) tell(p imageservice.PullProgress) {
	for _, c := range p.Content {
		switch c.State {
		case imageservice.ContentDownloading:
			v.say(fmt.Sprintf("%s: downloading %s, %s", v.ref, shortID(c.Digest), bytesText(c.Size)))
		case imageservice.ContentDone:
			v.say(fmt.Sprintf("%s: %s is here", v.ref, shortID(c.Digest)))
		}
	}
	for _, t := range p.Code {
		if t.State == codecache.TierCompiling {
			v.say(fmt.Sprintf("%s: compiling with %s", v.ref, t.Compiler))
		}
	}
}

func (v *pullView) say(line string) {
	if !v.said[line] {
		v.said[line] = true
		fmt.Fprintln(v.w, line)
	}
}
