// Package applet is what a process is to the programs of the toolbox.
//
// WASI preview1 has no fork, exec, pipe or working directory. So the programs
// of the toolbox are plain functions, [Func], that the shell calls in its own
// process, each with a [Ctx]: name, standard streams, directory and environment
// of its own. Nothing in a program touches the process's real streams or
// directory, which also makes every program testable on any system.
//
//	main ──> Table.Run(ctx, args) ──> Func
//	              ^
//	shell, xargs, find -exec, env, time
//
// A program that writes to a closed pipe ends at once, as SIGPIPE would end it:
// [Output] panics, and Table.Run is the one place that recovers.
package applet
