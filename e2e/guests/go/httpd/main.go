//go:build wasip1

// Command httpd serves and calls over sockets of a guest, through the socket
// extension of WasmEdge.
//
//	httpd serve [ADDRESS]       an HTTP server; prints "listening on ADDRESS"
//	httpd get URL               prints the status and the body
//	httpd dial NETWORK ADDRESS  sends its standard input, ends that half, prints the answer
//	httpd echo NETWORK ADDRESS  answers every packet or connection with what it gets
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/stealthrocket/net/wasip1"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(":8080")
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 2 && args[0] == "get":
		return get(args[1])
	case len(args) == 3 && args[0] == "dial":
		return dial(args[1], args[2])
	case len(args) == 3 && args[0] == "echo":
		return echo(args[1], args[2])
	}
	return errors.New("usage: httpd serve [ADDRESS] | get URL | dial NETWORK ADDRESS | echo NETWORK ADDRESS")
}

// serve answers / with a greeting, /echo with the request's body, /count with
// its length, /bytes?n=N with N bytes and /exit by ending. It speaks HTTP/2 with
// clients that begin so, and answers the health checks of gRPC.
func serve(address string) error {
	l, err := wasip1.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s from %s\n", r.URL.Path, r.Proto)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() // else the first write discards what was not yet read
		io.Copy(w, r.Body)
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		io.CopyN(w, zeroes{}, n)
	})
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(0) })
	mux.HandleFunc("POST "+healthPath, health)
	fmt.Println("listening on", l.Addr())
	server := &http.Server{Handler: mux, Protocols: &http.Protocols{}}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return server.Serve(l)
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func get(url string) error {
	http.DefaultTransport.(*http.Transport).DialContext = wasip1.DialContext
	r, err := http.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	fmt.Println(r.Status)
	_, err = io.Copy(os.Stdout, r.Body)
	return err
}

func dial(network, address string) error {
	c, err := wasip1.Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, ok := c.(net.PacketConn); ok {
		return exchange(c)
	}
	if _, err := io.Copy(c, os.Stdin); err != nil {
		return err
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	_, err = io.Copy(os.Stdout, c)
	return err
}

// exchange sends one packet and prints the one that comes back.
func exchange(c net.Conn) error {
	out, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if _, err := c.Write(out); err != nil {
		return err
	}
	in := make([]byte, 64<<10)
	n, err := c.Read(in)
	os.Stdout.Write(in[:n])
	return err
}

func echo(network, address string) error {
	if network == "udp" || network == "udp4" || network == "udp6" || network == "unixgram" {
		return echoPackets(network, address)
	}
	l, err := wasip1.Listen(network, address)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

func echoPackets(network, address string) error {
	c, err := wasip1.ListenPacket(network, address)
	if err != nil {
		return err
	}
	fmt.Println("listening on", c.LocalAddr())
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(buf[:n], from); err != nil {
			return err
		}
	}
}
