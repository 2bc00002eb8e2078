package cgroup

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseLayout(t *testing.T) {
	const tmpfs = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
	tests := []struct{ name, mountinfo, want string }{
		{"v2", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
			"{true [{/sys/fs/cgroup []}]}"},
		{"v1 with controllers together", tmpfs +
			"33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n" +
			"34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"35 31 0:32 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n" +
			"40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n",
			"{false [{/sys/fs/cgroup/cpu,cpuacct [cpu cpuacct]} {/sys/fs/cgroup/memory [memory]} {/sys/fs/cgroup/systemd [systemd]}]}"},
		{"hybrid is v1", tmpfs +
			"34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"{false [{/sys/fs/cgroup/memory [memory]}]}"},
		{"mounted twice", tmpfs +
			"34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"35 31 0:31 / /sys/fs/cgroup/again rw - cgroup cgroup rw,memory\n",
			"{false [{/sys/fs/cgroup/memory [memory]}]}"},
		{"elsewhere", "34 31 0:31 / /other/memory rw - cgroup cgroup rw,memory\n", "error"},
		{"nothing", tmpfs, "error"},
		{"broken lines", "x\n34 31 - y\n34 31 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
			"{false [{/sys/fs/cgroup/pids [pids]}]}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := parseLayout(strings.NewReader(tt.mountinfo), "/sys/fs/cgroup")
			got := fmt.Sprint(l)
			if err != nil {
				got = "error"
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
