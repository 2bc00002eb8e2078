// Package users finds out as which user, in which groups and with which home
// directory a container runs. Names are looked up in the /etc/passwd and
// /etc/group of the container's root; the host's are never read.
package users

import "fmt"

// GroupsPolicy says which supplemental groups a container gets.
type GroupsPolicy string

const (
	GroupsMerge  GroupsPolicy = "merge"  // those asked for and those of /etc/group; also ""
	GroupsStrict GroupsPolicy = "strict" // only those asked for
)

// UserSpec is what request and image say about the user. RunAsUser goes before
// RunAsUsername, and either before ImageUser as a whole.
type UserSpec struct {
	RunAsUser          *int64
	RunAsUsername      string
	RunAsGroup         *int64
	ImageUser          string // "user", "uid", "user:group", "uid:gid" or any mixture
	SupplementalGroups []int64
	Policy             GroupsPolicy
}

// User is the identity of a container's process.
type User struct {
	UID    uint32
	GID    uint32
	Groups []uint32 // sorted, with GID
	Name   string   // "" when UID is not in /etc/passwd
	Home   string   // "/" when not known
}

// UnknownError says that a name is not in the image's file.
type UnknownError struct {
	Kind string // user or group
	Name string
	File string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no %s %q in %s of the image", e.Kind, e.Name, e.File)
}

// SpecError says that a field of the request or image cannot be used.
type SpecError struct {
	Field  string
	Reason string
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Reason }
