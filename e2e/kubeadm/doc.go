// Package kubeadm holds the test of the recipe for kubeadm in docs/deploy.md: the
// real kubeadm joins a node, whose only runtime is this project's server, to a
// control plane, and resets it.
//
// The control plane is that of package cluster, and kubeadm gives it what
// kubeadm init would have given it. systemd is played by a script.
package kubeadm
