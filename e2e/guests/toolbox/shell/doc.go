// Package shell is the toolbox's shell: the language as package
// mvdan.cc/sh/v3/syntax parses and expand expands it, executed in one process.
//
// That package's own interpreter needs pipes and processes of the system, which
// WASI preview1 does not have. Here a command is a function with a [applet.Ctx];
// the two sides of a pipe, and background jobs, are goroutines around a buffer
// in memory; a subshell is a copy of the shell's state.
//
//	shell ── subshell: copy of variables, functions, descriptors, directory
//	  │
//	  ├─ builtin      changes the state
//	  ├─ function     runs in the state, with its own parameters and locals
//	  └─ program      Launcher: PATH ─> file ─> module or script ─> applet.Table
//
// What differs from other shells: every command is part of the same process, so
// $! is no process id (only kill and wait of this shell know it), a program
// ends with its shell, and signals reach only the whole.
package shell
