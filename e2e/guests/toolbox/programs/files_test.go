package programs_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFilePrograms(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   result
	}{
		"ls":                       {`touch b a .h; ls; ls -A; ls -a; ls -1r`, result{out: "a\nb\n.h\na\nb\n.\n..\n.h\na\nb\nb\na\n"}},
		"ls of nothing":            {`mkdir d; ls -A d; ls d; ls`, result{out: "d\n"}},
		"ls of a file":             {`touch f; ls -A f; ls ./f`, result{out: "f\n./f\n"}},
		"ls missing":               {`ls nosuch`, result{err: "ls: nosuch: No such file or directory\n", code: 1}},
		"ls of several":            {`mkdir d; touch d/x f; ls d f; ls -R`, result{out: "f\n\nd:\nx\n.:\nd\nf\n\n./d:\nx\n"}},
		"ls -l of a link":          {`ln -s to l; ls -l l | sed 's/.* l ->/l ->/'`, result{out: "l -> to\n"}},
		"touch and read back":      {`touch test.go && [ -f test.go ] && echo 'Found'`, result{out: "Found\n"}},
		"touch without creating":   {`touch -c f; ls`, result{}},
		"touch below a file":       {`touch f; touch f/g`, result{err: "touch: f/g: Not a directory\n", code: 1}},
		"touch at a time":          {`touch -d '2020-01-02 03:04' f; date -r f '+%F %R'`, result{out: "2020-01-02 03:04\n"}},
		"mkdir":                    {`mkdir d; mkdir -p d/e/f d; ls d/e; mkdir d`, result{out: "f\n", err: "mkdir: d: File exists\n", code: 1}},
		"rmdir":                    {`mkdir -p a/b; rmdir a; rmdir -p a/b; ls`, result{err: "rmdir: a: Directory not empty\n"}},
		"rm":                       {`touch a; mkdir d; touch d/x; rm a; rm d; rm -r d; rm -f no; rm no`, result{err: "rm: d: Is a directory\nrm: no: No such file or directory\n", code: 1}},
		"rm refuses dot":           {`rm -rf .`, result{err: "rm: refusing to remove '.'\n", code: 1}},
		"rm leaves what links to":  {`mkdir d; touch d/x; ln -s d l; rm -r l; ls d`, result{out: "x\n"}},
		"cp":                       {`echo a > a; cp a b; mkdir d; cp a b d; cat d/a d/b`, result{out: "a\na\n"}},
		"cp -r":                    {`mkdir -p d/e; echo x > d/e/f; ln -s f d/e/l; cp -r d c; cat c/e/f; readlink c/e/l`, result{out: "x\nf\n"}},
		"cp of a directory":        {`mkdir d; cp d e`, result{err: "cp: omitting directory 'd'\n", code: 1}},
		"cp into itself":           {`mkdir d; cp -r d d/e`, result{err: "cp: recursion detected, omitting directory 'd'\n", code: 1}},
		"cp onto itself":           {`echo a > a; cp a a; cat a`, result{out: "a\n", err: "cp: 'a' and 'a' are the same file\n"}},
		"cp of several to a file":  {`touch a b c; cp a b c`, result{err: "cp: c: Not a directory\n", code: 1}},
		"mv":                       {`echo a > a; mv a b; mkdir d; mv b d; cat d/b; mv nosuch d`, result{out: "a\n", err: "mv: nosuch: No such file or directory\n", code: 1}},
		"ln":                       {`echo a > a; ln a h; ln -s a s; [ a -ef h ] && cat s; ln -s a s`, result{out: "a\n", err: "ln: s: File exists\n", code: 1}},
		"ln -sf":                   {`ln -s a l; ln -sf b l; readlink l`, result{out: "b\n"}},
		"readlink of no link":      {`touch f; readlink f`, result{code: 1}},
		"find by name and type":    {`mkdir -p d/e; touch d/a.go d/e/b.go d/c; find d -name '*.go' -type f | sort; find d -type d | sort`, result{out: "d/a.go\nd/e/b.go\nd\nd/e\n"}},
		"find with operators":      {`touch a b c; find . \( -name a -o -name b \) ! -name b; find . -mindepth 1 -maxdepth 1 -name c -print`, result{out: "./a\n./c\n"}},
		"find -path and -prune":    {`mkdir -p a/b; touch a/b/x a/y; find a -path a/b -prune -o -type f -print`, result{out: "a/y\n"}},
		"find -exec":               {`touch a b; find . -type f -exec echo f {} \; | sort; find . -type f -exec echo {} + | wc -l`, result{out: "f ./a\nf ./b\n1\n"}},
		"find -delete and -empty":  {`mkdir -p d/e; touch d/e/f; find d -delete; ls; mkdir x; find x -empty`, result{out: "x\n"}},
		"find -size":               {`printf 12345 > f; find . -type f -size 5c; find . -type f -size +5c`, result{out: "./f\n"}},
		"find wrong expression":    {`find . -nosuch`, result{err: "find: unrecognized: -nosuch\n", code: 1}},
		"dd":                       {`printf abcdef > f; dd if=f bs=2 skip=1 count=1 status=none; dd if=f of=g bs=4 2>&1 | head -n 1`, result{out: "cd1+1 records in\n"}},
		"dd in the middle":         {`printf abcdef > f; printf XY | dd of=f bs=1 seek=2 conv=notrunc status=none; cat f`, result{out: "abXYef"}},
		"dd wrong argument":        {`dd foo=1`, result{err: "dd: invalid argument 'foo=1'\n", code: 1}},
		"gzip":                     {`echo text > f; gzip f; ls; gzip -dc f.gz; gunzip f.gz; cat f; cat f | gzip | zcat`, result{out: "f.gz\ntext\ntext\ntext\n"}},
		"gunzip of something else": {`echo x > f.gz; gunzip f.gz; ls`, result{out: "f.gz\n", err: "gunzip: f.gz: Unexpected EOF\n"}},
		"truncate":                 {`truncate -s 1k f; wc -c < f`, result{out: "1024\n"}},
		"stat":                     {`printf abc > f; stat -c '%n %s %F' f; stat nosuch`, result{out: "f 3 regular file\n", err: "stat: nosuch: No such file or directory\n", code: 1}},
		"du":                       {`mkdir d; printf x > d/f; ln d/f d/g; du -s d | cut -f2; du -a d | wc -l`, result{out: "d\n2\n"}},
		"mktemp":                   {`f=$(mktemp ./x.XXXXXX); [ -f $f ] && d=$(mktemp -d ./y.XXXXXX) && [ -d $d ] && echo ok`, result{out: "ok\n"}},
		"tar through a pipe":       {`mkdir -p s/d t; echo x > s/d/f; ln -s f s/d/l; tar cf - -C s d | tar xmf - -C t; cat t/d/f; readlink t/d/l`, result{out: "x\nf\n"}},
		"tar with gzip":            {`mkdir d; echo x > d/f; tar czf a.tgz d; tar tzf a.tgz; rm -r d; tar xzvf a.tgz d/f; cat d/f`, result{out: "d/\nd/f\nd/f\nx\n"}},
		"tar of a missing file":    {`touch f; tar cf a.tar f nosuch; tar tf a.tar`, result{out: "f\n", err: "tar: nosuch: No such file or directory\n"}},
		"tar keeps hard links":     {`echo x > a; ln a b; tar cf a.tar a b; rm a b; tar xf a.tar; [ a -ef b ] && echo same`, result{out: "same\n"}},
		"tar as kubectl calls it":  {`mkdir d t; echo x > d/f; tar cf - d | tar --no-same-permissions --no-same-owner -xmf - -C t; cat t/d/f`, result{out: "x\n"}},
		"tar into no directory":    {`tar xf - -C nosuch`, result{err: "tar: can't change directory to 'nosuch': No such file or directory\n", code: 1}},
		"tar -O and --exclude":     {`mkdir d; echo x > d/f; echo y > d/g; tar cf a.tar --exclude=g d; tar xOf a.tar; tar tf a.tar`, result{out: "x\nd/\nd/f\n"}},
		"sync":                     {`touch f; sync; sync f`, result{}},
	} {
		t.Run(name, func(t *testing.T) { newBox(t).sh(t, c.script, c.want) })
	}
}

func TestReadOnlyFilesystemIsNamed(t *testing.T) {
	const dir = "/sys" // sysfs takes no new files, whoever asks
	b := newBox(t)
	got := b.run(t, "", "touch", dir+"/toolbox-test")
	switch got.err {
	case "touch: " + dir + "/toolbox-test: Read-only file system\n", "touch: " + dir + "/toolbox-test: Permission denied\n":
	default:
		t.Errorf("got %+v, want the reason in the words of strerror", got)
	}
	if got.code != 1 {
		t.Errorf("got code %d, want 1", got.code)
	}
}

func TestTarNeverLeavesItsDirectory(t *testing.T) {
	outside := t.TempDir()
	for name, members := range map[string][]tar.Header{
		"parent":             {{Name: "../escaped", Typeflag: tar.TypeReg, Size: 1}},
		"absolute":           {{Name: outside + "/escaped", Typeflag: tar.TypeReg, Size: 1}},
		"through a link":     {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "l/escaped", Typeflag: tar.TypeReg, Size: 1}},
		"over a link":        {{Name: "escaped", Typeflag: tar.TypeSymlink, Linkname: outside + "/escaped"}, {Name: "escaped", Typeflag: tar.TypeReg, Size: 1}},
		"link to the parent": {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../escaped"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, h := range members {
				h.Mode = 0o644
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(make([]byte, h.Size)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			b.run(t, archive.String(), "tar", "xf", "-")
			for _, p := range []string{filepath.Join(filepath.Dir(b.dir), "escaped"), filepath.Join(outside, "escaped")} {
				if _, err := os.Lstat(p); err == nil {
					t.Errorf("%s exists", p)
				}
			}
		})
	}
}

func TestDamagedArchivesAreReported(t *testing.T) {
	b := newBox(t)
	for _, stdin := range []string{"nonsense", strings.Repeat("x", 2048), "\x1f\x8bnonsense"} {
		if got := b.run(t, stdin, "tar", "xf", "-"); got.code == 0 || got.err == "" {
			t.Errorf("%.10q: got %+v, want an error", stdin, got)
		}
	}
}

func TestFollowPrintsWhatIsAdded(t *testing.T) {
	b := newBox(t)
	b.write(t, "log", "first\n")
	start := time.Now()
	b.sh(t, `timeout 1 tail -f log & sleep 0.1; echo second >> log; wait`, result{out: "first\nsecond\n"})
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}
