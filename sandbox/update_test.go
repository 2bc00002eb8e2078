package sandbox

import (
	"context"
	"errors"
	"reflect"
	"testing"
)

// updates are control groups that note what they are given.
type updates struct {
	Cgroups
	opened updated
}

func (u *updates) Open(string) (Cgroup, error) { return &u.opened, nil }

type updated struct {
	Cgroup
	got   []Resources
	fault error
}

func (u *updated) Update(_ context.Context, r Resources) error {
	u.got = append(u.got, r)
	return u.fault
}

type noRecords struct{ Records }

func (noRecords) Save(string, any) error { return nil }

// With systemd the limits of a container that has not started are in its cgroup's
// memory alone.
func TestUpdateReachesWhatAStartJoins(t *testing.T) {
	old := Resources{CPUShares: 5, MemoryLimit: 100, MemorySwap: 150, OOMScoreAdj: 7}
	prepared := &updated{}
	groups := &updates{}
	c := &Container{id: "c", cgroup: prepared, rec: containerRecord{ID: "c", Phase: PhaseCreated, Cgroup: "/pod.slice/c.scope", Config: ContainerConfig{Resources: old}}}
	m := &Manager{Config: Config{Cgroups: groups, ContainerRecords: noRecords{}}, containers: map[string]*Container{"c": c}}

	if err := m.UpdateResources(t.Context(), "c", Resources{MemoryLimit: 120}); err != nil {
		t.Fatal(err)
	}
	// Memory depends on the limit of memory and swap; the score is not asked for.
	if want := []Resources{{CPUShares: 5, MemoryLimit: 120, MemorySwap: 150}}; !reflect.DeepEqual(prepared.got, want) || groups.opened.got != nil {
		t.Errorf("the group to join got %+v and another one %+v, want %+v and nothing", prepared.got, groups.opened.got, want)
	}
	if got, want := c.Status().Config.Resources, (Resources{CPUShares: 5, MemoryLimit: 120, MemorySwap: 150, OOMScoreAdj: 7}); !reflect.DeepEqual(got, want) {
		t.Errorf("status has %+v, want %+v", got, want)
	}
	c.cgroup = nil // a daemon that found it
	groups.opened.fault = ErrInvalid
	if err := m.UpdateResources(t.Context(), "c", Resources{MemoryLimit: 90}); !errors.Is(err, ErrInvalid) || len(groups.opened.got) != 1 {
		t.Errorf("got %v and %+v, want the fault of the group by its path", err, groups.opened.got)
	}
	if got := c.Status().Config.Resources.MemoryLimit; got != 120 {
		t.Errorf("after a failed update the status has the limit %d, want 120", got)
	}
}

func TestNoMemoryLimitLeavesNoneForSwap(t *testing.T) {
	for name, tt := range map[string]struct{ old, change, want Resources }{
		"both were limited": {Resources{MemoryLimit: 5, MemorySwap: 6}, Resources{MemoryLimit: -1}, Resources{MemoryLimit: -1, MemorySwap: -1}},
		"memory alone was":  {Resources{MemoryLimit: 5}, Resources{MemoryLimit: -1}, Resources{MemoryLimit: -1}},
		"raised":            {Resources{MemoryLimit: 5, MemorySwap: 6}, Resources{MemoryLimit: 6}, Resources{MemoryLimit: 6, MemorySwap: 6}},
	} {
		if got := tt.old.with(tt.change); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}
