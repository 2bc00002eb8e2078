package proc

import (
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

var tcpStates = []string{
	"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
	"LAST_ACK", "LISTEN", "CLOSING",
}

// netstat lists the sockets of the network namespace, from /proc/net.
func netstat(c *applet.Ctx, args []string) int {
	o, _, ok := c.Opts(args, "alntuwxpeW46")
	if !ok {
		return applet.ExitUsage
	}
	c.Out.Println("Proto Recv-Q Send-Q Local Address           Foreign Address         State")
	code := 0
	for _, proto := range []string{"tcp", "tcp6", "udp", "udp6"} {
		if o.Any("tu") && !o.Has(proto[0]) {
			continue
		}
		if err := listSockets(c, proto, o); err != nil {
			code = c.Fail("/proc/net/"+proto, err)
		}
	}
	return code
}

func listSockets(c *applet.Ctx, proto string, o *applet.Opts) error {
	text, err := os.ReadFile(c.System("/proc/net/" + proto))
	if os.IsNotExist(err) {
		return nil // a kernel without IPv6
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if s, ok := parseSocket(proto, line); ok && s.wanted(o) {
			c.Out.Printf("%-5s %6d %6d %-23s %-23s %s\n", proto, s.recv, s.send, s.local, s.remote, s.state)
		}
	}
	return nil
}

// socket is one line of /proc/net/tcp and its like.
type socket struct {
	local, remote string
	state         string
	listens       bool
	recv, send    uint64
}

func (s socket) wanted(o *applet.Opts) bool {
	return o.Has('a') || s.listens == o.Has('l')
}

func parseSocket(proto, line string) (s socket, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 || !strings.HasSuffix(f[0], ":") {
		return s, false
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	if err != nil {
		return s, false
	}
	send, recv, _ := strings.Cut(f[4], ":")
	s.send, _ = strconv.ParseUint(send, 16, 64) // the kernel's own format
	s.recv, _ = strconv.ParseUint(recv, 16, 64)
	s.local, s.remote = endpoint(f[1]), endpoint(f[2])
	if strings.HasPrefix(proto, "udp") {
		s.listens = state == 7
		return s, true
	}
	if int(state) < len(tcpStates) {
		s.state = tcpStates[state]
	}
	s.listens = s.state == "LISTEN"
	return s, true
}

// endpoint writes the kernel's hexadecimal address. Words are in the byte order
// of the machine, which is little-endian wherever WebAssembly is common.
func endpoint(text string) string {
	address, portText, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	port, err2 := strconv.ParseUint(portText, 16, 16)
	if err != nil || err2 != nil || len(raw)%4 != 0 {
		return text
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	portName := strconv.FormatUint(port, 10)
	if port == 0 {
		portName = "*"
	}
	return ipText(raw) + ":" + portName
}

func ipText(raw []byte) string {
	if len(raw) == 4 {
		return fmt.Sprintf("%d.%d.%d.%d", raw[0], raw[1], raw[2], raw[3])
	}
	mapped := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}
	if len(raw) == 16 && slices.Equal(raw[:12], mapped) {
		return "::ffff:" + ipText(raw[12:])
	}
	var groups []string
	for i := 0; i+1 < len(raw); i += 2 {
		groups = append(groups, strconv.FormatUint(uint64(raw[i])<<8|uint64(raw[i+1]), 16))
	}
	return shorten(groups)
}

// shorten replaces the longest run of zeros by "::".
func shorten(groups []string) string {
	from, length := 0, 0
	for i := 0; i < len(groups); i++ {
		j := i
		for j < len(groups) && groups[j] == "0" {
			j++
		}
		if j-i > length {
			from, length = i, j-i
		}
		i = j
	}
	if length < 2 {
		return strings.Join(groups, ":")
	}
	return strings.Join(groups[:from], ":") + "::" + strings.Join(groups[from+length:], ":")
}

// ipcs lists System V objects. Its headings have no digit: without objects
// there is none in the whole output.
func ipcs(c *applet.Ctx, args []string) int {
	o, _, ok := c.Opts(args, "mqsa")
	if !ok {
		return applet.ExitUsage
	}
	code := 0
	for _, kind := range ipcKinds {
		if o.Any("mqs") && !o.Has(kind.letter) {
			continue
		}
		if err := kind.list(c); err != nil {
			code = c.Fail("/proc/sysvipc/"+kind.file, err)
		}
	}
	return code
}

// ipcKind is one file of /proc/sysvipc and the columns of it to show.
type ipcKind struct {
	letter  byte
	file    string
	title   string
	columns []string
}

var ipcKinds = []ipcKind{
	{'q', "msg", "Message Queues", []string{"key", "msqid", "uid", "perms", "cbytes", "qnum"}},
	{'m', "shm", "Shared Memory Segments", []string{"key", "shmid", "uid", "perms", "size", "nattch"}},
	{'s', "sem", "Semaphore Arrays", []string{"key", "semid", "uid", "perms", "nsems"}},
}

func (k ipcKind) list(c *applet.Ctx) error {
	text, err := os.ReadFile(c.System("/proc/sysvipc/" + k.file))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	c.Out.Println("------ " + k.title + " --------")
	row := func(pick func(name string) string) {
		line := ""
		for _, name := range k.columns {
			line += fmt.Sprintf("%-11s", pick(name))
		}
		c.Out.Println(strings.TrimRight(line, " "))
	}
	row(func(name string) string { return name })
	var heads []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if heads == nil {
			heads = f
			continue
		}
		row(func(name string) string {
			if i := slices.Index(heads, name); i >= 0 && i < len(f) {
				return f[i]
			}
			return "?"
		})
	}
	c.Out.Println("")
	return nil
}
