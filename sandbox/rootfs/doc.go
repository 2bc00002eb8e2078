// Package rootfs builds the mount namespaces in which containers run.
//
// The nouns: a layer is an unpacked directory of an image, the writable layer
// is the container's own directory on top of them, a source is a mount that is
// not attached anywhere yet (an overlay, a tmpfs, a clone of a host
// directory), and a plan is the list of sources with the places where they go.
//
//	any thread of the daemon          builder thread (template namespace)
//	------------------------          -----------------------------------
//	make the writable layer
//	fsopen overlay, tmpfs, devpts
//	open_tree clones of host paths
//	plan  ───────────────────────────>  unshare(CLONE_NEWNS): copies 1 mount
//	                                    move_mount root, pivot_root
//	                                    move_mount every source
//	                                    masks, read-only paths, working dir
//	root <───────────────────────────   ns fd, O_PATH fd of the root
//	                                    setns(template)
//
// A builder thread lives for ever in a template namespace that holds a single
// small tmpfs, so that a new namespace costs the same on a host with three
// mounts and on one with three thousand, and nothing of the host can be
// reached from it. Sources are made on other threads because the kernel lets a
// thread clone mounts of its own namespace only.
//
// Paths of the container are resolved by the kernel with RESOLVE_IN_ROOT, so a
// symbolic link of a hostile image cannot lead out of the new root.
//
// Not done here: proc shows the pid namespace of whoever mounts it, so the
// container's process mounts it itself on the empty directory that Build leaves at
// /proc, and nothing else can be mounted there. /sys and /dev/mqueue stay empty.
//
// The overlay is mounted volatile: a writable layer
// does not outlive a reboot in any useful way, and without it the end of each
// container would flush the whole disk. So fsync of a guest on its root
// filesystem orders nothing; volumes are bind mounts and unaffected.
package rootfs
