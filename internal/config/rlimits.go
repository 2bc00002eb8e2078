package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Rlimit is a resource limit of guests' processes, as setrlimit(2) has it.
type Rlimit struct {
	Name       string // nofile
	Resource   uint32 // RLIMIT_NOFILE
	Soft, Hard uint64 // unix.RLIM_INFINITY: none
}

var resources = map[string]uint32{
	"core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS,
	"memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING,
}

// engines are those that the engine settles: address space is what it reserves for
// a memory, of which a guest uses little, and its stack is sized at its start.
var engines = []string{"as", "stack"}

// minOpenFiles is what a worker needs for itself, and some for its guest.
const minOpenFiles = 64

const unlimited = "unlimited"

// parseRlimit reads NAME=SOFT:HARD, or NAME=LIMIT for both.
func parseRlimit(s string) (Rlimit, error) {
	name, limits, ok := strings.Cut(s, "=")
	if !ok {
		return Rlimit{}, fmt.Errorf("%q is no resource limit, such as nofile=1024:4096", s)
	}
	resource, ok := resources[name]
	if !ok && slices.Contains(engines, name) {
		return Rlimit{}, fmt.Errorf("%q is the engine's own: a memory limit of the container bounds what a guest uses", name)
	}
	if !ok {
		return Rlimit{}, fmt.Errorf("resource %q is not known, only %s", name, strings.Join(slices.Sorted(maps.Keys(resources)), ", "))
	}
	soft, hard, two := strings.Cut(limits, ":")
	if !two {
		hard = soft
	}
	r := Rlimit{Name: name, Resource: resource}
	for _, f := range []struct {
		text string
		to   *uint64
	}{{soft, &r.Soft}, {hard, &r.Hard}} {
		n, err := strconv.ParseUint(f.text, 10, 64)
		if f.text == unlimited {
			n, err = unix.RLIM_INFINITY, nil
		}
		if err != nil {
			return Rlimit{}, fmt.Errorf("limit %q of %s is neither a whole number nor %s", f.text, name, unlimited)
		}
		*f.to = n
	}
	switch {
	case r.Soft > r.Hard:
		return Rlimit{}, fmt.Errorf("%s: the soft limit %s is above the hard one", name, soft)
	case name == "nofile" && r.Soft < minOpenFiles:
		return Rlimit{}, fmt.Errorf("nofile: a container needs %d at least", minOpenFiles)
	}
	return r, nil
}

// String is what parseRlimit takes.
func (r Rlimit) String() string {
	return fmt.Sprintf("%s=%s:%s", r.Name, limitText(r.Soft), limitText(r.Hard))
}

func limitText(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return unlimited
	}
	return strconv.FormatUint(n, 10)
}

// rlimits is an option of none by default.
func rlimits(p *[]Rlimit) value {
	return value{
		kind: "limits", form: formList, def: []string{},
		set: func(items []string) error {
			out := []Rlimit{}
			for _, s := range items {
				r, err := parseRlimit(s)
				if err != nil {
					return err
				}
				if slices.ContainsFunc(out, func(other Rlimit) bool { return other.Name == r.Name }) {
					return fmt.Errorf("%s is limited twice", r.Name)
				}
				out = append(out, r)
			}
			*p = out
			return nil
		},
		get: func() []string {
			out := make([]string, len(*p))
			for i, r := range *p {
				out[i] = r.String()
			}
			return out
		},
	}
}
