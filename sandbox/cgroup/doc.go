// Package cgroup makes the control groups of pods and containers.
//
// The nouns: a hierarchy is one mounted tree (several on cgroup v1, one on v2),
// a group is a directory of the same path in each of them, and a driver says
// who makes the directories: this process (cgroupfs) or systemd, which is asked
// over D-Bus for one scope for each group.
//
//	Manager ──> tree: v1 or v2 ──> files (the kernel's, or a test's)
//	   └─ systemd driver ──> bus (org.freedesktop.systemd1)
//
// On cgroup v1 a group exists in the hierarchies that account or limit what a
// WebAssembly process can use (cpu, cpuacct, cpuset, memory, pids, blkio,
// hugetlb) and in systemd's own, which decides what a service's stop kills. It
// stays in the daemon's group elsewhere: each further hierarchy costs every
// start time. A hybrid machine is used as v1.
//
// A parent that Create had to make carries an extended attribute, so that the
// group which is its last child can remove it, even after the daemon was
// started anew. Parents that were there already, such as the kubelet's, are
// never removed.
//
// A scope of systemd cannot be empty: with that driver a group comes into
// being when Join gives it a process, and goes when its last process ends.
package cgroup
