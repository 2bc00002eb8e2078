// Package cri is the gRPC edge: the Kubernetes Container Runtime Interface v1
// in front of the sandbox manager and the image service.
//
// A method parses its request, calls one function of the domain, and converts
// the answer. What a request may say stands in parse.go, what an answer says
// in show.go, and which error kind becomes which gRPC code in errors.go.
package cri
