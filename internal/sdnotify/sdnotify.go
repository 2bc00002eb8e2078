// Package sdnotify tells the service manager how a service is doing, by the
// protocol of sd_notify(3): one datagram to the socket that NOTIFY_SOCKET names.
// Where there is none, nobody asked, and nothing is sent.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// What a service says most.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
)

// Status is a line for people, which systemctl status shows.
func Status(format string, args ...any) string {
	return "STATUS=" + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
}

// Notify sends the given assignments in one datagram; nil when nobody asked. It
// fails when the manager's socket cannot be written to.
func Notify(assignments ...string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	// A name with @ in front is in the abstract namespace; package net
	// translates that itself.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	return nil
}
