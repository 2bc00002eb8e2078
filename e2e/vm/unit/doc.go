// Package unit holds the test of the systemd unit, for the machine of e2e/vm/run:
// it is built with the tag vm alone.
package unit
