package sandbox

import (
	"context"
	"fmt"
)

// NamespaceKeeper makes and keeps what the containers of a pod share of the kernel,
// beside the network namespace of a pod on the host's users, which is
// the Network's. Safe for concurrent use; calls for one pod must not overlap.
type NamespaceKeeper interface {
	// Make makes what the spec asks for. Nothing is left when it fails.
	Make(ctx context.Context, spec NamespaceSpec) (PodNamespaces, error)
	// SetSysctls sets them in the namespaces of a pod that Make made.
	SetSysctls(ns PodNamespaces, s Sysctls) error
	// Alive says whether all of it is still there: a reboot ends it.
	Alive(ns PodNamespaces) bool
	// Remove removes what Make made for the pod; nil when it is gone.
	Remove(id string) error
	// Orphans removes what was made for any pod that is not in keep.
	Orphans(keep map[string]bool) error
}

// NamespaceSpec says what a pod needs.
type NamespaceSpec struct {
	ID       string  // sandbox id
	User     *UserNS // nil: the host's users
	Net      bool    // only with User
	IPC      bool    // and a /dev/shm
	UTS      bool
	Hostname string // for UTS
	ShmSize  int64  // bytes; 0: the default
	Label    string // SELinux label of the /dev/shm; empty: as the kernel has it
}

// PodNamespaces says where the namespaces of a pod are bound. An empty path is
// the host's, or, for Shm, what each container has of its own.
type PodNamespaces struct {
	User string `json:"user,omitempty"`
	IPC  string `json:"ipc,omitempty"`
	UTS  string `json:"uts,omitempty"`
	Shm  string `json:"shm,omitempty"` // a tmpfs
}

// settlePID says in whose pid namespace a container of the pod lives. That of a pod with
// the host's is the host's; one whose containers have their own has none to share.
func (n *Namespaces) settlePID(pod NamespaceMode) error {
	switch {
	case n.PID == "":
		n.PID = pod
	case n.PID == NamespacePod && pod == NamespaceNode:
		n.PID = NamespaceNode
	case n.PID == NamespacePod && pod != NamespacePod:
		return fmt.Errorf("container asks for the pod's pid namespace, but the pod was made without one: %w", ErrInvalid)
	}
	return nil
}

// IDMapping is a range of ids and what they are on the host.
type IDMapping struct {
	ContainerID uint32 `json:"containerID"`
	HostID      uint32 `json:"hostID"`
	Size        uint32 `json:"size"`
}

// UserNS maps the ids of a user namespace, or of a mount.
type UserNS struct {
	UIDs []IDMapping `json:"uids"`
	GIDs []IDMapping `json:"gids"`
}

// Equal says whether both map alike; nil maps nothing.
func (u *UserNS) Equal(v *UserNS) bool {
	if u == nil || v == nil {
		return u == v
	}
	return equalMappings(u.UIDs, v.UIDs) && equalMappings(u.GIDs, v.GIDs)
}

func equalMappings(a, b []IDMapping) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// HostUID is what a user id of the namespace is on the host; not ok: it is not
// mapped. Without a namespace each id is itself.
func (u *UserNS) HostUID(id uint32) (uint32, bool) {
	if u == nil {
		return id, true
	}
	return hostID(u.UIDs, id)
}

// HostGID is HostUID for groups.
func (u *UserNS) HostGID(id uint32) (uint32, bool) {
	if u == nil {
		return id, true
	}
	return hostID(u.GIDs, id)
}

func hostID(mappings []IDMapping, id uint32) (uint32, bool) {
	for _, m := range mappings {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + (id - m.ContainerID), true
		}
	}
	return 0, false
}

// HostRoot is what root of the namespace is on the host.
func (u *UserNS) HostRoot() (uid, gid uint32) {
	uid, _ = u.HostUID(0)
	gid, _ = u.HostGID(0)
	return uid, gid
}

// checkUserNS refuses mappings with which the kernel, or a pod, can do nothing.
func checkUserNS(u *UserNS) error {
	if u == nil {
		return nil
	}
	if len(u.UIDs) != 1 || len(u.GIDs) != 1 || u.UIDs[0].ContainerID != 0 || u.GIDs[0].ContainerID != 0 {
		return fmt.Errorf("a user namespace needs exactly one uid and one gid mapping that start at container id 0: %w", ErrInvalid)
	}
	return checkMappings(u)
}

// checkMappings refuses ranges that are empty or leave the ids that there are.
func checkMappings(u *UserNS) error {
	if len(u.UIDs) == 0 || len(u.GIDs) == 0 {
		return fmt.Errorf("uids and gids must both be mapped: %w", ErrInvalid)
	}
	for _, list := range [][]IDMapping{u.UIDs, u.GIDs} {
		for _, m := range list {
			const ids = 1<<32 - 1 // the last one means none
			if m.Size == 0 || uint64(m.HostID)+uint64(m.Size) > ids || uint64(m.ContainerID)+uint64(m.Size) > ids {
				return fmt.Errorf("id mapping %d:%d:%d is empty or too large: %w", m.ContainerID, m.HostID, m.Size, ErrInvalid)
			}
		}
	}
	return nil
}

// checkUser refuses a user whom the pod's user namespace does not have.
func (u *UserNS) checkUser(user User) error {
	if _, ok := u.HostUID(user.UID); !ok {
		return fmt.Errorf("user %d is outside of the ids of the pod's user namespace: run as another user, or give pods more ids: %w", user.UID, ErrInvalid)
	}
	for _, g := range append([]uint32{user.GID}, user.Groups...) {
		if _, ok := u.HostGID(g); !ok {
			return fmt.Errorf("group %d is outside of the ids of the pod's user namespace: use another group, or give pods more ids: %w", g, ErrInvalid)
		}
	}
	return nil
}
