package network

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/namespace"
)

// Counters implements sandbox.Network. A thread visits the namespace, as its
// files in /proc/net are those of the thread that opens them.
func (c *CNI) Counters(netns string) ([]sandbox.InterfaceCounters, error) {
	target, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: netns, Err: err}
	}
	defer unix.Close(target)
	var text []byte
	err = namespace.OnThread(func() (err error) {
		if err := unix.Setns(target, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", netns, err)
		}
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return nil, err
	}
	return parseCounters(text), nil
}

// parseCounters reads /proc/net/dev: two lines of headings, then a line for
// each interface with eight counters of what was received and eight of what was
// sent.
func parseCounters(text []byte) []sandbox.InterfaceCounters {
	var list []sandbox.InterfaceCounters
	for line := range bytes.Lines(text) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		words := bytes.Fields(rest)
		if !ok || len(words) < 16 {
			continue
		}
		i := sandbox.InterfaceCounters{Name: string(bytes.TrimSpace(name))}
		if i.Name == "lo" {
			continue
		}
		for at, counter := range map[int]*uint64{
			0: &i.RxBytes, 1: &i.RxPackets, 2: &i.RxErrors, 3: &i.RxDropped,
			8: &i.TxBytes, 9: &i.TxPackets, 10: &i.TxErrors, 11: &i.TxDropped,
		} {
			*counter, _ = strconv.ParseUint(string(words[at]), 10, 64) // the kernel writes numbers
		}
		list = append(list, i)
	}
	return list
}
