package procstat

import (
	"os"
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
