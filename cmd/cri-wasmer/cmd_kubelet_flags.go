package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cri-wasmer/cri-wasmer/internal/config"
)

// profile is how a node presents itself to the scheduler.
type profile struct {
	name   string
	help   string
	labels []keyValue // in the order of printing
	taints []taint
}

type keyValue struct{ key, value string }

func (kv keyValue) String() string { return kv.key + "=" + kv.value }

type taint struct{ key, value, effect string }

func (t taint) String() string { return t.key + "=" + t.value + ":" + t.effect }

const (
	// As a label it would not last: with its first status the kubelet sets it to
	// its own architecture, whatever --node-labels says, and the node controller
	// makes beta.kubernetes.io/arch follow. So it is a taint alone.
	archTaint    = "kubernetes.io/arch"
	runtimeLabel = "cri-wasmer.dev/runtime"
)

var ours = keyValue{runtimeLabel, handlers[0]}

var profiles = []profile{
	{
		"runtimeclass", "a label, for pods whose RuntimeClass asks for it; other pods come, too",
		[]keyValue{ours}, nil,
	},
	{
		"dedicated", "the same label with a taint: only pods of the RuntimeClass come",
		[]keyValue{ours}, []taint{{runtimeLabel, handlers[0], "NoSchedule"}},
	},
	{
		"krustlet", "the taints of a Krustlet node, for manifests that were made for one",
		[]keyValue{{"type", "krustlet"}},
		[]taint{{archTaint, "wasm32-wasi", "NoSchedule"}, {archTaint, "wasm32-wasi", "NoExecute"}},
	},
}

// kubeletForms are the ways to print a profile, by the name of the output.
var kubeletForms = []struct {
	name, help string
	write      func(w io.Writer, p profile, socket string)
}{
	{"flags", "flags of the kubelet, one a line", writeKubeletFlags},
	{"yaml", "a KubeletConfiguration, for a file or a drop-in (labels can be set by a flag only)", writeKubeletYAML},
	{"kubeadm", "nodeRegistration of kubeadm's InitConfiguration and JoinConfiguration (v1beta4)", writeKubeadm},
	{"k3s", "options of /etc/rancher/k3s/config.yaml", writeK3s},
	{"runtimeclass", "the RuntimeClass that sends pods to such nodes", writeRuntimeClass},
}

func kubeletFlagsCommand() *cobra.Command {
	var name, form string
	cmd := &cobra.Command{
		Use:   "kubelet-flags",
		Short: "Print how to start a kubelet with this runtime",
		Long: `Print how to start a kubelet with this runtime.

Nothing is changed: the output is for the place where the node's tool keeps the
settings of its kubelet. The kubelet asks the runtime for its cgroup driver, so
that it needs no setting.

A profile says how the node presents itself:

` + helpList(len(profiles), func(i int) (string, string) { return profiles[i].name, profiles[i].help }) + `
An output is one of:

` + helpList(len(kubeletForms), func(i int) (string, string) { return kubeletForms[i].name, kubeletForms[i].help }),
		Example: `  kubelet --config /var/lib/kubelet/config.yaml $(cri-wasmer kubelet-flags --profile krustlet)
  cri-wasmer kubelet-flags --profile dedicated -o runtimeclass | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return printKubelet(cmd.OutOrStdout(), name, form, conf.Socket)
		},
	}
	cmd.Flags().StringVar(&name, "profile", profiles[0].name, "how the node presents itself")
	cmd.Flags().StringVarP(&form, "output", "o", kubeletForms[0].name, "what to print")
	config.AddFlags(cmd.Flags(), "socket")
	complete(cmd, "profile", profileNames()...)
	complete(cmd, "output", formNames()...)
	return cmd
}

// helpList lays names and what they mean out for a help text.
func helpList(n int, row func(i int) (name, help string)) string {
	var b strings.Builder
	for i := range n {
		name, help := row(i)
		fmt.Fprintf(&b, "  %-14s%s\n", name, help)
	}
	return b.String()
}

// complete has the shell complete the values of a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist
	}
}

func profileNames() (names []string) {
	for _, p := range profiles {
		names = append(names, p.name)
	}
	return names
}

func formNames() (names []string) {
	for _, f := range kubeletForms {
		names = append(names, f.name)
	}
	return names
}

func printKubelet(w io.Writer, name, form, socket string) error {
	p := slices.Index(profileNames(), name)
	if p < 0 {
		return fmt.Errorf("there is no profile %q: use one of %s", name, strings.Join(profileNames(), ", "))
	}
	f := slices.Index(formNames(), form)
	if f < 0 {
		return fmt.Errorf("there is no output %q: use one of %s", form, strings.Join(formNames(), ", "))
	}
	kubeletForms[f].write(w, profiles[p], "unix://"+socket)
	return nil
}

func join[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = e.String()
	}
	return strings.Join(words, ",")
}

func writeKubeletFlags(w io.Writer, p profile, endpoint string) {
	fmt.Fprintln(w, "--container-runtime-endpoint="+endpoint)
	fmt.Fprintln(w, "--node-labels="+join(p.labels))
	if len(p.taints) > 0 {
		fmt.Fprintln(w, "--register-with-taints="+join(p.taints))
	}
}

func writeTaints(w io.Writer, indent string, list []taint) {
	for _, t := range list {
		fmt.Fprintf(w, "%s- key: %s\n%s  value: %s\n%s  effect: %s\n", indent, t.key, indent, t.value, indent, t.effect)
	}
}

func writeKubeletYAML(w io.Writer, p profile, endpoint string) {
	fmt.Fprintf(w, `# Labels are a flag of the kubelet alone: --node-labels=%s
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: %s
`, join(p.labels), endpoint)
	if len(p.taints) > 0 {
		fmt.Fprintln(w, "registerWithTaints:")
		writeTaints(w, "  ", p.taints)
	}
}

func writeKubeadm(w io.Writer, p profile, endpoint string) {
	fmt.Fprintf(w, `nodeRegistration:
  criSocket: %s
  kubeletExtraArgs:
    - name: node-labels
      value: %s
`, endpoint, join(p.labels))
	if len(p.taints) > 0 {
		fmt.Fprintln(w, "  taints:")
		writeTaints(w, "    ", p.taints)
	}
}

func writeK3s(w io.Writer, p profile, endpoint string) {
	fmt.Fprintf(w, "container-runtime-endpoint: %s\nnode-label:\n", endpoint)
	for _, l := range p.labels {
		fmt.Fprintf(w, "  - %s\n", l)
	}
	if len(p.taints) > 0 {
		fmt.Fprintln(w, "node-taint:")
	}
	for _, t := range p.taints {
		fmt.Fprintf(w, "  - %s\n", t)
	}
}

func writeRuntimeClass(w io.Writer, p profile, _ string) {
	fmt.Fprintf(w, `apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: wasm
handler: %s
scheduling:
  nodeSelector:
    %s: %s
`, handlers[0], p.labels[0].key, p.labels[0].value)
	if len(p.taints) > 0 {
		fmt.Fprintln(w, "  tolerations:")
	}
	for _, t := range p.taints {
		fmt.Fprintf(w, "    - key: %s\n      operator: Equal\n      value: %s\n      effect: %s\n", t.key, t.value, t.effect)
	}
}
