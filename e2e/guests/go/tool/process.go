//go:build wasip1

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func echo(args []string) int {
	end := "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	fmt.Print(strings.Join(args, " ") + end)
	return 0
}

func stderr(args []string) int {
	fmt.Fprintln(os.Stderr, strings.Join(args, " "))
	return 0
}

func env([]string) int {
	for _, kv := range os.Environ() {
		fmt.Println(kv)
	}
	return 0
}

func exit(args []string) int {
	if len(args) != 1 {
		return fail(fmt.Errorf("exit wants a code"))
	}
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return fail(err)
	}
	return code
}

// sleep waits the given seconds, which may have a fraction; "inf" is for ever.
func sleep(args []string) int {
	if len(args) != 1 {
		return fail(fmt.Errorf("sleep wants seconds"))
	}
	if args[0] == "inf" {
		return top(nil)
	}
	seconds, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return fail(err)
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	return 0
}

// top says that it is up and then waits for its end.
func top([]string) int {
	fmt.Println("up")
	for {
		time.Sleep(time.Hour)
	}
}

// yes writes the given number of numbered lines.
func yes(args []string) int {
	if len(args) != 1 {
		return fail(fmt.Errorf("yes wants a number of lines"))
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return fail(err)
	}
	for i := range n {
		fmt.Printf("line %d\n", i)
	}
	return 0
}

// hostname prints the name in the UTS namespace; wasi has no call for it.
func hostname([]string) int {
	return cat([]string{"/proc/sys/kernel/hostname"})
}

// id prints the effective user (-u) or group (-g), which wasi has no call for.
func id(args []string) int {
	key := "Uid"
	switch {
	case len(args) == 1 && args[0] == "-u":
	case len(args) == 1 && args[0] == "-g":
		key = "Gid"
	default:
		return fail(fmt.Errorf("id wants -u or -g"))
	}
	fields, err := statusFields(key)
	if err != nil {
		return fail(err)
	}
	if len(fields) < 2 {
		return fail(fmt.Errorf("/proc/self/status: %s has %d fields", key, len(fields)))
	}
	fmt.Println(fields[1])
	return 0
}

// status prints one entry of /proc/self/status.
func status(args []string) int {
	if len(args) != 1 {
		return fail(fmt.Errorf("status wants a key of /proc/self/status"))
	}
	fields, err := statusFields(args[0])
	if err != nil {
		return fail(err)
	}
	fmt.Println(strings.Join(fields, " "))
	return 0
}

func statusFields(key string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Fields(rest), nil
		}
	}
	return nil, fmt.Errorf("/proc/self/status has no %q", key)
}
