package programs_test

import "testing"

func TestTextPrograms(t *testing.T) {
	const lines = `printf 'one\ntwo\nthree\nfour\n' > f; `
	for name, c := range map[string]struct {
		script string
		want   result
	}{
		"echo -n":                    {`echo -n hello`, result{out: "hello"}},
		"echo -e":                    {`echo -e 'a\tb\c' x`, result{out: "a\tb"}},
		"printf repeats":             {`printf '%s=%d\n' a 1 b 2`, result{out: "a=1\nb=2\n"}},
		"cat missing":                {`cat nosuch; echo $?`, result{out: "1\n", err: "cat: nosuch: No such file or directory\n"}},
		"cat directory":              {`cat .`, result{err: "cat: .: Is a directory\n", code: 1}},
		"cat -n":                     {lines + `head -n 2 f | cat -n`, result{out: "     1\tone\n     2\ttwo\n"}},
		"head":                       {lines + `head -n 1 f; head -2 f; head -c 3 f`, result{out: "one\none\ntwo\none"}},
		"head but the last":          {lines + `head -n -3 f`, result{out: "one\n"}},
		"tail":                       {lines + `tail -n 1 f; tail -1 f; tail -c 5 f`, result{out: "four\nfour\nfour\n"}},
		"tail from a line":           {lines + `tail -n +3 f`, result{out: "three\nfour\n"}},
		"wc":                         {lines + `wc -l < f; wc f`, result{out: "4\n      4       4      19 f\n"}},
		"sort":                       {lines + `sort f; sort -r f | head -n 1`, result{out: "four\none\nthree\ntwo\ntwo\n"}},
		"sort numbers":               {`printf '10\n9\n-1\n9\n' | sort -n; printf '10\n9\n9\n' | sort -nu`, result{out: "-1\n9\n9\n10\n9\n10\n"}},
		"sort by key":                {`printf 'b 2\na 10\nc 1\n' | sort -k2n; printf 'x:2\ny:1\n' | sort -t: -k2`, result{out: "c 1\nb 2\na 10\ny:1\nx:2\n"}},
		"sort sizes":                 {`printf '1G\n2K\n3M\n' | sort -h`, result{out: "2K\n3M\n1G\n"}},
		"uniq":                       {`printf 'a\na\nb\n' | uniq -c; printf 'a\na\nb\n' | uniq -d; printf 'a\na\nb\n' | uniq -u`, result{out: "      2 a\n      1 b\na\nb\n"}},
		"cut":                        {`echo a:b:c | cut -d: -f1,3; echo abcdef | cut -c2-3; echo x | cut -d: -f2 -s`, result{out: "a:c\nbc\n"}},
		"tr":                         {`echo hello | tr a-y b-z; echo a1b2 | tr -d 0-9; echo aabb | tr -s a; echo Ab | tr '[:upper:]' '[:lower:]'; echo a.b | tr -c 'a-z\n' _`, result{out: "ifmmp\nab\nabb\nab\na_b\n"}},
		"grep":                       {lines + `grep o f; grep -v o f; grep -c o f; grep -n four f; grep -q two f && echo y; grep -i TWO f`, result{out: "one\ntwo\nfour\nthree\n3\n4:four\ny\ntwo\n"}},
		"grep finds nothing":         {`echo a | grep b`, result{code: 1}},
		"grep missing file":          {`grep x nosuch`, result{err: "grep: nosuch: No such file or directory\n", code: 2}},
		"grep past NUL":              {`printf 'a\0master process\0b' | grep "master process" | tr '\0' .`, result{out: "a.master process.b\n"}},
		"grep basic operators":       {`printf 'a+b\naab\n' | grep 'a+b'; printf 'a+b\naab\n' | grep 'a\+b'; echo '(x)' | grep '(x)'`, result{out: "a+b\naab\n(x)\n"}},
		"grep extended":              {`printf 'ab\ncd\nef\n' | grep -E '^(ab|ef)$'`, result{out: "ab\nef\n"}},
		"grep fixed":                 {`printf 'a.c\nabc\n' | grep -F a.c`, result{out: "a.c\n"}},
		"grep words and lines":       {`printf 'cat\nconcat\n' | grep -w cat; printf 'cat\ncats\n' | grep -x cat`, result{out: "cat\ncat\n"}},
		"grep only":                  {`echo a1b22 | grep -o '[0-9]*'`, result{out: "1\n22\n"}},
		"grep context":               {`seq 1 9 | grep -A1 -B1 5; seq 1 9 | grep -C1 -e 2 -e 8`, result{out: "4\n5\n6\n1\n2\n3\n--\n7\n8\n9\n"}},
		"grep brackets":              {`printf '%s\n' 'a]b' 'a\b' | grep 'a[]\]b'`, result{out: "a]b\na\\b\n"}},
		"grep recursive":             {`mkdir d; echo x > d/f; grep -r x d; grep -l x d/f`, result{out: "d/f:x\nd/f\n"}},
		"grep bad expression":        {`grep '[' f`, result{err: "grep: unmatched [\n", code: 2}},
		"sed substitute":             {`echo aXbX | sed s/X/-/; echo aXbX | sed 's/X/-/g'; echo ab | sed 's/\(a\)\(b\)/\2\1&/'; echo abc | sed -E 's/(b)/[\1]/'`, result{out: "a-bX\na-b-\nbaab\na[b]c\n"}},
		"sed with another delimiter": {`echo /a/b | sed 's,/a,x/,'; echo aaa | sed 's/a/b/2'`, result{out: "x//b\naba\n"}},
		"sed print":                  {lines + `sed -n 2p f; sed -n '2,3p' f; sed -n '$p' f; sed -n '/t/p' f; sed -n '/one/,/th/p' f`, result{out: "two\ntwo\nthree\nfour\ntwo\nthree\none\ntwo\nthree\n"}},
		"sed delete":                 {lines + `sed 1d f; sed '/t/d' f; sed '2,$d' f; sed '1!d' f`, result{out: "two\nthree\nfour\none\nfour\none\none\n"}},
		"sed quits":                  {lines + `sed 2q f; sed -n '/two/{p;q}' f`, result{out: "one\ntwo\ntwo\n"}},
		"sed adds lines":             {`echo b | sed -e 'i a' -e 'a c'; echo x | sed 'c y'`, result{out: "a\nb\nc\ny\n"}},
		"sed joins lines":            {lines + `sed 'N;s/\n/+/' f; sed -n '$=' f; echo ab | sed y/ab/xy/`, result{out: "one+two\nthree+four\n4\nxy\n"}},
		"sed holds":                  {`printf 'a\nb\n' | sed -n '1!G;h;$p'`, result{out: "b\na\n"}},
		"sed in place":               {lines + `sed -i s/one/1/ f; head -n 1 f`, result{out: "1\n"}},
		"sed keeps a missing end":    {`printf a | sed s/a/b/`, result{out: "b"}},
		"sed wrong command":          {`sed k`, result{err: "sed: unsupported command k\n", code: 1}},
		"seq":                        {`seq 3; seq 2 2 6; seq 3 -1 1; seq -w 9 10; seq -s, 1 3; seq 0.5 1`, result{out: "1\n2\n3\n2\n4\n6\n3\n2\n1\n09\n10\n1,2,3\n0.5\n"}},
		"xargs":                      {`printf 'a b\n"c d"\n' | xargs printf '<%s>'; seq 4 | xargs -n 2 echo; seq 2 | xargs -I{} echo v{}; printf 'a\0b' | xargs -0 echo`, result{out: "<a><b><c d>1 2\n3 4\nv1\nv2\na b\n"}},
		"xargs with failures":        {`echo x | xargs false; echo $?`, result{out: "123\n"}},
		"tee":                        {`echo a | tee f g; echo b | tee -a f; cat f g`, result{out: "a\nb\na\nb\na\n"}},
		"basename and dirname":       {`basename /a/b.c .c; basename /a/; dirname /a/b; dirname a; dirname /; dirname /a/`, result{out: "b\na\n/a\n.\n/\n/\n"}},
		"sums":                       {`printf abc | md5sum; printf abc > f; sha256sum f > s; sha256sum -c s; echo x > f; sha256sum -c s`, result{out: "900150983cd24fb0d6963f7d28e17f72  -\nf: OK\nf: FAILED\n", code: 1}},
		"base64":                     {`echo hello | base64; echo aGVsbG8K | base64 -d; echo '!' | base64 -d`, result{out: "aGVsbG8K\nhello\n", err: "base64: -: Invalid input\n", code: 1}},
		"base64 wraps":               {`seq 1 30 | base64 | wc -l; seq 1 30 | base64 -w0 | wc -l`, result{out: "2\n0\n"}},
		"tac, rev, nl":               {`seq 2 | tac; echo abc | rev; seq 1 | nl`, result{out: "2\n1\ncba\n     1\t1\n"}},
		"test":                       {`[ a = a ] && [ ! a = b ] && test 2 -gt 1 && [ -z "" -a -n x ] && [ a -o "" ] && echo ok; [ x -eq 1 ]`, result{out: "ok\n", err: "[: x: bad number\n", code: 2}},
		"test of files":              {`touch e; echo x > f; ln -s f l; [ -f f ] && [ -s f ] && [ ! -s e ] && [ -d . ] && [ -L l ] && [ -r f ] && [ -w f ] && [ ! -e no ] && [ f -ef l ] && echo ok`, result{out: "ok\n"}},
		"env":                        {`env -i A=1 PATH=$PATH env | grep ^A; A=2 env | grep ^A; env -u HOME printenv HOME`, result{out: "A=1\nA=2\n", code: 1}},
		"unknown option":             {`cat -Z`, result{err: "cat: invalid option -- 'Z'\n", code: 2}},
		"missing argument":           {`head -n`, result{err: "head: option requires an argument -- 'n'\n", code: 2}},
		"date":                       {`date -u -d @0 '+%Y-%m-%d %H:%M:%S %s %a %j'`, result{out: "1970-01-01 00:00:00 0 Thu 001\n"}},
		"sleep":                      {`sleep 0.01 && sleep x`, result{err: "sleep: invalid time interval 'x'\n", code: 1}},
		"which":                      {`which sh | sed 's,.*/,,'; which nosuch`, result{out: "sh\n", code: 1}},
	} {
		t.Run(name, func(t *testing.T) { newBox(t).sh(t, c.script, c.want) })
	}
}
