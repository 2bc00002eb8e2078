package users

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

const passwd = `root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www:/var/www:/usr/sbin/nologin
app:x:1000:1001::/home/app:/bin/sh
nohome:x:1002:1002:::
# a comment
broken
`

const group = `root:x:0:
www-data:x:33:
app:x:1001:
audio:x:29:app,www-data
video:x:44:app
dup:x:44:app
`

func image(t *testing.T, files map[string]string) *os.File {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func id(n int64) *int64 { return &n }

func TestLookupUser(t *testing.T) {
	full := image(t, map[string]string{"etc/passwd": passwd, "etc/group": group})
	empty := image(t, nil)
	tests := []struct {
		name string
		dir  *os.File
		spec UserSpec
		want User
	}{
		{"nothing said is root", full, UserSpec{}, User{Groups: []uint32{0}, Name: "root", Home: "/root"}},
		{"nothing said, no files", empty, UserSpec{}, User{Groups: []uint32{0}, Home: "/"}},
		{"uid has its group, home and memberships", full, UserSpec{RunAsUser: id(1000)},
			User{UID: 1000, GID: 1001, Groups: []uint32{29, 44, 1001}, Name: "app", Home: "/home/app"}},
		{"unknown uid has group 0", full, UserSpec{RunAsUser: id(4242)}, User{UID: 4242, Groups: []uint32{0}, Home: "/"}},
		{"uid without files", empty, UserSpec{RunAsUser: id(7), RunAsGroup: id(8)}, User{UID: 7, GID: 8, Groups: []uint32{8}, Home: "/"}},
		{"username", full, UserSpec{RunAsUsername: "www-data"},
			User{UID: 33, GID: 33, Groups: []uint32{29, 33}, Name: "www-data", Home: "/var/www"}},
		{"uid goes before username", full, UserSpec{RunAsUser: id(33), RunAsUsername: "app", Policy: GroupsStrict},
			User{UID: 33, GID: 33, Groups: []uint32{33}, Name: "www-data", Home: "/var/www"}},
		{"group replaces the user's", full, UserSpec{RunAsUser: id(1000), RunAsGroup: id(5)},
			User{UID: 1000, GID: 5, Groups: []uint32{5, 29, 44}, Name: "app", Home: "/home/app"}},
		{"request replaces all of the image's user", full, UserSpec{RunAsUser: id(33), ImageUser: "app:video", Policy: GroupsStrict},
			User{UID: 33, GID: 33, Groups: []uint32{33}, Name: "www-data", Home: "/var/www"}},
		{"image uid:gid", empty, UserSpec{ImageUser: "1003:1004"}, User{UID: 1003, GID: 1004, Groups: []uint32{1004}, Home: "/"}},
		{"image name", full, UserSpec{ImageUser: "www-data"},
			User{UID: 33, GID: 33, Groups: []uint32{29, 33}, Name: "www-data", Home: "/var/www"}},
		{"image name:name", full, UserSpec{ImageUser: "app:video", Policy: GroupsStrict},
			User{UID: 1000, GID: 44, Groups: []uint32{44}, Name: "app", Home: "/home/app"}},
		{"image :group", full, UserSpec{ImageUser: ":video", Policy: GroupsStrict},
			User{GID: 44, Groups: []uint32{44}, Name: "root", Home: "/root"}},
		{"strict", full, UserSpec{RunAsUser: id(1000), SupplementalGroups: []int64{5, 6}, Policy: GroupsStrict},
			User{UID: 1000, GID: 1001, Groups: []uint32{5, 6, 1001}, Name: "app", Home: "/home/app"}},
		{"merge", full, UserSpec{RunAsUser: id(1000), SupplementalGroups: []int64{6, 44}, Policy: GroupsMerge},
			User{UID: 1000, GID: 1001, Groups: []uint32{6, 29, 44, 1001}, Name: "app", Home: "/home/app"}},
		{"no home", full, UserSpec{RunAsUsername: "nohome"},
			User{UID: 1002, GID: 1002, Groups: []uint32{1002}, Name: "nohome", Home: "/"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := LookupUser(tt.dir, tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestLookupUserRefuses(t *testing.T) {
	full := image(t, map[string]string{"etc/passwd": passwd, "etc/group": group})
	empty := image(t, nil)
	evil := image(t, map[string]string{"etc/passwd": "evil:x:-5:0::/:\n", "etc/group": "big:x:99999999999:\n"})
	many := image(t, map[string]string{"etc/passwd": passwd, "etc/group": manyGroups(70000)})
	unknown, spec := new(*UnknownError), new(*SpecError)
	tests := []struct {
		name string
		dir  *os.File
		spec UserSpec
		as   any
		says string
	}{
		{"unknown user", full, UserSpec{RunAsUsername: "nobody-here"}, unknown, `"nobody-here"`},
		{"user name without files", empty, UserSpec{ImageUser: "app"}, unknown, `"app"`},
		{"unknown group", full, UserSpec{ImageUser: "app:nogroup"}, unknown, `group "nogroup"`},
		{"group alone", full, UserSpec{RunAsGroup: id(5)}, spec, "run_as_group"},
		{"group alone, image has a user", full, UserSpec{RunAsGroup: id(5), ImageUser: "app"}, spec, "run_as_group"},
		{"negative uid", full, UserSpec{RunAsUser: id(-1)}, spec, "run_as_user"},
		{"huge uid", full, UserSpec{RunAsUser: id(1 << 40)}, spec, "run_as_user"},
		{"huge image uid", full, UserSpec{ImageUser: "99999999999999999999999"}, spec, "user"},
		{"negative supplemental group", full, UserSpec{SupplementalGroups: []int64{-4}}, spec, "supplemental group"},
		{"image maps a user to a negative id", evil, UserSpec{ImageUser: "evil"}, spec, `"evil"`},
		{"image has a user in too many groups", many, UserSpec{ImageUser: "app"}, spec, "65536"},
		{"image maps a group to a huge id", evil, UserSpec{ImageUser: "0:big"}, spec, `"big"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LookupUser(tt.dir, tt.spec)
			if err == nil || !errors.As(err, tt.as) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %T that says %s", err, tt.as, tt.says)
			}
		})
	}
}

// manyGroups is an /etc/group in which the user app has that many.
func manyGroups(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "g%d:x:%d:app\n", i, 100000+i)
	}
	return b.String()
}

func TestPasswdOfTheHostIsNeverRead(t *testing.T) {
	dir := image(t, nil)
	if err := os.Symlink("/etc", filepath.Join(dir.Name(), "etc")); err != nil {
		t.Fatal(err)
	}
	_, err := LookupUser(dir, UserSpec{RunAsUsername: "root"})
	if err == nil {
		t.Error("got the host's root through a link, want an error")
	}
}

func TestPasswdThatIsNoFileDoesNotBlock(t *testing.T) {
	dir := image(t, map[string]string{"etc/group": ""})
	if err := syscall.Mkfifo(filepath.Join(dir.Name(), "etc/passwd"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LookupUser(dir, UserSpec{RunAsUser: id(1)}); err == nil {
		t.Error("got no error for a pipe at /etc/passwd")
	}
}
