// Package e2e holds the tests of the whole server: the real binaries, real
// guests, a registry on loopback, and nothing but the CRI socket between test
// and server.
//
// A test works with a node (a server, its registry and its directories) and
// with pods on it. Most tests share one node; those that kill the server, fill
// its disk or count what remains have their own. The whole test binary runs in
// namespaces of its own, see package isolate.
//
//	go test ./e2e -run Name            after make build guests, as root
package e2e
