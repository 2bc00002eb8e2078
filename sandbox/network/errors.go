package network

import (
	"fmt"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Reasons why the network is not ready. They are CamelCase because they become
// the reason of the NetworkReady condition.
const (
	ReasonNoConfig       = "NetworkConfigMissing"
	ReasonInvalidConfig  = "NetworkConfigInvalid"
	ReasonPluginMissing  = "NetworkPluginMissing"
	ReasonPluginVersion  = "NetworkPluginVersion"
	ReasonPluginStatus   = "NetworkPluginNotReady"
	ReasonSubnetTaken    = "NetworkSubnetTaken"
	ReasonSubnetsUnknown = "NetworkSubnetsUnknown"
)

// NotReadyError says why no pod can be connected now, and what to do. It is of
// kind sandbox.ErrUnavailable.
type NotReadyError struct {
	Reason string
	Detail string
	Err    error // the cause, if any
}

func (e *NotReadyError) Error() string { return "network is not ready: " + e.Detail }
func (e *NotReadyError) Unwrap() []error {
	return []error{sandbox.ErrUnavailable, e.Err}
}

// MissingPluginError names a plugin that a configuration wants and the node
// lacks.
type MissingPluginError struct {
	Plugin        string
	Dirs          []string
	NotExecutable string // the file, where there is one without execute permission
}

func (e *MissingPluginError) Error() string {
	if e.NotExecutable != "" {
		return fmt.Sprintf("CNI plugin %s is not executable: chmod +x %s", e.Plugin, e.NotExecutable)
	}
	return fmt.Sprintf("CNI plugin %s is not in %s: install it, or add its directory to the option cni.bin_dirs",
		e.Plugin, strings.Join(e.Dirs, ", "))
}
