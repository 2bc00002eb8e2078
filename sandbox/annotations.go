package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What Kubernetes has no field for, annotations of a pod say:
//
//	FEATURE.cri-wasmer.dev/CONTAINER: VALUE
//
// CONTAINER is the name of a container of the pod. The kubelet does not hand a
// pod's annotations to its containers, so that those of the pod count; clients
// that make containers themselves may also annotate the container, which then
// overrules its pod. What is not understood is refused: a misspelled annotation
// must not be one without effect.
const annotationDomain = "cri-wasmer.dev"

// Features are the annotations of one container.
type Features struct {
	Trace  TraceMode
	Listen []ListenSocket
}

// TraceMode says whether the WASI calls of a container are traced.
type TraceMode string

const (
	TraceDefault TraceMode = "" // as the server is configured
	TraceOn      TraceMode = "on"
	TraceOff     TraceMode = "off"
)

// feature is one kind of annotation.
type feature struct {
	name, form string
	parse      func(value string, f *Features) error
}

var features = []feature{
	{"listen", `sockets that the container finds open, such as "tcp://:8080 name=http, unix:///run/app.sock"`, func(value string, f *Features) (err error) {
		f.Listen, err = parseListen(value)
		return err
	}},
	{"trace", `"on" or "off": a line for each WASI call, in a file beside the log`, func(value string, f *Features) error {
		switch mode := TraceMode(value); mode {
		case TraceOn, TraceOff:
			f.Trace = mode
			return nil
		}
		return fmt.Errorf("value %q: want on or off", value)
	}},
}

// knownFeatures lists them for a message.
func knownFeatures() string {
	list := make([]string, len(features))
	for i, f := range features {
		list[i] = fmt.Sprintf("%s.%s/<container> (%s)", f.name, annotationDomain, f.form)
	}
	return "known annotations are " + strings.Join(list, "; ")
}

// annotation is one of ours.
type annotation struct {
	feature   *feature
	container string
}

// parseAnnotation divides the key of an annotation. It is nil for one that is
// not ours.
func parseAnnotation(key string) (*annotation, error) {
	domain, container, _ := strings.Cut(key, "/")
	name, ours := strings.CutSuffix(domain, annotationDomain)
	if !ours || (name != "" && !strings.HasSuffix(name, ".")) {
		return nil, nil
	}
	name = strings.TrimSuffix(name, ".")
	i := slices.IndexFunc(features, func(f feature) bool { return f.name == name })
	switch {
	case i < 0:
		return nil, annotationError(key, fmt.Errorf("there is no such feature"))
	case container == "":
		return nil, annotationError(key, fmt.Errorf("it names no container"))
	}
	return &annotation{&features[i], container}, nil
}

func annotationError(key string, err error) error {
	return fmt.Errorf("annotation %q: %w; %s: %w", key, err, knownFeatures(), ErrInvalid)
}

// checkAnnotations reads those of a pod, whose containers are not known yet.
func checkAnnotations(annotations map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		a, err := parseAnnotation(key)
		if err != nil {
			return err
		}
		if a == nil {
			continue
		}
		if err := a.feature.parse(annotations[key], &Features{}); err != nil {
			return annotationError(key, err)
		}
	}
	return nil
}

// featuresFor gives what the annotations of a pod and of the container itself
// ask for.
func featuresFor(c *ContainerConfig, pod *PodConfig) (Features, error) {
	var f Features
	for _, key := range slices.Sorted(maps.Keys(c.Annotations)) {
		a, err := parseAnnotation(key)
		if err != nil {
			return f, err
		}
		if a != nil && a.container != c.Name {
			return f, annotationError(key, fmt.Errorf("this container is %q", c.Name))
		}
	}
	for i := range features {
		key := fmt.Sprintf("%s.%s/%s", features[i].name, annotationDomain, c.Name)
		value, ok := c.Annotations[key]
		if !ok {
			value, ok = pod.Annotations[key]
		}
		if !ok {
			continue
		}
		if err := features[i].parse(value, &f); err != nil {
			return f, annotationError(key, err)
		}
	}
	return f, nil
}
