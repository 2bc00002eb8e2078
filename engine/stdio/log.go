// Package stdio carries a guest's standard streams to where Kubernetes looks
// for them.
//
// A Log is a container's CRI log file. Each Stream of it, stdout or stderr,
// takes what the guest writes and appends it as lines of the form
//
//	2016-10-06T00:17:09.669794202Z stdout F text of the line
//
// where the tag F ends a line and P says that the line goes on (kubernetes
// design proposal "CRI: logging"; kubelet pkg/kubelet/kuberuntime/logs). A
// write of the guest is one write to the file, or a few of whole lines when it
// is large, and it is in the file when Write returns, but for an unfinished
// line: that waits for its end, for 16 KiB, for Close, or a moment at most, so
// that a guest which is killed loses nothing that was visible to it for long.
//
// A Fanout gives the same output to clients that are attached, an Input feeds the
// guest's stdin from theirs, and a Terminal stands between both and a guest that
// has one.
package stdio

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"time"
)

const (
	// MaxLine is the number of bytes after which a line is cut and tagged P.
	MaxLine = 16 << 10
	// partialDelay is how long an unfinished line waits for its end.
	partialDelay = 200 * time.Millisecond
	maxOut       = 64 << 10 // of lines that are written to the file at once
)

// Log is one CRI log file. Safe for concurrent use.
type Log struct {
	mu      sync.Mutex
	file    *os.File // owned
	streams []*Stream
	stamp   stamp
	now     func() time.Time
	lost    error // first write error since the last Reopen
}

// NewLog takes ownership of f, which must be open for appending.
func NewLog(f *os.File) *Log { return &Log{file: f, now: time.Now} }

// Stream makes a stream of the log with the given name, stdout or stderr.
func (l *Log) Stream(name string) *Stream {
	s := &Stream{log: l, full: newHead(name, "F"), part: newHead(name, "P")}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams = append(l.streams, s)
	return s
}

// Reopen goes on in f, which it owns from then on, and closes the old file. A
// line that has begun is finished in the new file.
func (l *Log) Reopen(f *os.File) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return errors.Join(os.ErrClosed, f.Close())
	}
	old := l.file
	l.file, l.lost = f, nil
	return old.Close()
}

// Close writes unfinished lines and closes the file. The error is the first
// one of writing: output that could not be stored.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	for _, s := range l.streams {
		s.flush(s.full)
	}
	err := errors.Join(l.lost, l.file.Close())
	l.file = nil
	return err
}

// Stream is stdout or stderr of a guest. Safe for concurrent use.
type Stream struct {
	log *Log
	// the fields below are guarded by log.mu
	full, part head
	pending    []byte // an unfinished line, shorter than MaxLine
	out        []byte // lines to write, at most maxOut; reused
	timer      *time.Timer
}

// head is what stands before the text of a line, the time in front.
type head []byte

func newHead(stream, tag string) head {
	return append(make(head, len(stamp{}.text)), " "+stream+" "+tag+" "...)
}

// Write appends p to the log. It never fails for the guest: what the disk
// refuses is lost, as it is with every runtime, and Close tells.
func (s *Stream) Write(p []byte) (int, error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	s.date()
	if len(p) > maxOut/8 && cap(s.out) < maxOut {
		s.out = make([]byte, 0, maxOut) // not in steps; most guests never need it
	}
	for len(p) > 0 {
		p = s.take(p)
	}
	s.write()
	s.arm()
	return n, nil
}

// take moves one line, or what there is of it, out of p.
func (s *Stream) take(p []byte) []byte {
	room := MaxLine - len(s.pending)
	end := bytes.IndexByte(p[:min(len(p), room+1)], '\n')
	switch {
	case end >= 0:
		s.line(s.full, p[:end])
		return p[end+1:]
	case len(p) >= room:
		s.line(s.part, p[:room])
		return p[room:]
	}
	s.pending = append(s.pending, p...)
	return nil
}

// date makes the lines that follow bear the time.
func (s *Stream) date() {
	stamp := &s.log.stamp
	stamp.set(s.log.now())
	copy(s.full, stamp.text[:])
	copy(s.part, stamp.text[:])
}

func (s *Stream) line(h head, text []byte) {
	if len(s.out)+len(h)+len(s.pending)+len(text)+1 > maxOut {
		s.write()
	}
	s.out = append(s.out, h...)
	if len(s.pending) > 0 {
		s.out = append(s.out, s.pending...)
		s.pending = s.pending[:0]
	}
	s.out = append(append(s.out, text...), '\n')
}

// write moves what lines there are into the file.
func (s *Stream) write() {
	l := s.log
	if len(s.out) > 0 && l.file != nil {
		if _, err := l.file.Write(s.out); err != nil && l.lost == nil {
			l.lost = err
		}
	}
	s.out = s.out[:0]
}

// flush writes the unfinished line, if any, with the head.
func (s *Stream) flush(h head) {
	if len(s.pending) == 0 {
		return
	}
	s.date()
	s.line(h, nil)
	s.write()
}

// arm sees to it that an unfinished line is written in a moment.
func (s *Stream) arm() {
	switch {
	case len(s.pending) == 0:
	case s.timer == nil:
		s.timer = time.AfterFunc(partialDelay, s.expire)
	default:
		s.timer.Reset(partialDelay)
	}
}

func (s *Stream) expire() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.flush(s.part)
}
