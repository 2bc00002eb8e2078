package sandbox

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestParseListen(t *testing.T) {
	for _, c := range []struct {
		value string
		want  []ListenSocket
	}{
		{"tcp://:8080", []ListenSocket{{Network: "tcp", Port: 8080, Backlog: 4096, Name: "tcp-8080"}}},
		{"tcp://[::1]:80 name=web backlog=7,\n udp://10.0.0.1:53\n", []ListenSocket{
			{Network: "tcp", Addr: netip.IPv6Loopback(), Port: 80, Backlog: 7, Name: "web"},
			{Network: "udp", Addr: netip.MustParseAddr("10.0.0.1"), Port: 53, Name: "udp-53"},
		}},
		{"unix:///run/a.sock mode=0660", []ListenSocket{{Network: "unix", Path: "/run/a.sock", Mode: 0o660, Backlog: 4096, Name: "unix"}}},
	} {
		got, err := parseListen(c.value)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, %v, want %+v", c.value, got, err, c.want)
		}
	}
}

// A container that is created before a restart of the server and started after
// it has its sockets from its record.
func TestListenersSurviveTheirRecord(t *testing.T) {
	want, err := parseListen("tcp://:8080 name=web, tcp://[::1]:80, udp://10.0.0.1:53, unix:///run/a.sock mode=0660 backlog=3")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(containerRecord{Listen: want})
	if err != nil {
		t.Fatal(err)
	}
	var got containerRecord
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got.Listen, want) {
		t.Errorf("got %+v, %v, want %+v", got.Listen, err, want)
	}
}

func TestParseListenSaysWhatIsWrong(t *testing.T) {
	for value, want := range map[string]string{
		"":                               "names no socket",
		" , \n":                          "names no socket",
		"8080":                           "want tcp://HOST:PORT",
		"http://:80":                     "want tcp://HOST:PORT",
		"tcp://":                         "no port",
		"tcp://:0":                       "no port",
		"tcp://:65536":                   "no port",
		"tcp://localhost:80":             "must be an IP address",
		"tcp://::1:80":                   "in brackets",
		"tcp://[fe80::1%eth0]:80":        "must be an IP address",
		"unix://run/a.sock":              "no clean absolute path",
		"unix:///run/../a.sock":          "no clean absolute path",
		"unix:///":                       "no clean absolute path",
		"tcp://:80 mode=0660":            `option "mode=0660"`,
		"udp://:80 backlog=1":            `option "backlog=1"`,
		"tcp://:80 backlog=0":            "backlog=0",
		"tcp://:80 name=":                "name=",
		"tcp://:80 name=a:b":             "name=a:b",
		"unix:///a mode=9":               "mode=9",
		"unix:///a mode=1777":            "mode=1777",
		strings.Repeat("tcp://:80,", 33): "more than 32",
	} {
		got, err := parseListen(value)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want an error with %q", value, got, err, want)
		}
	}
}

func TestTheContainersOwnAnnotationOverrulesThePods(t *testing.T) {
	pod := &PodConfig{Annotations: map[string]string{
		"trace.cri-wasmer.dev/a": "on", "trace.cri-wasmer.dev/b": "off", "listen.cri-wasmer.dev/b": "tcp://:1", "unrelated.example/a": "x",
	}}
	for _, c := range []struct {
		name string
		own  map[string]string
		want Features
	}{
		{"a", nil, Features{Trace: TraceOn}},
		{"a", map[string]string{"trace.cri-wasmer.dev/a": "off"}, Features{Trace: TraceOff}},
		{"b", nil, Features{Trace: TraceOff, Listen: []ListenSocket{{Network: "tcp", Port: 1, Backlog: 4096, Name: "tcp-1"}}}},
		{"c", nil, Features{}},
	} {
		got, err := featuresFor(&ContainerConfig{Name: c.name, Annotations: c.own}, pod)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s with %v: got %+v, %v, want %+v", c.name, c.own, got, err, c.want)
		}
	}
}

func TestForeignAnnotationsAreLeftAlone(t *testing.T) {
	err := checkAnnotations(map[string]string{
		"": "", "/": "", "a/b/c": "", "notcri-wasmer.dev/x": "", "trace.cri-wasmer.dev.example/x": "", "cri-wasmer": "x",
	})
	if err != nil {
		t.Error(err)
	}
}

func FuzzAnnotations(f *testing.F) {
	f.Add("listen.cri-wasmer.dev/a", "tcp://[::1]:80 name=web backlog=7, unix:///run/a.sock mode=0660")
	f.Add("trace.cri-wasmer.dev/a", "on")
	f.Fuzz(func(t *testing.T, key, value string) {
		err := checkAnnotations(map[string]string{key: value})
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v is of no kind", err)
		}
		list, err := parseListen(value)
		if err != nil {
			return
		}
		for _, s := range list { // what was understood can be said again
			again, err := parseListen(s.String() + " name=" + s.Name)
			if err != nil || again[0].Addr != s.Addr || again[0].Port != s.Port || again[0].Path != s.Path {
				t.Errorf("%v: got %v, %v", s, again, err)
			}
		}
	})
}
