//go:build !wasip1

package applet

// IsTerminal tells whether v is a terminal. Outside of WASI the toolbox runs in
// tests only, without one.
func IsTerminal(any) bool { return false }
