// Package network connects pods by CNI.
//
// A CNI value gives each pod a network namespace, bound to a file below one
// directory and named by the pod's id, and calls the plugins of one network to
// fill it. The network is the first valid configuration in the node's CNI
// directory, looked at anew for each pod. Where the node has none, it is the
// bundled one: a bridge with host-local addresses, whose way out (masquerading)
// and host ports this package programs itself over netlink, because the plugins
// for that need iptables or nft, which a fresh machine lacks.
//
//	Setup     make namespace -> loopback up -> CNI ADD -> host ports
//	Teardown  host ports -> CNI DEL -> remove namespace
//
// Facts on disk: libcni's cache holds, for each pod that is connected, the
// configuration and the arguments of its ADD, so that DEL undoes what was done
// even when the configuration has changed or the daemon has restarted. It lies
// on a disk that a reboot keeps, because the allocations of plugins do so too.
//
// Plugins run as root, in the daemon's namespaces, in process groups of their
// own that are killed when they take too long.
package network
