package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// tracePath is where the WASI calls of the container with this log are traced:
// beside it, as 0.wasi-trace beside 0.log. The name does not begin with that of
// the log, since the kubelet takes such files for rotated logs.
func tracePath(log string) string { return strings.TrimSuffix(log, ".log") + ".wasi-trace" }

// OldTrace is where what has left the trace at path goes.
func OldTrace(path string) string { return path + ".1" }

// traceFile is where a container's or an exec's calls go, nil when they are not
// traced.
func (m *Manager) traceFile(rec *containerRecord, mark string) *TraceFile {
	if rec.Trace == "" {
		return nil
	}
	return &TraceFile{Path: rec.Trace, Size: m.TraceSize, Mark: mark}
}

// applyFeatures does what the annotations of pod and container ask for.
func (b *creation) applyFeatures(f Features) error {
	b.rec.Listen = f.Listen
	if f.Trace == TraceOff || (f.Trace == TraceDefault && !b.m.Trace) {
		return nil
	}
	switch {
	case b.rec.LogPath != "":
		b.rec.Trace = tracePath(b.rec.LogPath)
	case f.Trace == TraceOn:
		return fmt.Errorf("container %q is to be traced, but has no log beside which the trace could be: set log_directory of the pod and log_path of the container: %w", b.rec.Config.Name, ErrInvalid)
	}
	return nil
}

// removeTrace removes the trace of a container, of which nobody else knows.
func removeTrace(path string) error {
	if path == "" {
		return nil
	}
	var errs []error
	for _, file := range []string{path, OldTrace(path)} {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
