//go:build wasip1

// Command activated serves HTTP on the sockets that it finds open, by nothing
// but preview1. It prints a line for each, "NAME at descriptor N", then
// "serving". A request is answered with the name of the socket and the path.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func main() {
	log.SetFlags(0)
	listeners, err := inherited()
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	for name, l := range listeners {
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s answers %s\n", name, r.URL.Path)
		})}
		go func() { ended <- server.Serve(l) }()
	}
	fmt.Println("serving")
	log.Fatal(<-ended)
}

// inherited gives the sockets by their names.
func inherited() (map[string]net.Listener, error) {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS: %w", err)
	}
	first, err := strconv.Atoi(os.Getenv("LISTEN_FDS_START"))
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS_START: %w", err)
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if len(names) != count {
		return nil, fmt.Errorf("%d sockets have %d names", count, len(names))
	}
	listeners := map[string]net.Listener{}
	for i, name := range names {
		f := os.NewFile(uintptr(first+i), name)
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("%s at descriptor %d: %w", name, first+i, err)
		}
		f.Close()
		fmt.Printf("%s at descriptor %d\n", name, first+i)
		listeners[name] = l
	}
	return listeners, nil
}
