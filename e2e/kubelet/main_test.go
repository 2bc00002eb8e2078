package kubelet

import (
	"errors"
	"os"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

func TestMain(m *testing.M) {
	os.Exit(kubenode.Run(m.Run, func() error {
		return errors.Join(built.MakeGuests(), built.MakeKubernetes(kubebin.Kubelet))
	}))
}
