package main

import (
	"strings"
	"testing"
)

func TestKubeletFlags(t *testing.T) {
	emptyConfig(t)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{
			"krustlet", []string{"--profile", "krustlet"},
			"--container-runtime-endpoint=unix:///run/cri-wasmer/cri.sock\n" +
				"--node-labels=type=krustlet\n" +
				"--register-with-taints=kubernetes.io/arch=wasm32-wasi:NoSchedule,kubernetes.io/arch=wasm32-wasi:NoExecute\n",
		},
		{
			"default, other socket", []string{"--socket", "/x/y.sock"},
			"--container-runtime-endpoint=unix:///x/y.sock\n--node-labels=cri-wasmer.dev/runtime=wasmer\n",
		},
		{
			"drop-in", []string{"--profile=dedicated", "-o", "yaml"},
			`# Labels are a flag of the kubelet alone: --node-labels=cri-wasmer.dev/runtime=wasmer
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/cri-wasmer/cri.sock
registerWithTaints:
  - key: cri-wasmer.dev/runtime
    value: wasmer
    effect: NoSchedule
`,
		},
		{
			"kubeadm", []string{"--profile=dedicated", "-o", "kubeadm"},
			`nodeRegistration:
  criSocket: unix:///run/cri-wasmer/cri.sock
  kubeletExtraArgs:
    - name: node-labels
      value: cri-wasmer.dev/runtime=wasmer
  taints:
    - key: cri-wasmer.dev/runtime
      value: wasmer
      effect: NoSchedule
`,
		},
		{
			"k3s", []string{"--profile=krustlet", "-o", "k3s"},
			`container-runtime-endpoint: unix:///run/cri-wasmer/cri.sock
node-label:
  - type=krustlet
node-taint:
  - kubernetes.io/arch=wasm32-wasi:NoSchedule
  - kubernetes.io/arch=wasm32-wasi:NoExecute
`,
		},
		{
			"RuntimeClass", []string{"-o", "runtimeclass"},
			`apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: wasm
handler: wasmer
scheduling:
  nodeSelector:
    cri-wasmer.dev/runtime: wasmer
`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := execute(append([]string{"kubelet-flags"}, tt.args...)...)
			if err != nil || out != tt.want {
				t.Errorf("printed:\n%s\n%v, want:\n%s", out, err, tt.want)
			}
		})
	}
}

func TestKubeletFlagsNameWhatThereIs(t *testing.T) {
	emptyConfig(t)
	for _, args := range [][]string{{"--profile=crustlet"}, {"-o", "json"}} {
		_, err := execute(append([]string{"kubelet-flags"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "use one of ") {
			t.Errorf("%v: %v, want the choices", args, err)
		}
	}
}
