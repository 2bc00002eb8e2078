package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var volumes = []scenario{
	{name: "ConfigMap, Secret, downward API and a token in volumes; a change of the ConfigMap arrives", run: projected},
	{name: "emptyDir, on disk and in memory, shared by two containers", run: emptyDir},
	{name: "emptyDir over its limit, writable layer over its limit: the pod is evicted", run: storageLimits},
	{name: "hostPath: a directory, a file, read-only", run: hostPath},
	{name: "PersistentVolumeClaim on a local volume: data outlives the pod", run: claim},
	{name: "subPath and subPathExpr", run: subPath},
	{name: "An image as a volume", run: imageVolume},
	{name: "fsGroup: a volume belongs to the pod's group", run: fsGroup},
}

func projected(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: ConfigMap
	metadata: {name: config}
	data: {colour: blue, size: big}
	---
	apiVersion: v1
	kind: Secret
	metadata: {name: secret}
	stringData: {password: sesame}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: reader, labels: {app: reader}}
	spec:
	  terminationGracePeriodSeconds: 1
	  volumes:
	  - {name: config, configMap: {name: config}}
	  - {name: secret, secret: {secretName: secret, defaultMode: 0400}}
	  - name: all
	    projected:
	      sources:
	      - configMap: {name: config, items: [{key: size, path: deep/size}]}
	      - secret: {name: secret}
	      - downwardAPI:
	          items:
	          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
	          - {path: memory, resourceFieldRef: {containerName: box, resource: limits.memory}}
	      - serviceAccountToken: {path: token, audience: wasm, expirationSeconds: 600}
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    resources: {limits: {memory: 64Mi}}
	    volumeMounts:
	    - {name: config, mountPath: /config}
	    - {name: secret, mountPath: /secret, readOnly: true}
	    - {name: all, mountPath: /all}
	`)
	n.ready("reader")
	for file, want := range map[string]string{
		"/config/colour":   "blue",
		"/secret/password": "sesame",
		"/all/deep/size":   "big",
		"/all/password":    "sesame",
		"/all/labels":      `app="reader"`,
		"/all/memory":      "67108864",
	} {
		if got := n.kubectl("exec", "reader", "--", "cat", file); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
	for _, file := range []string{"/all/token", "/var/run/secrets/kubernetes.io/serviceaccount/token"} {
		if got := n.kubectl("exec", "reader", "--", "cat", file); strings.Count(got, ".") != 2 {
			t.Errorf("%s: %q is no token", file, got)
		}
	}
	n.kubectl("patch", "configmap", "config", "-p", `{"data": {"colour": "red"}}`)
	n.eventually("the new colour", func() error {
		got, err := n.try("exec", "reader", "--", "cat", "/config/colour")
		if err == nil && got != "red" {
			err = fmt.Errorf("the colour is %q", got)
		}
		return err
	})
}

func emptyDir(t *testing.T, n *namespace) {
	n.runPod("shared", `
	  terminationGracePeriodSeconds: 1
	  volumes:
	  - {name: disk, emptyDir: {}}
	  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
	  containers:
	  - name: writer
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "echo words > /disk/file; echo quick > /memory/file; sleep inf"]
	    volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]
	  - name: reader
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    volumeMounts: [{name: disk, mountPath: /in}, {name: memory, mountPath: /cache, readOnly: true}]
	`)
	n.ready("shared")
	n.eventually("both files", func() error {
		got, err := n.try("exec", "shared", "-c", "reader", "--", "cat", "/in/file", "/cache/file")
		if err == nil && got != "words\nquick\n" {
			err = fmt.Errorf("the files hold %q", got)
		}
		return err
	})
	if got := n.kubectl("exec", "shared", "-c", "writer", "--", "grep", " /memory tmpfs ", "/proc/mounts"); !strings.Contains(got, "size=1024k") {
		t.Errorf("/memory is %q, want a tmpfs of 1 MiB", got)
	}
	n.fails(1, []string{"Read-only file system"}, "exec", "shared", "-c", "reader", "--", "touch", "/cache/file")
	n.fails(1, []string{"No space left on device"}, "exec", "shared", "-c", "writer", "--",
		"dd", "if=/dev/zero", "of=/memory/big", "bs=1M", "count=2")
}

func storageLimits(t *testing.T, n *namespace) {
	n.runPod("volume", `
	  terminationGracePeriodSeconds: 1
	  volumes: [{name: disk, emptyDir: {sizeLimit: 4Mi}}]
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "dd if=/dev/zero of=/disk/big bs=1M count=16; sleep inf"]
	    volumeMounts: [{name: disk, mountPath: /disk}]
	`)
	n.runPod("layer", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "dd if=/dev/zero of=/tmp/big bs=1M count=16; sleep inf"]
	    resources: {limits: {ephemeral-storage: 4Mi}}
	`)
	n.waitPhase("volume", "Failed")
	n.waitPhase("layer", "Failed")
	for pod, word := range map[string]string{"volume": "EmptyDir", "layer": "ephemeral"} {
		if s := n.pod(pod).Status; s.Reason != "Evicted" || !strings.Contains(s.Message, word) {
			t.Errorf("pod %s failed with %s: %s", pod, s.Reason, s.Message)
		}
	}
}

func hostPath(t *testing.T, n *namespace) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "greeting"), []byte("from the node\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n.runPod("box", strings.ReplaceAll(`
	  restartPolicy: Never
	  volumes:
	  - {name: dir, hostPath: {path: DIR, type: Directory}}
	  - {name: file, hostPath: {path: DIR/greeting, type: File}}
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "cat /one && echo from the pod > /dir/answer && echo no > /ro/answer"]
	    volumeMounts:
	    - {name: dir, mountPath: /dir}
	    - {name: dir, mountPath: /ro, readOnly: true}
	    - {name: file, mountPath: /one}
	`, "DIR", dir))
	if end := n.terminated("box", "box"); end.ExitCode == 0 {
		t.Error("a read-only mount could be written to")
	}
	if log := n.kubectl("logs", "box"); !strings.HasPrefix(log, "from the node\n") || !strings.Contains(log, "Read-only file system") {
		t.Errorf("the log is %q", log)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "answer")); err != nil || string(got) != "from the pod\n" {
		t.Errorf("the node got %q, %v", got, err)
	}
}

// localClass makes a class of volumes that lie in so many directories of the node,
// and gives its name. Neither is in the namespace.
func (n *namespace) localClass(t *testing.T, volumes int) string {
	t.Helper()
	class := "local-" + n.name
	n.apply(strings.ReplaceAll(`
	apiVersion: storage.k8s.io/v1
	kind: StorageClass
	metadata: {name: CLASS}
	provisioner: kubernetes.io/no-provisioner
	volumeBindingMode: WaitForFirstConsumer
	`, "CLASS", class))
	objects := []string{"storageclass/" + class}
	for i := range volumes {
		volume := fmt.Sprintf("%s-%d", class, i)
		n.apply(strings.NewReplacer("CLASS", class, "VOLUME", volume, "DIR", t.TempDir(), "NODE", n.c.NodeName()).Replace(`
	apiVersion: v1
	kind: PersistentVolume
	metadata: {name: VOLUME}
	spec:
	  capacity: {storage: 1Gi}
	  accessModes: [ReadWriteOnce]
	  storageClassName: CLASS
	  local: {path: DIR}
	  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [NODE]}]}]}}
	`))
		objects = append(objects, "persistentvolume/"+volume)
	}
	t.Cleanup(func() { n.cleanup(objects...) })
	return class
}

func claim(t *testing.T, n *namespace) {
	n.apply(strings.ReplaceAll(`
	apiVersion: v1
	kind: PersistentVolumeClaim
	metadata: {name: data}
	spec:
	  accessModes: [ReadWriteOnce]
	  storageClassName: CLASS
	  resources: {requests: {storage: 1Gi}}
	`, "CLASS", n.localClass(t, 1)))
	run := func(name, script string) string {
		n.runPod(name, `
	  restartPolicy: Never
	  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
	  containers:
	  - {name: box, image: "registry.test/toolbox:v1", command: [sh, -c, "`+script+`"], volumeMounts: [{name: data, mountPath: /data}]}
	`)
		n.waitPhase(name, "Succeeded")
		log := n.kubectl("logs", name)
		n.kubectl("delete", "pod", name)
		return log
	}
	run("writer", "echo kept > /data/file")
	if got := run("reader", "cat /data/file"); got != "kept\n" {
		t.Errorf("the second pod reads %q", got)
	}
}

func subPath(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: ConfigMap
	metadata: {name: config}
	data: {one: first, two: second}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: box}
	spec:
	  restartPolicy: Never
	  volumes:
	  - {name: config, configMap: {name: config}}
	  - {name: work, emptyDir: {}}
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "cat /etc/one; echo; ls /etc | grep -c two; echo mine > /mine/file; cat /job/dirs/box/file"]
	    env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
	    volumeMounts:
	    - {name: config, mountPath: /etc/one, subPath: one}
	    - {name: work, mountPath: /job}
	    - {name: work, mountPath: /mine, subPathExpr: dirs/$(NAME)}
	`)
	n.terminated("box", "box")
	n.wantLog("first\n0\nmine\n", "box")
}

func imageVolume(t *testing.T, n *namespace) {
	n.runPod("box", `
	  restartPolicy: Never
	  volumes: [{name: other, image: {reference: "registry.test/hello-rust:v1", pullPolicy: IfNotPresent}}]
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "ls /other; touch /other/x; /other/app.wasm one"]
	    volumeMounts: [{name: other, mountPath: /other}]
	`)
	n.terminated("box", "box")
	log := n.kubectl("logs", "box")
	if !strings.HasPrefix(log, "app.wasm\n") || !strings.Contains(log, "Read-only file system") {
		t.Errorf("the log is %q", log)
	}
}

func fsGroup(t *testing.T, n *namespace) {
	n.runPod("box", `
	  terminationGracePeriodSeconds: 1
	  securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 4242, supplementalGroups: [77], runAsNonRoot: true}
	  volumes: [{name: disk, emptyDir: {}}]
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "id -u; id -g; id -G; touch /disk/file; sleep inf"]
	    volumeMounts: [{name: disk, mountPath: /disk}]
	    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
	`)
	n.ready("box")
	volume := filepath.Join(n.c.PodDir(string(n.pod("box").UID)), "volumes", "kubernetes.io~empty-dir", "disk")
	n.eventually("a file of the pod's user and group", func() error { // WASI shows no owners
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(volume, "file"), &st); err != nil {
			return err
		}
		if st.Uid != 1000 || st.Gid != 4242 {
			return fmt.Errorf("it belongs to %d:%d", st.Uid, st.Gid)
		}
		return nil
	})
	n.wantEventualLog("1000\n1000\n1000 77 4242\n", "box")
}
