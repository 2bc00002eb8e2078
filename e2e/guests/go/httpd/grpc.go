//go:build wasip1

package main

import (
	"encoding/binary"
	"io"
	"net/http"
)

// healthPath is the method of https://github.com/grpc/grpc/blob/master/doc/health-checking.md
// that probes call. Over HTTP/2 a call is a POST whose bodies are messages, each
// after a byte of flags and four of length.
const healthPath = "/grpc.health.v1.Health/Check"

// The statuses of the answer's field 1.
const (
	statusServing    = 1
	statusNotServing = 2
)

// health says that the whole server serves, and that no service of a name does.
func health(w http.ResponseWriter, r *http.Request) {
	var head [5]byte
	if _, err := io.ReadFull(r.Body, head[:]); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	status := byte(statusServing)
	if binary.BigEndian.Uint32(head[1:]) > 0 { // it names a service
		status = statusNotServing
	}
	message := []byte{1 << 3, status}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	w.Header().Set("Grpc-Status", "0")
}
