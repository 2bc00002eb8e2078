package proc

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// top shows the busiest processes on a terminal, or with -b or -n. Without a
// terminal it only waits: it is then the main program of a container that shall
// do nothing.
func top(c *applet.Ctx, args []string) int {
	o, _, ok := c.Opts(args, "bHn:d:m")
	if !ok {
		return applet.ExitUsage
	}
	rounds, ok := c.Number(o.Value('n', "-1"))
	if !ok {
		return 1
	}
	every, ok := duration(o.Value('d', "5"))
	if !ok {
		return c.Errorf("invalid time interval '%s'", o.Value('d', ""))
	}
	terminal := applet.IsTerminal(c.Out.Sink())
	if !terminal && !o.Any("bn") {
		return pause(c, nil)
	}
	t := topper{c: c, terminal: terminal && !o.Has('b'), seen: map[int]int64{}}
	for c.Alive() {
		if err := t.show(); err != nil {
			return c.Errorf("%s", applet.Strerror(err))
		}
		if rounds--; rounds == 0 {
			return 0
		}
		wait(c, max(every, 100*time.Millisecond))
	}
	return 0
}

// topper remembers the times of the last round.
type topper struct {
	c        *applet.Ctx
	terminal bool
	seen     map[int]int64
	at       time.Time
}

func (t *topper) show() error {
	all, err := processes(t.c)
	if err != nil {
		return err
	}
	now := time.Now()
	ticks := now.Sub(t.at).Seconds() * 100
	cpu := map[int]float64{}
	for _, p := range all {
		if before, ok := t.seen[p.pid]; ok && ticks > 0 {
			cpu[p.pid] = float64(p.ticks-before) / ticks * 100
		}
		t.seen[p.pid] = p.ticks
	}
	t.at = now
	slices.SortStableFunc(all, func(a, b process) int {
		if n := cpu[b.pid] - cpu[a.pid]; n != 0 {
			return int(n*1000 + n/max(n, -n))
		}
		return int(b.ticks - a.ticks)
	})
	t.print(all, cpu)
	return nil
}

func (t *topper) print(all []process, cpu map[int]float64) {
	end, limit := "\n", len(all)
	if t.terminal {
		t.c.Out.WriteString("\x1b[H\x1b[J")
		end, limit = "\r\n", min(20, len(all))
	}
	load, _ := systemLine(t.c, "/proc/loadavg") // an empty line says as much
	t.c.Out.WriteString(fmt.Sprintf("Load average: %s", strings.TrimSpace(load)) + end)
	t.c.Out.WriteString("  PID  PPID STAT     RSS  %CPU COMMAND" + end)
	for _, p := range all[:limit] {
		t.c.Out.WriteString(fmt.Sprintf("%5d %5d %-4s %6dk %5.1f %s", p.pid, p.ppid, p.state, p.rss*4, cpu[p.pid], p.title()) + end)
	}
	t.c.Out.Flush()
}
