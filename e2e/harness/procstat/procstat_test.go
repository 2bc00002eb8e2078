package procstat

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestOwnFiguresAreThere(t *testing.T) {
	pid := os.Getpid()
	rss, err := RSS(pid)
	if err != nil || rss < 1<<20 || rss > 4<<30 {
		t.Errorf("RSS = %d, %v", rss, err)
	}
	with, err := TotalPSS()
	if err != nil {
		t.Fatal(err)
	}
	without, err := TotalPSS(pid)
	if err != nil || without >= with {
		t.Errorf("TotalPSS without this process = %d, %v, with it %d", without, err, with)
	}
	for before, _ := CPU(pid); ; {
		now, err := CPU(pid)
		if err != nil {
			t.Fatal(err)
		}
		if now-before >= 20*time.Millisecond {
			break
		}
	}
}

func TestAProcessThatIsNotThere(t *testing.T) {
	if _, err := RSS(1 << 30); err == nil {
		t.Error("RSS of no process gives no error")
	}
	if _, err := CPU(1 << 30); err == nil {
		t.Error("CPU of no process gives no error")
	}
}

func TestThePeakIsForgotten(t *testing.T) {
	if err := ForgetPeak(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	before, err := PeakRSS(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<20)
	for i := range block {
		block[i] = 1
	}
	after, err := PeakRSS(os.Getpid())
	runtime.KeepAlive(block)
	if err != nil || after-before < 32<<20 {
		t.Errorf("the peak went from %d to %d, %v; want 64 MiB more", before, after, err)
	}
}
