package shell

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/proc"
	"mvdan.cc/sh/v3/syntax"
)

// job is a background command.
type job struct {
	id     int
	done   chan struct{} // closed when it has ended
	status int           // valid then
	cancel context.CancelFunc
	text   string
}

// firstJob is above every process id, so that the two are never confused.
const firstJob = 1 << 23

func (s *shell) background(st *syntax.Stmt) {
	copied := *st
	copied.Background = false
	sub := s.subshell()
	j := &job{id: firstJob + len(s.jobs) + 1, done: make(chan struct{}), text: describe(st)}
	sub.life, j.cancel = context.WithCancel(s.life)
	if !s.interactive {
		sub.fds[0] = &stream{r: strings.NewReader("")}
	}
	s.jobs = append(s.jobs, j)
	go func() {
		defer close(j.done)
		sub.stmt(&copied)
		j.status = sub.leave()
	}()
	s.status = 0
}

func describe(st *syntax.Stmt) string {
	var b strings.Builder
	if err := syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, st); err != nil {
		return "?"
	}
	return strings.TrimSuffix(b.String(), " &")
}

func (s *shell) findJob(text string) *job {
	i := slices.IndexFunc(s.jobs, func(j *job) bool { return strconv.Itoa(j.id) == text })
	if number, ok := strings.CutPrefix(text, "%"); ok {
		i = len(s.jobs) - 1
		if n, err := strconv.Atoi(number); err == nil {
			i = n - 1
		}
	}
	if i < 0 || i >= len(s.jobs) {
		return nil
	}
	return s.jobs[i]
}

func (s *shell) jobsMain([]string) int {
	for i, j := range s.jobs {
		state := "Running"
		select {
		case <-j.done:
			state = "Done"
		default:
		}
		s.print(fmt.Sprintf("[%d]  %-8s %s", i+1, state, j.text))
	}
	return 0
}

func (s *shell) wait(args []string) int {
	if len(args) == 0 {
		for _, j := range s.jobs {
			s.await(j)
		}
		return 0
	}
	status := 0
	for _, text := range args {
		j := s.findJob(text)
		if j == nil {
			status = errNotFound.code
			continue
		}
		status = s.await(j)
	}
	return status
}

func (s *shell) await(j *job) int {
	select {
	case <-j.done:
		return j.status
	case <-s.life.Done():
		return 128 + 15
	}
}

// kill ends jobs; what is none of them goes to the program of that name.
func (s *shell) kill(args []string) int {
	signal, rest, ok := proc.KillArgs(args)
	if !ok || len(rest) == 0 || args[0] == "-l" {
		return builtinProgram("kill")(s, args)
	}
	status := 0
	for _, text := range rest {
		j := s.findJob(text)
		if j == nil {
			status = max(status, builtinProgram("kill")(s, []string{"-" + strconv.Itoa(signal), text}))
			continue
		}
		if signal != 0 {
			j.cancel()
		}
	}
	return status
}
