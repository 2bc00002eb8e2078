package shell

import (
	"io"
	"maps"
	"os"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// redirection is the making of one statement's descriptors.
type redirection struct {
	s      *shell
	opened []io.Closer
}

// redirect opens what list says. undo must be called in any case; after exec it
// leaves everything as it is. What cannot be opened is reported.
func (s *shell) redirect(list []*syntax.Redirect) (undo func(), ok bool) {
	if len(list) == 0 {
		return func() { s.keep = false }, true
	}
	before := s.fds
	s.fds = maps.Clone(before)
	r := &redirection{s: s}
	ok = true
	for _, rd := range list {
		if ok = r.one(rd); !ok {
			break
		}
	}
	return func() {
		if s.keep {
			s.keep = false
			return
		}
		s.fds = before
		for _, c := range r.opened {
			c.Close()
		}
	}, ok
}

func (r *redirection) one(rd *syntax.Redirect) bool {
	fd := defaultFD(rd.Op)
	if rd.N != nil {
		n, err := strconv.Atoi(rd.N.Value)
		if err != nil {
			r.s.errorf("bad descriptor '%s'", rd.N.Value)
			return false
		}
		fd = n
	}
	switch rd.Op {
	case syntax.Hdoc, syntax.DashHdoc:
		return r.document(fd, rd)
	}
	word, err := expand.Literal(r.s.config, rd.Word)
	if err != nil {
		r.s.expandFailed(err)
		return false
	}
	switch rd.Op {
	case syntax.WordHdoc:
		r.s.fds[fd] = &stream{r: strings.NewReader(word + "\n")}
		return true
	case syntax.DplIn, syntax.DplOut:
		return r.duplicate(fd, word)
	case syntax.RdrAll, syntax.AppAll:
		if !r.open(1, word, rd.Op) {
			return false
		}
		r.s.fds[2] = r.s.fds[1]
		return true
	}
	return r.open(fd, word, rd.Op)
}

func defaultFD(op syntax.RedirOperator) int {
	switch op {
	case syntax.RdrIn, syntax.RdrInOut, syntax.DplIn, syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
		return 0
	}
	return 1
}

func (r *redirection) duplicate(fd int, word string) bool {
	if word == "-" {
		delete(r.s.fds, fd)
		return true
	}
	n, err := strconv.Atoi(word)
	from := r.s.fds[n]
	if err != nil || from == nil {
		r.s.errorf("%s: Bad file descriptor", word)
		return false
	}
	r.s.fds[fd] = from
	return true
}

func openFlags(op syntax.RedirOperator, noclobber bool) int {
	switch op {
	case syntax.RdrIn:
		return os.O_RDONLY
	case syntax.RdrInOut:
		return os.O_RDWR | os.O_CREATE
	case syntax.AppOut, syntax.AppAll:
		return os.O_WRONLY | os.O_CREATE | os.O_APPEND
	case syntax.RdrOut:
		if noclobber {
			return os.O_WRONLY | os.O_CREATE | os.O_EXCL
		}
	}
	return os.O_WRONLY | os.O_CREATE | os.O_TRUNC
}

func (r *redirection) open(fd int, name string, op syntax.RedirOperator) bool {
	if st := r.standard(name); st != nil {
		r.s.fds[fd] = st
		return true
	}
	flags := openFlags(op, r.s.opts.noclobber)
	f, err := os.OpenFile((&applet.Ctx{Dir: r.s.dir}).Path(name), flags, 0o666)
	if err != nil {
		verb := "create"
		if op == syntax.RdrIn {
			verb = "open"
		}
		r.s.errorf("can't %s %s: %s", verb, name, applet.Strerror(err))
		return false
	}
	r.opened = append(r.opened, f)
	r.s.fds[fd] = &stream{r: f, w: f}
	return true
}

// standard gives the streams that have names: they are the shell's, not those
// of the process.
func (r *redirection) standard(name string) *stream {
	switch name {
	case "/dev/null":
		return &stream{r: strings.NewReader(""), w: io.Discard}
	case "/dev/stdin":
		return r.s.fds[0]
	case "/dev/stdout":
		return r.s.fds[1]
	case "/dev/stderr":
		return r.s.fds[2]
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if number, ok := strings.CutPrefix(name, dir); ok {
			if n, err := strconv.Atoi(number); err == nil {
				return r.s.fds[n]
			}
		}
	}
	return nil
}

func (r *redirection) document(fd int, rd *syntax.Redirect) bool {
	text := ""
	if rd.Hdoc != nil {
		word := rd.Hdoc
		if rd.Op == syntax.DashHdoc {
			word = withoutTabs(word)
		}
		var err error
		if text, err = r.expandDocument(rd.Word, word); err != nil {
			r.s.expandFailed(err)
			return false
		}
	}
	r.s.fds[fd] = &stream{r: strings.NewReader(text)}
	return true
}

// expandDocument leaves the body alone when its end is quoted.
func (r *redirection) expandDocument(end, body *syntax.Word) (string, error) {
	if isQuoted(end) {
		var b strings.Builder
		for _, part := range body.Parts {
			if lit, ok := part.(*syntax.Lit); ok {
				b.WriteString(lit.Value)
			}
		}
		return b.String(), nil
	}
	return expand.Document(r.s.config, body)
}

func isQuoted(word *syntax.Word) bool {
	for _, part := range word.Parts {
		lit, ok := part.(*syntax.Lit)
		if !ok || strings.Contains(lit.Value, `\`) {
			return true
		}
	}
	return false
}

// withoutTabs copies a body without the tabs at the start of its lines.
func withoutTabs(word *syntax.Word) *syntax.Word {
	var parts []syntax.WordPart
	for i, part := range word.Parts {
		lit, ok := part.(*syntax.Lit)
		if !ok {
			parts = append(parts, part)
			continue
		}
		lines := strings.Split(lit.Value, "\n")
		for j := range lines {
			if j > 0 || i == 0 {
				lines[j] = strings.TrimLeft(lines[j], "\t")
			}
		}
		copied := *lit
		copied.Value = strings.Join(lines, "\n")
		parts = append(parts, &copied)
	}
	return &syntax.Word{Parts: parts}
}
