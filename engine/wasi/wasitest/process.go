package wasitest

import (
	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

var processTests = []test{
	{name: "arguments and environment", run: func(g *guest) {
		for _, c := range []struct {
			sizes, get string
			want       []string
		}{{"args_sizes_get", "args_get", []string{"guest", "-v"}}, {"environ_sizes_get", "environ_get", []string{"A=1", "B=\xff"}}} {
			at := g.alloc(8)
			g.ok(c.sizes, at, at+4)
			count, size := g.u32(at), g.u32(at+4)
			list, buf := g.alloc(int(4*count)), g.alloc(int(size))
			g.ok(c.get, list, buf)
			var got []string
			for i := range uint64(count) {
				s := uint64(g.u32(list + 4*i))
				got = append(got, g.bytes(s, uint64(len(c.want[i]))))
				if g.mem[s+uint64(len(c.want[i]))] != 0 {
					g.Errorf("%s: string %d has no NUL", c.get, i)
				}
			}
			equal(g, c.get, got, c.want)
			g.want(wasi.EFAULT, c.sizes, at, beyond(4))
			g.want(wasi.EFAULT, c.sizes, beyond(4), at)
			g.want(wasi.EFAULT, c.get, beyond(8), buf)
			g.want(wasi.EFAULT, c.get, list, beyond(int(size)))
		}
	}},
	{name: "proc_exit", run: func(g *guest) {
		g.ok("proc_exit", 7)
		if code, ok := g.host.Exited(); code != 7 || !ok {
			g.Errorf("exited %v with %d", ok, code)
		}
	}},
	{name: "proc_raise", run: func(g *guest) {
		const none, chld, term = 0, 16, 15
		g.want(wasi.EINVAL, "proc_raise", 31)
		g.ok("proc_raise", none)
		g.ok("proc_raise", chld)
		if _, ok := g.host.Exited(); ok {
			g.Error("an ignored signal ended the guest")
		}
		g.ok("proc_raise", term)
		if code, ok := g.host.Exited(); code != 128+15 || !ok {
			g.Errorf("exited %v with %d", ok, code)
		}
	}},
	{name: "sched_yield", run: func(g *guest) { g.ok("sched_yield") }},
	{name: "random_get", run: func(g *guest) {
		a, b := g.alloc(64), g.alloc(64)
		g.ok("random_get", a, 64)
		g.ok("random_get", b, 64)
		if g.bytes(a, 64) == g.bytes(b, 64) {
			g.Error("the same twice")
		}
		g.ok("random_get", memorySize, 0)
		g.want(wasi.EFAULT, "random_get", beyond(64), 64)
	}},
}

var clockTests = []test{
	{name: "clocks", run: func(g *guest) {
		at := g.alloc(16)
		for id := range uint64(4) {
			g.ok("clock_res_get", id, at)
			if g.u64(at) == 0 {
				g.Errorf("clock %d has no resolution", id)
			}
			g.ok("clock_time_get", id, 1, at)
			g.ok("clock_time_get", id, 0, at+8)
			if g.u64(at+8) < g.u64(at) {
				g.Errorf("clock %d goes backwards", id)
			}
			g.want(wasi.EFAULT, "clock_res_get", id, beyond(8))
			g.want(wasi.EFAULT, "clock_time_get", id, 0, beyond(8))
		}
		for _, id := range []uint64{4, 1<<32 - 1} {
			g.want(wasi.EINVAL, "clock_res_get", id, at)
			g.want(wasi.EINVAL, "clock_time_get", id, 0, at)
		}
	}},
}
