package snapshot

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/maglev"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// spoiled gives a good resource of the kind of m, with the field changed.
func spoiled[M proto.Message](t *testing.T, good *Resource, m M, spoil func(M)) *Resource {
	t.Helper()
	if err := proto.Unmarshal(good.Content, m); err != nil {
		t.Fatal(err)
	}
	spoil(m)
	return encode(good.Kind, good.Name, m)
}

func wantRefusal(t *testing.T, r *Resource, want string) {
	t.Helper()
	if v, err := r.Decode(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("decoded to %v with error %v, want %q in it", v, err, want)
	}
}

func TestDecodeHealthCheckRefuses(t *testing.T) {
	t.Parallel()
	type message = *agentv1.HealthCheckResource
	for want, spoil := range map[string]func(message){
		"health check type is not set":                       func(m message) { m.Type = 0 },
		"health check type 7 is unknown to this data plane":  func(m message) { m.Type = 7 },
		"health check type -1 is unknown to this data plane": func(m message) { m.Type = -1 },
		"interval of 99 ms is not in 100ms-1h0m0s":           func(m message) { m.IntervalMs = 99 },
		"interval of 9223372036854775807 ms is not":          func(m message) { m.IntervalMs = 1<<63 - 1 },
		"timeout of 0 ms": func(m message) { m.TimeoutMs = 0 },
		"timeout 5s is not below the interval of 5s":                     func(m message) { m.TimeoutMs = 5000 },
		"healthy_threshold 0 is not in 1-10":                             func(m message) { m.HealthyThreshold = 0 },
		"unhealthy_threshold 256 is not in 1-10":                         func(m message) { m.UnhealthyThreshold = 256 },
		"http_method \"CONNECT\"":                                        func(m message) { m.HttpMethod = "CONNECT" },
		"http_method \"GET / HTTP":                                       func(m message) { m.HttpMethod = "GET / HTTP/1.1" },
		"http_path \"x\"":                                                func(m message) { m.HttpPath = "x" },
		"http_path \"/\\r\\n\"":                                          func(m message) { m.HttpPath = "/\r\n" },
		"http_host \"a b\"":                                              func(m message) { m.HttpHost = "a b" },
		"http_codes is empty":                                            func(m message) { m.HttpCodes = nil },
		"http_codes[1]: last 600 is not in 100-599":                      func(m message) { m.HttpCodes[1].Last = 600 },
		"http_codes[1]: range 200-206 is not in order":                   func(m message) { m.HttpCodes[1].First = 200 },
		"health check type 3 sends no request, but has one":              func(m message) { m.Type = 3 },
		"field 99 is unknown to this data plane (resource schema 1)":     func(m message) { m.ProtoReflect().SetUnknown([]byte{0x98, 6, 1}) },
		"field http_codes[0].7 is unknown to this data plane (resource ": func(m message) { m.HttpCodes[0].ProtoReflect().SetUnknown([]byte{7 << 3, 1}) },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			wantRefusal(t, spoiled(t, EncodeHealthCheck("x", testHealthCheck()), new(agentv1.HealthCheckResource), spoil), want)
		})
	}
}

func TestDecodePoolRefuses(t *testing.T) {
	t.Parallel()
	type message = *agentv1.PoolResource
	for want, spoil := range map[string]func(message){
		"algorithm 9 is unknown to this data plane (resource schema 1)": func(m message) { m.Algorithm = 9 },
		"algorithm 257 is unknown":                                      func(m message) { m.Algorithm = 257 },
		"pool protocol 7 is unknown":                                    func(m message) { m.Protocol = 7 },
		"persistence 4 is unknown":                                      func(m message) { m.Persistence = 4 },
		"health_check: name \"a b\" has white space":                    func(m message) { m.HealthCheck = "a b" },
		"slow_start of 900001 ms":                                       func(m message) { m.SlowStartMs = 900_001 },
		"deregistration_delay of -1 ms":                                 func(m message) { m.DeregistrationDelayMs = -1 },
		"fail_open_below 65536":                                         func(m message) { m.FailOpenBelow = 65536 },
		"hash_version 2 is unknown":                                     func(m message) { m.HashVersion = 2 },
		"table_size 65520 is not a prime":                               func(m message) { m.TableSize = 65520 },
		"table_size 0 is not in":                                        func(m message) { m.TableSize = 0 },
		"table_size 4294967291 is not in":                               func(m message) { m.TableSize = 4294967291 },
		"backends[1]: name \"b1\" is not in order after \"b1\"":         func(m message) { m.Backends[1].Name = "b1" },
		"backends[0]: name is empty":                                    func(m message) { m.Backends[0].Name = "" },
		"backends[2]: address \"fe80::1%eth0\" is no host's":            func(m message) { m.Backends[2].Address = "fe80::1%eth0" },
		"backends[2]: address \"::ffff:10.0.0.1\"":                      func(m message) { m.Backends[2].Address = "::ffff:10.0.0.1" },
		"backends[2]: address \"0.0.0.0\"":                              func(m message) { m.Backends[2].Address = "0.0.0.0" },
		"backends[2]: port 65536 is not in 1-65535":                     func(m message) { m.Backends[2].Port = 65536 },
		"backends[2]: weight 257 is not in 0-256":                       func(m message) { m.Backends[2].Weight = 257 },
		"backends[1]: monitor_address \"x\"":                            func(m message) { m.Backends[1].MonitorAddress = "x" },
		"backends[1]: monitor_port 99999":                               func(m message) { m.Backends[1].MonitorPort = 99999 },
		"field backends[1].20 is unknown":                               func(m message) { m.Backends[1].ProtoReflect().SetUnknown([]byte{0xa0, 1, 1}) },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			wantRefusal(t, spoiled(t, EncodePool("x", testPool()), new(agentv1.PoolResource), spoil), want)
		})
	}
}

func TestDecodeListenerRefuses(t *testing.T) {
	t.Parallel()
	type message = *agentv1.ListenerResource
	for want, spoil := range map[string]func(message){
		"port 0 is not in 1-65535":                      func(m message) { m.Port = 0 },
		"listener protocol 7 is unknown":                func(m message) { m.Protocol = 7 },
		"default_pool: name":                            func(m message) { m.DefaultPool = "\x00" },
		"connection_limit 10000001":                     func(m message) { m.ConnectionLimit = 10_000_001 },
		"connect_timeout of 0 ms is not in 1ms-24h0m0s": func(m message) { m.ConnectTimeoutMs = 0 },
		"tcp_idle_timeout of 86400001 ms":               func(m message) { m.TcpIdleTimeoutMs = 86_400_001 },
		"vips is empty":                                 func(m message) { m.Vips = nil },
		"vips[1]: address 203.0.113.10 is there twice":  func(m message) { m.Vips[1] = m.Vips[0] },
		"vips[0]: address \"nowhere\" is no host's":     func(m message) { m.Vips[0] = "nowhere" },
		"allowed_cidrs[0]: \"10.0.0.1/8\"":              func(m message) { m.AllowedCidrs[0] = "10.0.0.1/8" },
		"allowed_cidrs[1]: \"\"":                        func(m message) { m.AllowedCidrs[1] = "" },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			wantRefusal(t, spoiled(t, EncodeListener("x", testListener()), new(agentv1.ListenerResource), spoil), want)
		})
	}
}

func TestDecodeBoundsMemory(t *testing.T) {
	t.Parallel()
	wantRefusal(t, &Resource{Ref: Ref{KindPool, "x"}, Content: bytes.Repeat([]byte{7<<3 | 2, 0}, 2*maglev.MaxBackends+1)}, "content has more than 131070 fields")
	wantRefusal(t, &Resource{Ref: Ref{KindPool, "x"}, Content: make([]byte, maxContentBytes+1)}, "content of 16777217 bytes")
	wantRefusal(t, &Resource{Ref: Ref{KindPool, "x"}, Content: []byte{0xff}}, "content is not a resource")
	wantRefusal(t, &Resource{Ref: Ref{KindCertificate, "x"}}, "resource kind 4 is unknown")
}

// Whatever decodes has every field in its range, so that it decodes from its own encoding, to the same.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(KindHealthCheck), EncodeHealthCheck("x", testHealthCheck()).Content)
	f.Add(uint8(KindPool), EncodePool("x", testPool()).Content)
	f.Add(uint8(KindListener), EncodeListener("x", testListener()).Content)
	f.Fuzz(func(t *testing.T, kind uint8, content []byte) {
		v, err := (&Resource{Ref: Ref{Kind(kind), "x"}, Content: content}).Decode()
		if err != nil {
			return
		}
		var again *Resource
		switch v := v.(type) {
		case *HealthCheck:
			again = EncodeHealthCheck("x", v)
		case *Pool:
			again = EncodePool("x", v)
		case *Listener:
			again = EncodeListener("x", v)
		}
		w, err := again.Decode()
		if err != nil {
			t.Fatalf("%+v does not decode once encoded: %v", v, err)
		}
		if !reflect.DeepEqual(v, w) {
			t.Fatalf("%+v became %+v", v, w)
		}
	})
}

func FuzzDeltaFromProto(f *testing.F) {
	seed, err := proto.Marshal((&Delta{Upserts: []*Resource{numbered(1, 1)}, Removals: []Ref{numbered(2, 1).Ref}}).Proto())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := new(agentv1.Delta)
		if proto.Unmarshal(wire, m) != nil {
			return
		}
		d, err := DeltaFromProto(m)
		if err != nil {
			return
		}
		if again, err := DeltaFromProto(d.Proto()); err != nil || again.Version != d.Version || len(again.Upserts) != len(d.Upserts) {
			t.Fatalf("a delta that was read cannot be told again: %v", err)
		}
		set := NewSet(d.Upserts).With(nil, d.Removals)
		d.Version.Digest, d.Full = set.Digest(), false
		if _, err := d.Apply(nil); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzUnmarshalFile(f *testing.F) {
	seed, err := MarshalFile(&File{Set: NewSet(nil)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		// A checksum is no protection from who can compute it.
		if len(b) >= headerBytes {
			sum := fileSum(b)
			copy(b[sumOffset:], sum[:])
		}
		file, err := UnmarshalFile(b)
		if err != nil {
			return
		}
		if _, err := MarshalFile(file); err != nil {
			t.Fatal(err)
		}
	})
}
