//go:build tools

package main

// The amalgamation of SQLite that the guest in sqlite.c is built with.
import _ "github.com/mattn/go-sqlite3"
