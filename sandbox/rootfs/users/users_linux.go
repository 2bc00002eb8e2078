package users

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox/rootfs"
)

// maxFile bounds /etc/passwd and /etc/group, which come from the image.
const maxFile = 16 << 20

const maxGroups = 65536 // NGROUPS_MAX

// LookupUser says as whom a container with this root runs. It reads
// /etc/passwd and /etc/group below dir; either may be missing as long as
// nothing must be found in it.
//
// Its errors: *UnknownError when a name is not in its file, *SpecError when the
// request makes no sense, and otherwise those of reading the files.
func LookupUser(dir *os.File, spec UserSpec) (User, error) {
	name, group, err := spec.names()
	if err != nil {
		return User{}, err
	}
	u, err := findUser(dir, name)
	if err != nil {
		return User{}, err
	}
	if group != "" {
		if u.GID, err = findGroup(dir, group); err != nil {
			return User{}, err
		}
	}
	groups := []uint32{u.GID}
	if spec.Policy != GroupsStrict && u.Name != "" {
		member, err := memberships(dir, u.Name)
		if err != nil {
			return User{}, err
		}
		groups = append(groups, member...)
	}
	for _, g := range spec.SupplementalGroups {
		id, err := checkID("supplemental group", g)
		if err != nil {
			return User{}, err
		}
		groups = append(groups, id)
	}
	slices.Sort(groups)
	u.Groups = slices.Compact(groups)
	if len(u.Groups) > maxGroups {
		return User{}, &SpecError{Field: "supplemental groups", Reason: fmt.Sprintf("%d are more than the %d that a process can be in", len(u.Groups), maxGroups)}
	}
	return u, nil
}

// names gives the user and group to look for; numbers are decimal. An empty
// user is root.
func (s *UserSpec) names() (name, group string, err error) {
	switch {
	case s.RunAsUser != nil:
		id, err := checkID("run_as_user", *s.RunAsUser)
		if err != nil {
			return "", "", err
		}
		name = strconv.FormatUint(uint64(id), 10)
	case s.RunAsUsername != "":
		name = s.RunAsUsername
	case s.RunAsGroup != nil:
		return "", "", &SpecError{Field: "run_as_group", Reason: "is set without run_as_user or run_as_username"}
	default:
		name, group, _ = strings.Cut(s.ImageUser, ":")
		return name, group, nil
	}
	if s.RunAsGroup != nil {
		id, err := checkID("run_as_group", *s.RunAsGroup)
		if err != nil {
			return "", "", err
		}
		group = strconv.FormatUint(uint64(id), 10)
	}
	return name, group, nil
}

func checkID(field string, id int64) (uint32, error) {
	if id < 0 || id > math.MaxInt32 {
		return 0, &SpecError{Field: field, Reason: fmt.Sprintf("%d is not between 0 and %d", id, math.MaxInt32)}
	}
	return uint32(id), nil
}

// numeric parses s when it consists of digits only.
func numeric(field, s string) (id uint32, ok bool, err error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	id, err = checkID(field, n)
	return id, true, err
}

// findUser gives the entry of a user. A number that has no entry stands for
// itself, with group 0.
func findUser(dir *os.File, name string) (User, error) {
	if name == "" {
		name = "0"
	}
	id, isNumber, err := numeric("user", name)
	if err != nil {
		return User{}, err
	}
	var entries []user.User
	err = parse(dir, "/etc/passwd", func(r io.Reader) (err error) {
		entries, err = user.ParsePasswdFilter(r, func(u user.User) bool {
			if isNumber {
				return u.Uid == int(id)
			}
			return u.Name == name
		})
		return err
	})
	if err != nil {
		return User{}, err
	}
	if len(entries) == 0 {
		if !isNumber {
			return User{}, &UnknownError{Kind: "user", Name: name, File: "/etc/passwd"}
		}
		return User{UID: id, Home: "/"}, nil
	}
	return fromEntry(entries[0])
}

func fromEntry(e user.User) (User, error) {
	uid, err := checkID("user id of "+strconv.Quote(e.Name), int64(e.Uid))
	if err != nil {
		return User{}, err
	}
	gid, err := checkID("group id of "+strconv.Quote(e.Name), int64(e.Gid))
	if err != nil {
		return User{}, err
	}
	home := e.Home
	if home == "" {
		home = "/"
	}
	return User{UID: uid, GID: gid, Name: e.Name, Home: home}, nil
}

func findGroup(dir *os.File, name string) (uint32, error) {
	if id, ok, err := numeric("group", name); ok || err != nil {
		return id, err
	}
	found, err := groupsWhere(dir, func(g user.Group) bool { return g.Name == name })
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, &UnknownError{Kind: "group", Name: name, File: "/etc/group"}
	}
	return found[0], nil
}

// memberships lists the groups of /etc/group that have the user as a member.
func memberships(dir *os.File, name string) ([]uint32, error) {
	return groupsWhere(dir, func(g user.Group) bool { return slices.Contains(g.List, name) })
}

func groupsWhere(dir *os.File, wanted func(user.Group) bool) ([]uint32, error) {
	var entries []user.Group
	err := parse(dir, "/etc/group", func(r io.Reader) (err error) {
		entries, err = user.ParseGroupFilter(r, wanted)
		return err
	})
	if err != nil {
		return nil, err
	}
	ids := make([]uint32, 0, len(entries))
	for _, e := range entries {
		id, err := checkID("id of group "+strconv.Quote(e.Name), int64(e.Gid))
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// parse reads a file of the image with fn; a file that does not exist is empty.
func parse(dir *os.File, path string, fn func(io.Reader) error) error {
	f, err := rootfs.Resolve(dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	if st.Size() > maxFile {
		return &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%d bytes are too many", st.Size())}
	}
	if err := fn(io.LimitReader(f, maxFile)); err != nil {
		return &fs.PathError{Op: "parse", Path: path, Err: err}
	}
	return nil
}
