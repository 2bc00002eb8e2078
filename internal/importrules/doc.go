// Package importrules holds the rules of who may import what, as tests.
//
// They keep the two halves of the system apart, which meet only in proto; the
// domain, package sandbox, free of Linux; and each outside library behind one
// package, so that replacing it, or reading what we use of it, is a matter of
// one place.
package importrules
