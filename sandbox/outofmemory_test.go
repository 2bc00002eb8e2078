package sandbox

import (
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"testing"
	"time"
)

// oomGroups are control groups of which only the kills for memory are known.
type oomGroups struct {
	Cgroups
	driver CgroupDriver
	kills  map[string]uint64 // by path; without: the group is gone
	fault  error
}

func (g *oomGroups) Driver() CgroupDriver { return g.driver }

func (g *oomGroups) Open(p string) (Cgroup, error) { return &oomGroup{all: g, path: p}, nil }

type oomGroup struct {
	Cgroup
	all  *oomGroups
	path string
}

func (g *oomGroup) Path() string { return g.path }

func (g *oomGroup) OOMKills() (uint64, error) {
	n, ok := g.all.kills[g.path]
	if !ok {
		return 0, errors.Join(fs.ErrNotExist, g.all.fault)
	}
	return n, g.all.fault
}

func TestWhoRanOutOfMemory(t *testing.T) {
	const pod = "/kubepods.slice/kubepods-pod1.slice"
	start := time.Now()
	died := func(of string, at time.Time) *Container {
		return &Container{id: of, rec: containerRecord{Cgroup: pod + "/" + of + ".scope", Exit: &Exit{Reason: ReasonOOMKilled, Time: at}}}
	}
	three := uint64(3)
	for name, tt := range map[string]struct {
		driver CgroupDriver
		kills  map[string]uint64
		fault  error
		before *uint64
		killed bool
		others []*Container
		want   bool
	}{
		"its group counts one":       {driver: DriverCgroupfs, kills: map[string]uint64{pod + "/c.scope": 1}, want: true},
		"its group counts none":      {driver: DriverCgroupfs, kills: map[string]uint64{pod + "/c.scope": 0, pod: 4}, before: &three},
		"it is gone without a trace": {driver: DriverSystemd, kills: map[string]uint64{}, before: &three},
		"one more in the pod":        {driver: DriverSystemd, kills: map[string]uint64{pod: 4}, before: &three, want: true},
		"none more in the pod":       {driver: DriverSystemd, kills: map[string]uint64{pod: 3}, before: &three},
		"the server killed it":       {driver: DriverSystemd, kills: map[string]uint64{pod: 4}, before: &three, killed: true},
		"nobody counted before":      {driver: DriverSystemd, kills: map[string]uint64{pod: 4}},
		"another one's kill":         {driver: DriverSystemd, kills: map[string]uint64{pod: 4}, before: &three, others: []*Container{died("d", start.Add(time.Second))}},
		"another one's and its own":  {driver: DriverSystemd, kills: map[string]uint64{pod: 5}, before: &three, others: []*Container{died("d", start.Add(time.Second))}, want: true},
		"another one's of before":    {driver: DriverSystemd, kills: map[string]uint64{pod: 4}, before: &three, others: []*Container{died("d", start.Add(-time.Second))}, want: true},
		"the count cannot be read":   {driver: DriverCgroupfs, kills: map[string]uint64{pod + "/c.scope": 1}, fault: fs.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Manager{Config: Config{Cgroups: &oomGroups{driver: tt.driver, kills: tt.kills, fault: tt.fault}, Logger: slog.New(slog.DiscardHandler)}}
			c := &Container{id: "c", killed: tt.killed, rec: containerRecord{Cgroup: path.Join(pod, "c.scope"), StartedAt: start, ParentOOMKills: tt.before}}
			m.containers = map[string]*Container{"c": c}
			for _, o := range tt.others {
				m.containers[o.id] = o
			}
			if got := m.ranOutOfMemory(c); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTheParentIsCountedOnlyWhereGroupsVanish(t *testing.T) {
	m := &Manager{Config: Config{Cgroups: &oomGroups{driver: DriverCgroupfs, kills: map[string]uint64{"/pod": 2}}}}
	if got := m.parentOOMKills("/pod/c"); got != nil {
		t.Errorf("with cgroupfs: %d, want no count", *got)
	}
	m.Cgroups = &oomGroups{driver: DriverSystemd, kills: map[string]uint64{"/pod.slice": 2}}
	if got := m.parentOOMKills("/pod.slice/c.scope"); got == nil || *got != 2 {
		t.Errorf("with systemd: %v, want 2", got)
	}
	if got := m.parentOOMKills("/new.slice/c.scope"); got == nil || *got != 0 {
		t.Errorf("before the first container: %v, want 0", got)
	}
}
