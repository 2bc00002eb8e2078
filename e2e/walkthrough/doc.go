// Package walkthrough holds the test that docs/walkthrough.md is true: it runs
// the commands of the page, one block after the other, against a cluster of
// `make cluster`, and compares what they print with what the page shows.
package walkthrough
