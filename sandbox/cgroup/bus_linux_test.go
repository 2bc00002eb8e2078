package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow own="*"/><allow receive_sender="*"/></policy></busconfig>`

// startBus starts a bus of its own and gives its address.
func startBus(t *testing.T) string {
	t.Helper()
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	dir, err := os.MkdirTemp("", "bus") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, filepath.Join(dir, "s")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(daemon, "--nofork", "--print-address", "--config-file="+config)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("dbus-daemon: ", err)
	}
	return strings.TrimSpace(line)
}

// manager1 answers as org.freedesktop.systemd1.Manager does.
type manager1 struct {
	conn *dbus.Conn

	mu     sync.Mutex
	units  map[string][]property1
	job    int
	result string // of jobs
}

type property1 struct {
	Name  string
	Value dbus.Variant
}

const managerName = "org.freedesktop.systemd1.Manager"

func (m *manager1) finish(unit string) dbus.ObjectPath {
	m.job++
	job := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/systemd1/job/%d", m.job))
	id, result := uint32(m.job), m.result
	time.AfterFunc(5*time.Millisecond, func() {
		m.conn.Emit("/org/freedesktop/systemd1", managerName+".JobRemoved", id, job, unit, result)
	})
	return job
}

func (m *manager1) StartTransientUnit(name, _ string, props []property1, _ []struct {
	Name  string
	Props []property1
}) (dbus.ObjectPath, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.units[name] != nil {
		return "", dbus.NewError("org.freedesktop.systemd1.UnitExists", []any{"Unit " + name + " already exists."})
	}
	m.units[name] = props
	return m.finish(name), nil
}

func (m *manager1) StopUnit(name, _ string) (dbus.ObjectPath, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.units[name] == nil {
		return "", dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit " + name + " not loaded."})
	}
	delete(m.units, name)
	return m.finish(name), nil
}

func (m *manager1) ResetFailedUnit(name string) *dbus.Error {
	return dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit " + name + " not loaded."})
}

func (m *manager1) SetUnitProperties(name string, _ bool, props []property1) *dbus.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.units[name] = append(m.units[name], props...)
	return nil
}

// Get answers as org.freedesktop.DBus.Properties of a unit does.
func (m *manager1) Get(_, name string) (dbus.Variant, *dbus.Error) {
	return dbus.MakeVariant(name + " oom-kill"), nil
}

func connectTo(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// serveManager puts a manager on the bus.
func serveManager(t *testing.T, address string) *manager1 {
	t.Helper()
	m := &manager1{conn: connectTo(t, address), units: map[string][]property1{}, result: "done"}
	t.Cleanup(func() { m.conn.Close() })
	unit := dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + systemd.PathBusEscape("a.scope"))
	if err := errors.Join(
		m.conn.Export(m, "/org/freedesktop/systemd1", managerName),
		m.conn.Export(m, unit, "org.freedesktop.DBus.Properties"),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := m.conn.RequestName("org.freedesktop.systemd1", 0); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSystemdBus(t *testing.T) {
	address := startBus(t)
	m := serveManager(t, address)
	var conns []*dbus.Conn
	b, err := newSystemdBus(func(context.Context) (*systemd.Conn, error) {
		return systemd.NewConnection(func() (*dbus.Conn, error) {
			c, err := dbus.Connect(address)
			conns = append(conns, c)
			return c, err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	props := []systemd.Property{systemd.PropSlice("x.slice"), property("PIDs", []uint32{7}), property("Delegate", true)}
	if err := b.start(ctx, "a.scope", props); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	started := fmt.Sprint(m.units["a.scope"])
	m.mu.Unlock()
	if got := started; !strings.Contains(got, "x.slice") || !strings.Contains(got, "Delegate") {
		t.Errorf("got properties %s", got)
	}
	if err := b.start(ctx, "a.scope", props); !errors.Is(err, errUnitExists) {
		t.Errorf("start again: got %v, want that it exists", err)
	}
	if err := b.set(ctx, "a.scope", []systemd.Property{property("TasksMax", uint64(5))}); err != nil {
		t.Error(err)
	}
	if got, err := b.result(ctx, "a.scope"); got != "Result oom-kill" || err != nil {
		t.Errorf("got result %q, %v", got, err)
	}
	for _, c := range conns { // as when the bus is started anew
		c.Close()
	}
	if err := b.stop(ctx, "a.scope"); err != nil {
		t.Errorf("stop over a lost connection: %v", err)
	}
	if err := b.stop(ctx, "a.scope"); !errors.Is(err, errNoUnit) {
		t.Errorf("stop again: got %v, want no unit", err)
	}
	m.mu.Lock()
	m.result = "failed"
	m.mu.Unlock()
	if err := b.start(ctx, "b.scope", props); err == nil || !strings.Contains(err.Error(), "job failed") {
		t.Errorf("failing job: got %v", err)
	}
}

func TestNoSystemdIsSaid(t *testing.T) {
	_, err := newSystemdBus(func(context.Context) (*systemd.Conn, error) { return nil, errors.New("no socket") })
	if err == nil || !strings.Contains(err.Error(), "cgroupfs") {
		t.Errorf("got %v, want an error with the remedy", err)
	}
}
