// Package seccomp builds the system call filters of container processes.
//
// The nouns: a policy gives each system call a list of rules, a rule is an
// action under conditions on the arguments, and a program is the policy as the
// kernel takes it: an array of struct sock_filter, which the worker installs as
// the last step of entering its sandbox.
//
//	Default ──┐
//	          ├─> policy ──> ranges of numbers ──> balanced tree ──> program
//	FromOCI ──┘
//
// A program first refuses other architectures than the daemon's, by killing the
// process. Then it searches the number in a balanced tree over ranges of equal
// rules: at its installation the kernel runs a program once for each number it
// knows, so a list would cost the start of a container dearly.
//
// Caveats: a program decides by numbers and the values of arguments only. What
// an argument points to, such as the flags of clone3, cannot be looked at; this
// is why the default program says that there is no clone3, so that the C library
// falls back to clone, whose flags are checked. Operations on an io_uring are
// not seen at all, so its system calls must stay forbidden.
package seccomp
