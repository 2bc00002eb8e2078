package sandbox

import (
	"errors"
	"slices"
	"testing"
)

func TestPhasesLeadNowhereElse(t *testing.T) {
	allowed := map[[2]Phase]bool{}
	for from, list := range edges {
		for _, to := range list {
			allowed[[2]Phase{from, to}] = true
		}
	}
	phases := []Phase{PhaseCreating, PhaseReady, PhaseNotReady, PhaseCreated, PhaseRunning, PhaseExited, PhaseRemoved}
	for _, from := range phases {
		for _, to := range phases {
			err := from.To(to, "container x")
			var te *TransitionError
			switch {
			case allowed[[2]Phase{from, to}] && err != nil:
				t.Errorf("%s to %s: %v", from, to, err)
			case !allowed[[2]Phase{from, to}] && (!errors.As(err, &te) || !errors.Is(err, ErrPrecondition)):
				t.Errorf("%s to %s: %v, want a TransitionError", from, to, err)
			}
		}
	}
	for _, never := range [][2]Phase{{PhaseExited, PhaseRunning}, {PhaseRemoved, PhaseReady}, {PhaseRunning, PhaseRemoved}, {PhaseNotReady, PhaseReady}} {
		if allowed[never] {
			t.Errorf("%s leads to %s", never[0], never[1])
		}
	}
}

func TestArgumentsFollowKubernetes(t *testing.T) {
	image := &Image{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}
	tests := []struct {
		name          string
		command, args []string
		want          []string
	}{
		{"neither", nil, nil, []string{"entry", "cmd"}},
		{"args", nil, []string{"a"}, []string{"entry", "a"}},
		{"command", []string{"c"}, nil, []string{"c"}},
		{"both", []string{"c"}, []string{"a"}, []string{"c", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := arguments(&ContainerConfig{Command: tt.command, Args: tt.args}, image); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSignalNumber(t *testing.T) {
	for name, want := range map[string]int{"": 15, "SIGTERM": 15, "term": 15, "9": 9, "SIGKILL": 9, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "SIGRTMAX-1": 63, "SIGSYS": 31} {
		if got, err := signalNumber(name); got != want || err != nil {
			t.Errorf("%q = %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"SIG", "SIGNOPE", "0", "65", "-1", "SIGRTMIN+99", "SIGRTMIN-1"} {
		if got, err := signalNumber(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q = %d, %v, want an error", name, got, err)
		}
	}
}

func TestCapsOf(t *testing.T) {
	held := ^uint64(0)
	admin, bind := capBits("NET_ADMIN"), capBits("NET_BIND_SERVICE")
	tests := []struct {
		name string
		s    Security
		uid  uint32
		want Caps
	}{
		{"default of root", Security{}, 0, Caps{Bounding: defaultCaps, Permitted: defaultCaps}},
		{"default of another user", Security{}, 1000, Caps{Bounding: defaultCaps}},
		{"one more", Security{AddCapabilities: []string{"cap_net_admin"}}, 0, Caps{Bounding: defaultCaps | admin, Permitted: defaultCaps | admin}},
		{"one less", Security{DropCapabilities: []string{"NET_BIND_SERVICE"}}, 0, Caps{Bounding: defaultCaps &^ bind, Permitted: defaultCaps &^ bind}},
		{"none", Security{DropCapabilities: []string{"ALL"}}, 0, Caps{}},
		{"only one", Security{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_ADMIN"}}, 0, Caps{Bounding: admin, Permitted: admin}},
		{"all", Security{AddCapabilities: []string{"all"}}, 0, Caps{Bounding: held, Permitted: held}},
		{"all but one", Security{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"CAP_NET_ADMIN"}}, 0, Caps{Bounding: held &^ admin, Permitted: held &^ admin}},
		{"none wins over all", Security{DropCapabilities: []string{"CAP_ALL"}, AddCapabilities: []string{"ALL"}}, 0, Caps{}},
		{"a drop wins over an add", Security{DropCapabilities: []string{"NET_ADMIN", "ALL"}, AddCapabilities: []string{"NET_ADMIN"}}, 0, Caps{}},
		{"each dropped by name", Security{DropCapabilities: capNames, AddCapabilities: []string{"NET_ADMIN"}}, 0, Caps{}},
		{"ambient", Security{DropCapabilities: []string{"ALL"}, AddAmbient: []string{"NET_ADMIN"}}, 7, Caps{Bounding: admin, Permitted: admin, Inheritable: admin, Ambient: admin}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := capsOf(&tt.s, tt.uid, held); got != tt.want || err != nil {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	if got, _ := capsOf(&Security{Privileged: true}, 0, admin); got.Permitted != admin {
		t.Errorf("privileged = %#x, want all that the daemon holds", got.Permitted)
	}
	if _, err := capsOf(&Security{AddCapabilities: []string{"NOPE"}}, 0, held); !errors.Is(err, ErrInvalid) {
		t.Errorf("unknown capability: %v", err)
	}
}

func TestFindTakesUnambiguousPrefixes(t *testing.T) {
	objects := map[string]int{"abc1": 1, "abd2": 2}
	if v, err := find(objects, "abc", "thing"); v != 1 || err != nil {
		t.Errorf("prefix = %d, %v", v, err)
	}
	var ambiguous *AmbiguousError
	if _, err := find(objects, "ab", "thing"); !errors.As(err, &ambiguous) {
		t.Errorf("ambiguous prefix: %v", err)
	}
	for _, id := range []string{"", "x", "abc12"} {
		if _, err := find(objects, id, "thing"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
