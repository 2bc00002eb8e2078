package cri

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"

	"golang.org/x/net/websocket"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// What the library lacks: the websocket protocol v5.channel.k8s.io, in which a
// client can end its stdin, and the tunnel of SPDY through a websocket by which
// ports are forwarded. (KEP-4006)

// channelSession is a command or an attach over the channels of a websocket.
type channelSession func(in io.Reader, out, err io.WriteCloser, resize <-chan remotecommand.TerminalSize) error

// serveChannels serves a session in v5.channel.k8s.io.
func (s *Streams) serveChannels(w http.ResponseWriter, r *http.Request, o *remotecommand.Options, run channelSession) {
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		remotecommand.StreamProtocolV5Name: {Binary: true, Channels: []wsstream.ChannelType{
			remotecommand.StreamStdIn:  channel(wsstream.ReadChannel, o.Stdin),
			remotecommand.StreamStdOut: channel(wsstream.WriteChannel, o.Stdout),
			remotecommand.StreamStdErr: channel(wsstream.WriteChannel, o.Stderr),
			remotecommand.StreamErr:    wsstream.WriteChannel,
			remotecommand.StreamResize: wsstream.ReadChannel,
		}},
	})
	conn.SetIdleTimeout(s.IdleTimeout)
	_, channels, err := conn.Open(w, r)
	if err != nil {
		s.Logger.Debug("open websocket", "client", r.RemoteAddr, "error", err)
		return
	}
	defer conn.Close()
	sizes := make(chan remotecommand.TerminalSize)
	go decodeSizes(r.Context().Done(), channels[remotecommand.StreamResize], sizes)
	err = run(channels[remotecommand.StreamStdIn], channels[remotecommand.StreamStdOut], channels[remotecommand.StreamStdErr], sizes)
	if _, err := channels[remotecommand.StreamErr].Write(encodeStatus(err)); err != nil {
		s.Logger.Debug("send status of a session", "client", r.RemoteAddr, "error", err)
	}
}

func channel(kind wsstream.ChannelType, wanted bool) wsstream.ChannelType {
	if wanted {
		return kind
	}
	return wsstream.IgnoreChannel
}

func decodeSizes(gone <-chan struct{}, from io.Reader, to chan<- remotecommand.TerminalSize) {
	defer close(to)
	decoder := json.NewDecoder(from)
	for {
		var size remotecommand.TerminalSize
		if decoder.Decode(&size) != nil {
			return
		}
		select {
		case to <- size:
		case <-gone:
			return
		}
	}
}

// sessionStatus is how a session ended: a metav1.Status, as far as clients read
// it.
type sessionStatus struct {
	Status  string         `json:"status"`
	Message string         `json:"message,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Details *statusDetails `json:"details,omitempty"`
	Code    int            `json:"code,omitempty"`
}

type statusDetails struct {
	Causes []statusCause `json:"causes"`
}

type statusCause struct {
	Type    string `json:"reason"`
	Message string `json:"message"`
}

func encodeStatus(err error) []byte {
	var code exitStatus
	status := sessionStatus{Status: "Success"}
	switch {
	case errors.As(err, &code):
		status = sessionStatus{
			Status: "Failure", Reason: remotecommand.NonZeroExitCodeReason, Message: "command terminated with " + code.Error(),
			Details: &statusDetails{[]statusCause{{remotecommand.ExitCodeCauseType, strconv.Itoa(code.ExitStatus())}}},
		}
	case err != nil:
		status = sessionStatus{Status: "Failure", Reason: "InternalError", Message: err.Error(), Code: http.StatusInternalServerError}
	}
	b, err := json.Marshal(status)
	if err != nil { // of strings and numbers
		panic(err)
	}
	return b
}

// serveTunnel serves a SPDY session whose bytes travel in the messages of a
// websocket.
func serveTunnel(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) {
	websocket.Server{
		Handshake: func(c *websocket.Config, _ *http.Request) error {
			const protocol = portforward.WebsocketsSPDYTunnelingPortForwardV1
			if !slices.Contains(c.Protocol, protocol) {
				return fmt.Errorf("none of the protocols %q is served, but %s", c.Protocol, protocol)
			}
			c.Protocol = []string{protocol}
			return nil
		},
		Handler: func(ws *websocket.Conn) {
			ws.PayloadType = websocket.BinaryFrame
			inner := r.Clone(r.Context())
			inner.Header = http.Header{
				httpstream.HeaderConnection:      {httpstream.HeaderUpgrade},
				httpstream.HeaderUpgrade:         {spdy.HeaderSpdy31},
				httpstream.HeaderProtocolVersion: {portforward.ProtocolV1Name},
			}
			serve(&tunnelWriter{conn: ws, header: http.Header{}}, inner)
		},
	}.ServeHTTP(w, r)
}

// tunnelWriter answers a request that came without HTTP: what matters is the
// connection.
type tunnelWriter struct {
	conn   net.Conn
	header http.Header
}

func (t *tunnelWriter) Header() http.Header         { return t.header }
func (t *tunnelWriter) Write(p []byte) (int, error) { return len(p), nil }
func (t *tunnelWriter) WriteHeader(int)             {}

// Hijack implements http.Hijacker.
func (t *tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.conn, bufio.NewReadWriter(bufio.NewReader(t.conn), bufio.NewWriter(t.conn)), nil
}
