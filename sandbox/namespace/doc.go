// Package namespace makes the Linux namespaces of pods and keeps them.
//
// A namespace lives as long as a process is in it or something is mounted on
// it. Pods have no process of their own, so each of their namespaces is bound
// to a file in a Dir; the file's name is that of the pod, by which what belongs
// to nobody is found again.
//
// A Keeper makes the namespaces that the containers of a pod share: ipc and uts,
// the tmpfs at /dev/shm, and, for a pod with a user namespace, that and a
// network namespace that it owns. Namespaces of the host's user namespace are
// made by a thread of this process. A user namespace cannot be: the kernel lets
// no process of several threads change its own. For it a worker is started that
// never gets a plan:
//
//	daemon                                     worker
//	clone(NEWUSER|NEWNET|NEWIPC|NEWUTS) ─────> waits
//	write uid_map, gid_map                     waits for its plan
//	bind /proc/PID/ns/* to files
//	close the socket ────────────────────────> ends
//
// The namespaces made in one clone with a user namespace belong to it: root of
// the pod may set their sysctls, and serve low ports.
package namespace
