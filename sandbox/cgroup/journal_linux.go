package cgroup

import (
	"errors"
	"slices"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// journal is files that remember what they held, so that a change of several of
// them can be taken back.
type journal struct {
	files
	before []held
}

// held is a file and what was in it.
type held struct{ file, value string }

func (j *journal) write(file, value string) error {
	var buf [512]byte
	n, unreadable := j.files.read(file, buf[:])
	if err := j.files.write(file, value); err != nil {
		return err
	}
	if unreadable == nil && n < len(buf) {
		j.before = append(j.before, held{file, strings.TrimSpace(string(buf[:n]))})
	}
	return nil
}

// undo writes everything back, the latest first: the kernel may take a value
// only while another one is as it was.
func (j *journal) undo() error {
	var errs []error
	for _, h := range slices.Backward(j.before) {
		err := j.files.write(h.file, h.value+"\n") // a write of nothing would change nothing
		if err != nil && !absent(err) {
			errs = append(errs, &Error{Op: "restore", Path: h.file, Err: err})
		}
	}
	return errors.Join(errs...)
}

// change applies resources to a group that is in use, all or none of them.
func (m *Manager) change(p string, r *sandbox.Resources) error {
	var j journal
	err := m.tree.noted(&j).apply(p, r)
	if err == nil {
		err = m.setOOMScores(p, r.OOMScoreAdj)
	}
	if err != nil {
		return errors.Join(err, j.undo())
	}
	return nil
}
