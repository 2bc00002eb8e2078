// Package sandbox decides what pods and containers do.
//
// A Pod is an isolated place: a network namespace, a hostname, a cgroup. A
// Container is one WebAssembly program that runs in a pod as one Linux process.
// The package holds their phases, the rules that lead from one to the next, and
// the facts about them on disk. It knows no system call: what it needs of Linux
// it declares here as interfaces (Launcher, Network, Cgroups, RootFS), which the
// packages below it implement.
package sandbox
