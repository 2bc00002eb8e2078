package proc

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// process is what /proc tells of one.
type process struct {
	pid   int
	ppid  int
	comm  string
	state string
	argv  []string
	ticks int64 // user and system time, in 1/100 s
	rss   int64 // pages
}

// title is the command line, or the name in brackets where there is none.
func (p process) title() string {
	if len(p.argv) == 0 {
		return "[" + p.comm + "]"
	}
	return strings.Join(p.argv, " ")
}

// processes lists all processes by pid. Those that end meanwhile are left out.
func processes(c *applet.Ctx) ([]process, error) {
	entries, err := os.ReadDir(c.System("/proc"))
	if err != nil {
		return nil, err
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(c, pid); ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b process) int { return a.pid - b.pid })
	return all, nil
}

func readProcess(c *applet.Ctx, pid int) (p process, ok bool) {
	dir := c.System("/proc/" + strconv.Itoa(pid))
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, false
	}
	// The name stands in parentheses and may hold any character.
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < open {
		return p, false
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 22 {
		return p, false
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(fields[i], 10, 64); return n } // the kernel's own format
	p = process{
		pid: pid, comm: string(stat[open+1 : end]), state: fields[0], ppid: int(number(1)),
		ticks: number(11) + number(12), rss: number(21),
	}
	if cmdline, err := os.ReadFile(dir + "/cmdline"); err == nil && len(cmdline) > 0 {
		p.argv = strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	}
	return p, true
}

// Self is the pid of this process in the pid namespace of /proc, or 0.
func Self(c *applet.Ctx) int {
	target, err := os.Readlink(c.System("/proc/self"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(target) // 0 as documented
	return pid
}

// ps lists all processes, whatever the options.
func ps(c *applet.Ctx, _ []string) int {
	all, err := processes(c)
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	c.Out.Println("  PID  PPID USER     STAT   TIME COMMAND")
	for _, p := range all {
		seconds := p.ticks / 100
		c.Out.Printf("%5d %5d %-8s %-4s %3d:%02d %s\n", p.pid, p.ppid, owner(c, p.pid), p.state, seconds/60, seconds%60, p.title())
	}
	return 0
}

func owner(c *applet.Ctx, pid int) string {
	fields, err := statusFields(c, strconv.Itoa(pid))
	if err != nil {
		return "?"
	}
	uid, _, _ := strings.Cut(fields["Uid"], "\t")
	if name, ok := nameOf(c, "/etc/passwd", uid); ok {
		return name
	}
	return uid
}

func pgrep(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "flxnoav")
	if !ok || len(operands) != 1 {
		return c.Usage("[-flnovx] PATTERN")
	}
	pattern := operands[0]
	if o.Has('x') {
		pattern = "^(" + pattern + ")$"
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return c.Errorf("bad pattern '%s'", operands[0])
	}
	all, err := processes(c)
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	self := Self(c)
	all = slices.DeleteFunc(all, func(p process) bool {
		text := p.comm
		if o.Has('f') {
			text = p.title()
		}
		return p.pid == self || re.MatchString(text) == o.Has('v')
	})
	if len(all) == 0 {
		return 1
	}
	switch {
	case o.Has('n'):
		all = all[len(all)-1:]
	case o.Has('o'):
		all = all[:1]
	}
	for _, p := range all {
		switch {
		case o.Has('a'):
			c.Out.Printf("%d %s\n", p.pid, p.title())
		case o.Has('l'):
			c.Out.Printf("%d %s\n", p.pid, p.comm)
		default:
			c.Out.Printf("%d\n", p.pid)
		}
	}
	return 0
}

func pidof(c *applet.Ctx, args []string) int {
	o, names, ok := c.Opts(args, "so:")
	if !ok {
		return applet.ExitUsage
	}
	all, err := processes(c)
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	self := Self(c)
	var pids []string
	for _, p := range slices.Backward(all) {
		argv0 := ""
		if len(p.argv) > 0 {
			argv0 = p.argv[0]
		}
		base := argv0[strings.LastIndexByte(argv0, '/')+1:]
		pid := strconv.Itoa(p.pid)
		if p.pid == self || slices.Contains(o.Values('o'), pid) {
			continue
		}
		if slices.Contains(names, p.comm) || slices.Contains(names, base) || slices.Contains(names, argv0) {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return 1
	}
	if o.Has('s') {
		pids = pids[:1]
	}
	c.Out.Println(strings.Join(pids, " "))
	return 0
}

var signals = []string{
	"EXIT", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
	"ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM",
	"PROF", "WINCH", "POLL", "PWR", "SYS",
}

// SignalNumber finds a signal by number or name.
func SignalNumber(text string) (int, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, n >= 0 && n < 65
	}
	i := slices.Index(signals, strings.TrimPrefix(strings.ToUpper(text), "SIG"))
	return i, i >= 0
}

// kill can end this process only: preview1 has no signal for others. Signal 0
// looks whether a process is there.
func kill(c *applet.Ctx, args []string) int {
	if len(args) > 0 && args[0] == "-l" {
		c.Out.Println(strings.Join(signals[1:], " "))
		return 0
	}
	signal, args, ok := KillArgs(args)
	if !ok || len(args) == 0 {
		return c.Usage("[-l] [-SIGNAL] PID...")
	}
	code := 0
	for _, pid := range args {
		if why := signalProcess(c, pid, signal); why != "" {
			code = c.Errorf("can't kill pid %s: %s", pid, why)
		}
	}
	return code
}

// KillArgs splits the command line of kill into the signal and the rest.
func KillArgs(args []string) (signal int, rest []string, ok bool) {
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") {
		return 15, args, true
	}
	switch text := args[0][1:]; {
	case text == "-":
		return 15, args[1:], true
	case text == "s" && len(args) > 1:
		signal, ok = SignalNumber(args[1])
		return signal, args[2:], ok
	default:
		signal, ok = SignalNumber(text)
		return signal, args[1:], ok
	}
}

func signalProcess(c *applet.Ctx, pid string, signal int) (why string) {
	if _, err := strconv.Atoi(pid); err != nil {
		return "Invalid argument"
	}
	if _, err := os.Stat(c.System("/proc/" + pid)); err != nil {
		return "No such process"
	}
	if signal == 0 {
		return ""
	}
	if pid == strconv.Itoa(Self(c)) {
		c.Out.Flush()
		os.Exit(128 + signal)
	}
	return "Function not implemented"
}

func sleep(c *applet.Ctx, args []string) int {
	if len(args) == 0 {
		return c.Usage("SECONDS|infinity...")
	}
	var total time.Duration
	for _, arg := range args {
		d, ok := duration(arg)
		if !ok {
			return c.Errorf("invalid time interval '%s'", arg)
		}
		total += d
	}
	wait(c, total)
	return 0
}

func usleep(c *applet.Ctx, args []string) int {
	if len(args) != 1 {
		return c.Usage("MICROSECONDS")
	}
	n, ok := c.Number(args[0])
	if !ok {
		return 1
	}
	wait(c, time.Duration(n)*time.Microsecond)
	return 0
}

// forever is long enough; a sum of some does not overflow.
const forever = 100 * 365 * 24 * time.Hour / 4

// duration parses 1, 1.5, 1m, 1h, 1d and infinity.
func duration(text string) (time.Duration, bool) {
	if text == "infinity" || text == "inf" {
		return forever, true
	}
	unit := time.Second
	if n := len(text); n > 0 {
		if i := strings.IndexByte("smhd", text[n-1]); i >= 0 {
			unit = []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}[i]
			text = text[:n-1]
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 {
		return 0, false
	}
	if v*float64(unit) > float64(forever) {
		return forever, true
	}
	return time.Duration(v * float64(unit)), true
}

// wait sleeps in steps, as hosts may not take a time that is centuries ahead.
func wait(c *applet.Ctx, d time.Duration) {
	for d > 0 && c.Alive() {
		step := min(d, 24*time.Hour)
		select {
		case <-c.Life.Done():
		case <-time.After(step):
		}
		d -= step
	}
}

// timeout ends what it starts by ending its Life: programs of the toolbox look
// at it where they wait.
func timeout(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "+s:k:")
	if !ok || len(operands) < 2 {
		return c.Usage("[-s SIGNAL] SECONDS COMMAND [ARG]...")
	}
	d, ok := duration(operands[0])
	if !ok {
		return c.Errorf("invalid time interval '%s'", operands[0])
	}
	if _, ok := SignalNumber(o.Value('s', "TERM")); !ok {
		return c.Errorf("invalid signal '%s'", o.Value('s', ""))
	}
	child := c.Child(operands[1])
	life, cancel := context.WithTimeout(c.Life, d)
	defer cancel()
	child.Life = life
	code := c.Start(child, operands[1:])
	if life.Err() != nil && c.Alive() {
		return 124
	}
	return code
}

// pause does nothing, for ever.
func pause(c *applet.Ctx, _ []string) int {
	for c.Alive() {
		wait(c, forever)
	}
	return 0
}
