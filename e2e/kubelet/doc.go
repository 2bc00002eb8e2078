// Package kubelet holds the test with the real kubelet: static pods, no API
// server, this project's server as the runtime.
//
// The kubelet is built from the module proxy by the module in binary/, which
// takes a few minutes the first time, into build/kubelet at the top of the
// repository. What the kubelet changes of the machine (three sysctls, a few
// directories) is put back.
package kubelet
