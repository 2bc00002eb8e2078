// Package workerv1 is the contract between the daemon and a worker.
//
// A worker is the process of one container or of one exec, or one compilation.
// The two binaries share nothing but what is here:
//
//   - Plan: how a process enters its sandbox and what it then runs. Built by
//     the daemon, handed over as a memfd, executed step by step in C before the
//     Go runtime of the worker starts.
//   - Status: the answer, once: entered and running, or the step that failed.
//   - Request and Reply: the control socket of a running container.
//   - ExitRecord: how it ended, written by the worker itself: that of a container
//     to a file, that of an exec to the socket on which its plan came.
//   - CodeHeader: the head of a file of compiled code.
//   - Info: what a worker binary is and can do.
//
// Numbers are little-endian. Every decoder is bounded by its input and is
// fuzzed. A change that an old peer would misread needs a new Version.
package workerv1

// Version is the version of the contract. Both sides refuse another one.
const Version = 1

// File descriptors at which a worker finds what it inherits.
const (
	FDSpawn = 3 // SOCK_SEQPACKET socket: the plan comes in, the Status goes out; of an exec, its ExitRecord too
	FDCode  = 4 // the file of compiled code, open for reading
)

const (
	// TitleRoom is how many bytes of arguments a worker is started with, so that the
	// guest's can take their place.
	TitleRoom = 2048
	// MaxTitle is how many a StepTitle can have.
	MaxTitle = 64 << 10
)

// File descriptors to which a plan's StepFD moves what stays open in the
// sandbox. They are the worker's from then on.
const (
	FDExitRecord = 5  // empty file for the ExitRecord of a container
	FDControl    = 6  // listening SOCK_SEQPACKET socket, or none
	FDLog        = 7  // CRI log file, opened for appending, or none
	FDTrace      = 8  // file for the trace of WASI calls, opened for appending, or none
	FDTerminal   = 9  // master of the guest's terminal, or none
	FDOldTrace   = 10 // file to which a trace that has grown too long moves, or none
	FDFirstFree  = 11 // listeners and the like start here
)
