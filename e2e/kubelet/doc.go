// Package kubelet holds the test with the real kubelet: static pods, no API
// server, this project's server as the runtime.
//
// The kubelet is built by package kubebin, which takes a few minutes the first
// time, into build/kubernetes at the top of the repository. What the kubelet
// changes of the machine (three sysctls, a few directories) is put back.
package kubelet
