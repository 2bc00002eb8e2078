package programs_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/programs"
)

// box is a directory to run programs in, with every program in its PATH.
type box struct {
	dir, bin string
}

func newBox(t *testing.T) box {
	t.Helper()
	b := box{dir: t.TempDir(), bin: t.TempDir()}
	module := filepath.Join(b.bin, "toolbox")
	if err := os.WriteFile(module, []byte("\x00asm\x01\x00\x00\x00"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range programs.Names() {
		if err := os.Link(module, filepath.Join(b.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b box) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// result is what a run leaves behind.
type result struct {
	out, err string
	code     int
}

// output is a file that several programs write to at the same time.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// run runs a program as a container's main process would.
func (b box) run(t *testing.T, stdin string, argv ...string) result {
	t.Helper()
	life, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out, errs output
	l := programs.Launcher()
	c := &applet.Ctx{
		Name: argv[0], Caller: argv[0], In: strings.NewReader(stdin), Out: applet.NewOutput(&out), Err: &errs,
		Dir: b.dir, Env: []string{"PATH=" + b.bin, "HOME=/root"}, Life: life, Start: l.Start,
	}
	code, ok := l.Table.Run(c, argv)
	if !ok {
		t.Fatalf("no program %s", argv[0])
	}
	if life.Err() != nil {
		t.Fatalf("%q did not end", argv)
	}
	return result{out.String(), errs.String(), code}
}

// sh runs a script by sh -c and checks all that it leaves behind.
func (b box) sh(t *testing.T, script string, want result) {
	t.Helper()
	if got := b.run(t, "", "sh", "-c", script); got != want {
		t.Errorf("sh -c %q\n got %+v\nwant %+v", script, got, want)
	}
}

func TestShellLanguage(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   result
	}{
		"sequence":                     {`echo a; echo b`, result{out: "a\nb\n"}},
		"and":                          {`true && echo a; false && echo b; true`, result{out: "a\n"}},
		"or":                           {`false || echo a; true || echo b`, result{out: "a\n"}},
		"status of the last command":   {`true; false`, result{code: 1}},
		"exit":                         {`exit 3; echo no`, result{code: 3}},
		"pipeline":                     {`echo abc | tr a-c A-C | cat`, result{out: "ABC\n"}},
		"pipeline status is the last":  {`false | true`, result{}},
		"pipefail":                     {`set -o pipefail; false | true`, result{code: 1}},
		"negated pipeline":             {`! echo a | grep -q b && echo none`, result{out: "none\n"}},
		"writer ends with its reader":  {`yes | head -n 2`, result{out: "y\ny\n"}},
		"big pipeline":                 {`seq 1 50000 | tail -n 1`, result{out: "50000\n"}},
		"while":                        {`i=0; while [ $i -lt 3 ]; do i=$((i+1)); echo $i; done`, result{out: "1\n2\n3\n"}},
		"while with negated condition": {`while [ ! -f f ]; do touch f; echo made; done`, result{out: "made\n"}},
		"until":                        {`until false; do echo x; break; done; until true; do echo y; done`, result{out: "x\n"}},
		"break out of two":             {`for a in 1 2; do for b in 1 2; do echo $a$b; break 2; done; done; echo end`, result{out: "11\nend\n"}},
		"continue the outer":           {`for a in 1 2; do for b in 1 2; do echo $a$b; continue 2; done; done`, result{out: "11\n21\n"}},
		"loop ends with exit":          {`while true; do exit 4; done`, result{code: 4}},
		"for over a substitution":      {`for i in $(seq 1 3); do echo hi >> f_$i; done; ls`, result{out: "f_1\nf_2\nf_3\n"}},
		"for over parameters":          {`set -- a "b c"; for i; do echo "<$i>"; done`, result{out: "<a>\n<b c>\n"}},
		"for over a glob":              {`touch x1 x2; for f in x*; do echo $f; done; echo y*`, result{out: "x1\nx2\ny*\n"}},
		"arithmetic for":               {`for ((i=0;i<2;i++)); do echo $i; done`, result{out: "0\n1\n"}},
		"if elif else":                 {`if false; then echo a; elif true; then echo b; else echo c; fi`, result{out: "b\n"}},
		"if without match is true":     {`if false; then echo a; fi`, result{}},
		"case":                         {`case abc in x) echo 1;; a*|b) echo 2;; *) echo 3;; esac`, result{out: "2\n"}},
		"case with quoted pattern":     {`case 'a*' in 'a*') echo literal;; esac; case ab in "a*") echo no;; esac`, result{out: "literal\n"}},
		"nested substitution":          {`echo $(echo $(echo deep))`, result{out: "deep\n"}},
		"backquotes":                   {"echo `echo old`", result{out: "old\n"}},
		"status of a substitution":     {`x=$(exit 5); echo $?`, result{out: "5\n"}},
		"substitution of a file":       {`echo text > f; echo "$(<f)"`, result{out: "text\n"}},
		"quotes":                       {`x='a  b'; echo $x "$x" '$x'`, result{out: "a b a  b $x\n"}},
		"default values":               {`echo ${u:-d} ${u:=s} $u ${u:+p} ${#u}`, result{out: "d s s p 1\n"}},
		"trimming":                     {`p=/a/b.c.d; echo ${p##*/} ${p%.*} ${p%%.*}`, result{out: "b.c.d /a/b.c /a/b\n"}},
		"arithmetic":                   {`echo $(( (1+2)*3 % 5 )) $((1<2))`, result{out: "4 1\n"}},
		"subshell keeps the shell":     {`x=1; (x=2; cd /; exit 3); echo $x $?`, result{out: "1 3\n"}},
		"group":                        {`{ echo a; echo b; } | wc -l`, result{out: "2\n"}},
		"function":                     {`f() { echo "$1:$#"; return 7; }; f a b; echo $?`, result{out: "a:2\n7\n"}},
		"local":                        {`x=1; f() { local x=2 y; echo $x; }; f; echo $x`, result{out: "2\n1\n"}},
		"recursion":                    {`f() { [ $1 -eq 0 ] || { echo $1; f $(($1-1)); }; }; f 3`, result{out: "3\n2\n1\n"}},
		"endless recursion":            {`f() { f; }; f`, result{err: "sh: f: too many nested functions\n", code: 2}},
		"here-document":                {"x=1; cat <<E\na $x $((1+1))\nE\ncat <<'E'\n$x\nE", result{out: "a 1 2\n$x\n"}},
		"here-document without tabs":   {"cat <<-E\n\t\ta\n\tb\n\tE", result{out: "a\nb\n"}},
		"here-document into a pipe":    {"cat <<E | tr a-z A-Z\nabc\nE", result{out: "ABC\n"}},
		"here-string":                  {`cat <<< "a b"`, result{out: "a b\n"}},
		"redirections":                 {`echo a > f; echo b >> f; cat < f; wc -l < f`, result{out: "a\nb\n2\n"}},
		"standard error to output":     {`ls nosuch 2>&1 | grep -c "No such file"`, result{out: "1\n"}},
		"order of redirections":        {`{ ls nosuch 2>&1 >/dev/null; } | wc -l`, result{out: "1\n"}},
		"other descriptors":            {`exec 3>f; echo x >&3; exec 3>&-; cat f`, result{out: "x\n"}},
		"closed descriptor":            {`echo x >&7`, result{err: "sh: 7: Bad file descriptor\n", code: 1}},
		"dev null":                     {`echo a > /dev/null; cat < /dev/null; ls nosuch 2>/dev/null`, result{code: 1}},
		"dev stderr":                   {`echo e > /dev/stderr`, result{err: "e\n"}},
		"redirected loop":              {`printf 'a\nb\n' > f; while read x; do echo "<$x>"; done < f`, result{out: "<a>\n<b>\n"}},
		"assignment for one command":   {`x=1; x=2 printenv x; echo $x`, result{out: "2\n1\n"}},
		"export":                       {`a=1; export a b=2; unset a; env | grep '^[ab]='`, result{out: "b=2\n"}},
		"readonly":                     {`readonly r=1; r=2; echo no`, result{err: "sh: r: readonly variable\n", code: 2}},
		"nounset":                      {`set -u; echo $nope; echo no`, result{err: "sh: nope: unbound variable\n", code: 2}},
		"errexit":                      {`set -e; false || true; if false; then :; fi; ! true; echo a; false; echo no`, result{out: "a\n", code: 1}},
		"errexit in a substitution":    {`set -e; x=$(false); echo no`, result{code: 1}},
		"noglob":                       {`touch a; set -f; echo *`, result{out: "*\n"}},
		"xtrace":                       {`set -x; echo a`, result{out: "a\n", err: "+ echo a\n"}},
		"exit trap":                    {`trap 'echo bye' EXIT; echo hi; exit 3`, result{out: "hi\nbye\n", code: 3}},
		"eval":                         {`x='echo $y'; y=1; eval "$x"`, result{out: "1\n"}},
		"source":                       {`echo 'v=1; return 2' > s; . ./s; echo $? $v`, result{out: "2 1\n"}},
		"shift":                        {`set -- a b c; shift 2; echo $1 $#`, result{out: "c 1\n"}},
		"parameters":                   {`set -- "a b" c; echo $# "$@" "$*"; printf '<%s>' "$@"`, result{out: "2 a b c a b c\n<a b><c>"}},
		"getopts":                      {`set -- -a -b x -cz op; while getopts ab:c: o; do echo $o $OPTARG; done; shift $((OPTIND-1)); echo $1`, result{out: "a\nb x\nc z\nop\n"}},
		"read fields":                  {`echo 'a b c' | { read x y; echo "$y-$x"; }`, result{out: "b c-a\n"}},
		"read keeps the rest":          {`printf '1\n2\n' | { read a; cat; }`, result{out: "2\n"}},
		"read at the end":              {`printf x | { read a; echo $? $a; }`, result{out: "1 x\n"}},
		"exec":                         {`exec echo a; echo no`, result{out: "a\n"}},
		"background job":               {`sleep 0.05 && echo late & echo early; wait; echo end`, result{out: "early\nlate\nend\n"}},
		"status of a job":              {`(exit 4) & wait $!; echo $?`, result{out: "4\n"}},
		"killed job":                   {`sleep 100 & kill $!; wait; echo end`, result{out: "end\n"}},
		"cd":                           {`mkdir -p a/b; cd a/b; cd ..; pwd | sed 's,.*/,,'; cd - > /dev/null; ls ..`, result{out: "a\nb\n"}},
		"cd to nothing":                {`cd nosuch`, result{err: "sh: cd: can't cd to nosuch: No such file or directory\n", code: 1}},
		"command -v":                   {`command -v echo; command -v nosuch; echo $?`, result{out: "echo\n127\n"}},
		"array":                        {`a=(x "y z"); a[3]=w; echo "${a[1]}" ${#a[@]}`, result{out: "y z 4\n"}},
		"double brackets":              {`[[ abc == a* && ! -e nosuch ]] && echo y; [[ x1 =~ ^x([0-9])$ ]] && echo ${BASH_REMATCH[1]}`, result{out: "y\n1\n"}},
		"brace expansion":              {`echo {a,b}{1..2}`, result{out: "a1 a2 b1 b2\n"}},
		"syntax error":                 {`echo a; if`, result{out: "a\n", err: "sh: syntax error: `if` must be followed by a statement list\n", code: 2}},
		"parameter error":              {`echo ${x?is missing}; echo no`, result{err: "sh: x: is missing\n", code: 2}},
		"not found":                    {`nosuch; echo $?`, result{out: "127\n", err: "sh: nosuch: not found\n"}},
		"broken pipe is silent":        {`seq 1 100000 | head -n 1`, result{out: "1\n"}},
	} {
		t.Run(name, func(t *testing.T) { newBox(t).sh(t, c.script, c.want) })
	}
}

func TestShellReadsCommandsFromStandardInput(t *testing.T) {
	for name, c := range map[string]struct {
		stdin string
		want  result
	}{
		"without a prompt":           {"echo -n hello\n", result{out: "hello"}},
		"without a newline":          {"echo hello", result{out: "hello\n"}},
		"empty":                      {"", result{}},
		"command reads what follows": {"read x\nline\necho got $x\ncat\nrest\n", result{out: "got line\nrest\n"}},
		"command over lines":         {"for i in 1 2\ndo echo $i\ndone\n", result{out: "1\n2\n"}},
		"backslash at the end":       {"echo a \\\nb\n", result{out: "a b\n"}},
		"here-document":              {"cat <<E\nx\nE\necho y\n", result{out: "x\ny\n"}},
		"exit":                       {"exit 5\necho no\n", result{code: 5}},
		"status":                     {"false\n", result{code: 1}},
		"several on a line":          {"echo a; exit 3; echo b\n", result{out: "a\n", code: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newBox(t).run(t, c.stdin, "/bin/sh"); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestShellStartsOnlyWhatTheFileSays(t *testing.T) {
	b := newBox(t)
	masked := filepath.Join(b.bin, "ls")
	if err := os.Remove(masked); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", masked); err != nil { // a device, as a masked path is
		t.Fatal(err)
	}
	b.write(t, "script", "#!"+b.bin+"/sh -e\necho $0 $1\nfalse\necho no\n")
	b.write(t, "plain", "echo plain $1\n")
	b.write(t, "binary", "\x7fELF\x00\x00")
	for name, c := range map[string]struct {
		argv []string
		want result
	}{
		"masked in PATH": {[]string{"/bin/sh", "-c", "ls"}, result{err: "/bin/sh: ls: Permission denied\n", code: 126}},
		"masked by path": {[]string{"/bin/sh", "-c", masked}, result{err: "/bin/sh: " + masked + ": Permission denied\n", code: 126}},
		"not there":      {[]string{"sh", "-c", "x"}, result{err: "sh: x: not found\n", code: 127}},
		"directory":      {[]string{"sh", "-c", "/tmp"}, result{err: "sh: /tmp: Permission denied\n", code: 126}},
		"script":         {[]string{"sh", "-c", "./script a"}, result{out: b.dir + "/./script a\n", code: 1}},
		"plain text":     {[]string{"sh", "-c", "./plain a"}, result{out: "plain a\n"}},
		"other format":   {[]string{"sh", "-c", "./binary"}, result{err: "sh: ./binary: Exec format error\n", code: 126}},
		"from xargs":     {[]string{"xargs", "nosuch"}, result{err: "xargs: nosuch: not found\n", code: 127}},
		"file operand":   {[]string{"sh", "plain", "b"}, result{out: "plain b\n"}},
		"missing file":   {[]string{"sh", "nosuch"}, result{err: "sh: can't open 'nosuch': No such file or directory\n", code: 127}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := b.run(t, "", c.argv...); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestStoppedLifeEndsTheShell(t *testing.T) {
	b := newBox(t)
	b.sh(t, `timeout 0.05 sh -c 'while true; do sleep 0.01; done'; echo $?; timeout 0.05 sleep 100; echo $?`, result{out: "124\n124\n"})
}
