package proc

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// identity is whom the kernel takes this process for.
type identity struct {
	ruid, uid string
	rgid, gid string
	groups    []string
}

func readIdentity(c *applet.Ctx) (identity, error) {
	fields, err := statusFields(c, "self")
	if err != nil {
		return identity{}, err
	}
	uids, gids := strings.Fields(fields["Uid"]), strings.Fields(fields["Gid"])
	if len(uids) < 2 || len(gids) < 2 {
		return identity{}, errors.New("no ids in /proc/self/status")
	}
	return identity{
		ruid: uids[0], uid: uids[1], rgid: gids[0], gid: gids[1],
		groups: strings.Fields(fields["Groups"]),
	}, nil
}

// all is the group followed by the others, each once.
func (i identity) all(gid string) []string {
	list := []string{gid}
	for _, g := range i.groups {
		if !slices.Contains(list, g) {
			list = append(list, g)
		}
	}
	return list
}

// statusFields reads /proc/PID/status.
func statusFields(c *applet.Ctx, pid string) (map[string]string, error) {
	text, err := os.ReadFile(c.System("/proc/" + pid + "/status"))
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fields, nil
}

// nameOf looks an id up in /etc/passwd or /etc/group.
func nameOf(c *applet.Ctx, file, id string) (string, bool) {
	entry, ok := lookUp(c, file, 2, id)
	if !ok {
		return "", false
	}
	return entry[0], true
}

// lookUp finds the entry of a colon-separated file whose field has a value.
func lookUp(c *applet.Ctx, file string, field int, value string) ([]string, bool) {
	f, err := os.Open(c.System(file))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if entry := strings.Split(s.Text(), ":"); len(entry) > max(2, field) && entry[field] == value {
			return entry, true
		}
	}
	return nil, false
}

func id(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "ugGnr")
	if !ok || len(operands) > 1 {
		return c.Usage("[-ugGnr] [USER]")
	}
	who, err := readIdentity(c)
	if len(operands) == 1 {
		who, err = userIdentity(c, operands[0])
	}
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	if o.Has('r') {
		who.uid, who.gid = who.ruid, who.rgid
	}
	p := idPrinter{c: c, names: o.Has('n')}
	switch {
	case o.Has('u'):
		p.print("/etc/passwd", who.uid)
	case o.Has('g'):
		p.print("/etc/group", who.gid)
	case o.Has('G'):
		p.print("/etc/group", who.all(who.gid)...)
	default:
		p.everything(who)
	}
	return p.code
}

// userIdentity is the identity that a user of /etc/passwd would have.
func userIdentity(c *applet.Ctx, name string) (identity, error) {
	entry, ok := lookUp(c, "/etc/passwd", 0, name)
	if !ok || len(entry) < 4 {
		return identity{}, errors.New("unknown user " + name)
	}
	who := identity{ruid: entry[2], uid: entry[2], rgid: entry[3], gid: entry[3]}
	text, err := os.ReadFile(c.System("/etc/group"))
	if err != nil {
		return who, nil // a user may be in no group file
	}
	for line := range strings.Lines(string(text)) {
		group := strings.Split(strings.TrimSpace(line), ":")
		if len(group) == 4 && slices.Contains(strings.Split(group[3], ","), name) {
			who.groups = append(who.groups, group[2])
		}
	}
	return who, nil
}

type idPrinter struct {
	c     *applet.Ctx
	names bool
	code  int
}

func (p *idPrinter) print(file string, ids ...string) {
	if p.names {
		for i, id := range ids {
			name, ok := nameOf(p.c, file, id)
			if !ok {
				p.code = p.c.Errorf("unknown ID %s", id)
				continue
			}
			ids[i] = name
		}
	}
	p.c.Out.Println(strings.Join(ids, " "))
}

func (p *idPrinter) everything(who identity) {
	named := func(file, id string) string {
		if name, ok := nameOf(p.c, file, id); ok {
			return id + "(" + name + ")"
		}
		return id
	}
	var groups []string
	for _, g := range who.all(who.gid) {
		groups = append(groups, named("/etc/group", g))
	}
	p.c.Out.Printf("uid=%s gid=%s groups=%s\n", named("/etc/passwd", who.uid), named("/etc/group", who.gid), strings.Join(groups, ","))
}

func whoami(c *applet.Ctx, _ []string) int { return id(c, []string{"-un"}) }
func groups(c *applet.Ctx, _ []string) int { return id(c, []string{"-Gn"}) }

// nnp tells the effective user, as the image of that name does, whose file has
// the set-user-id bit: it shows whether the bit had its effect.
func nnp(c *applet.Ctx, _ []string) int {
	who, err := readIdentity(c)
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	c.Out.Println("Effective uid: " + who.uid)
	return 0
}

func hostname(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "sif")
	if !ok {
		return applet.ExitUsage
	}
	if len(operands) > 0 {
		return c.Errorf("sethostname: Function not implemented")
	}
	name, err := systemLine(c, "/proc/sys/kernel/hostname")
	if err != nil {
		name, err = systemLine(c, "/etc/hostname")
	}
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	if o.Has('s') {
		name, _, _ = strings.Cut(name, ".")
	}
	c.Out.Println(name)
	return 0
}

// systemLine is the text of a small file of the system.
func systemLine(c *applet.Ctx, p string) (string, error) {
	text, err := os.ReadFile(c.System(p))
	return strings.TrimSpace(string(text)), err
}

func uname(c *applet.Ctx, args []string) int {
	o, _, ok := c.Opts(args, "asnrvmpo")
	if !ok {
		return applet.ExitUsage
	}
	file := func(p string) string {
		if text, err := systemLine(c, p); err == nil {
			return text
		}
		return "unknown"
	}
	var words []string
	for _, w := range []struct {
		letter byte
		text   func() string
	}{
		{'s', func() string { return file("/proc/sys/kernel/ostype") }},
		{'n', func() string { return file("/proc/sys/kernel/hostname") }},
		{'r', func() string { return file("/proc/sys/kernel/osrelease") }},
		{'v', func() string { return file("/proc/sys/kernel/version") }},
		{'m', func() string { return "wasm32" }},
		{'o', func() string { return "WASI" }},
	} {
		if o.Any("a"+string(w.letter)) || w.letter == 's' && !o.Any("anrvmpo") || w.letter == 'm' && o.Has('p') {
			words = append(words, w.text())
		}
	}
	c.Out.Println(strings.Join(words, " "))
	return 0
}

func tty(c *applet.Ctx, args []string) int {
	silent := len(args) > 0 && args[0] == "-s"
	if applet.IsTerminal(c.In) {
		name, err := os.Readlink(c.System("/proc/self/fd/0"))
		if err != nil {
			name = "/dev/tty"
		}
		if !silent {
			c.Out.Println(name)
		}
		return 0
	}
	if !silent {
		c.Out.Println("not a tty")
	}
	return 1
}

func env(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "+iu:0")
	if !ok {
		return applet.ExitUsage
	}
	child := c.Child(c.Name)
	child.Env = slices.Clone(c.Env)
	if o.Has('i') {
		child.Env = nil
	}
	for _, key := range o.Values('u') {
		child.Env = slices.DeleteFunc(child.Env, func(kv string) bool { return strings.HasPrefix(kv, key+"=") })
	}
	for len(operands) > 0 && strings.Contains(operands[0], "=") {
		key, _, _ := strings.Cut(operands[0], "=")
		child.Env = slices.DeleteFunc(child.Env, func(kv string) bool { return strings.HasPrefix(kv, key+"=") })
		child.Env = append(child.Env, operands[0])
		operands = operands[1:]
	}
	if len(operands) > 0 {
		child.Name = operands[0]
		return c.Start(child, operands)
	}
	end := "\n"
	if o.Has('0') {
		end = "\x00"
	}
	for _, kv := range child.Env {
		c.Out.WriteString(kv + end)
	}
	return 0
}

func printenv(c *applet.Ctx, args []string) int {
	if len(args) == 0 {
		return env(c, nil)
	}
	code := 0
	for _, key := range args {
		i := slices.IndexFunc(c.Env, func(kv string) bool { return strings.HasPrefix(kv, key+"=") })
		if i < 0 {
			code = 1
			continue
		}
		c.Out.Println(c.Env[i][len(key)+1:])
	}
	return code
}

func free(c *applet.Ctx, args []string) int {
	o, _, ok := c.Opts(args, "bkmgh")
	if !ok {
		return applet.ExitUsage
	}
	text, err := os.ReadFile(c.System("/proc/meminfo"))
	if err != nil {
		return c.Fail("/proc/meminfo", err)
	}
	kib := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 {
			kib[strings.TrimSuffix(f[0], ":")], _ = strconv.ParseInt(f[1], 10, 64) // 0 where there is no number
		}
	}
	unit := func(v int64) int64 {
		switch {
		case o.Has('b'):
			return v << 10
		case o.Has('m'):
			return v >> 10
		case o.Has('g'):
			return v >> 20
		}
		return v
	}
	row := "%-7s%12d%12d%12d\n"
	c.Out.Printf("%-7s%12s%12s%12s\n", "", "total", "used", "free")
	c.Out.Printf(row, "Mem:", unit(kib["MemTotal"]), unit(kib["MemTotal"]-kib["MemAvailable"]), unit(kib["MemFree"]))
	c.Out.Printf(row, "Swap:", unit(kib["SwapTotal"]), unit(kib["SwapTotal"]-kib["SwapFree"]), unit(kib["SwapFree"]))
	return 0
}

func uptime(c *applet.Ctx, _ []string) int {
	up, err := systemLine(c, "/proc/uptime")
	if err != nil {
		return c.Fail("/proc/uptime", err)
	}
	load, err := systemLine(c, "/proc/loadavg")
	if err != nil {
		return c.Fail("/proc/loadavg", err)
	}
	first, _, _ := strings.Cut(up, " ")
	seconds, _ := strconv.ParseFloat(first, 64) // the kernel's own format
	minutes := int(seconds) / 60
	loads := strings.Fields(load)
	c.Out.Printf(" up %d days, %d:%02d,  load average: %s\n", minutes/1440, minutes/60%24, minutes%60, strings.Join(loads[:min(3, len(loads))], ", "))
	return 0
}
