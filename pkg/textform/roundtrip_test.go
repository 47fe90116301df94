package textform

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// words are texts that a careless writer of YAML or JSON gets wrong.
var words = []string{
	"", "web", "yes", "no", "null", "~", "true", "012", "1e3", "0x10", ".5", "1_000", "12:30:45", "10.0.0.1", "2001:db8::1", "500ms",
	"a: b", "a #b", "- a", "[a]", "{a}", "*a", "&a", "!a", "%a", "@a", "`a`", "'a'", `"a"`, `\`, "a,b", "<<", "---", "...", "? a", "| a",
	" a", "a ", "a  b", "\ta", "a\tb", "a\nb", "a\nb\n", "\na", "a\n\n", "a\n b\n", "a\n\nb\n", "a\r\nb", "a\rb", "---\n...\n", "#a\n#b",
	"\u0000", "\u0085", "\u2028", "\ufeff", "日本語", "日本\n語\n", "é", "😀", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
	"=", "-", "--", "2026-01-02", "2026-01-02T03:04:05Z", "/healthz", "200,202,204-206", "k=v", "a:", ":a", "NaN", "Infinity", "a\\nb",
}

// fill sets about a third of all fields of m, at random.
func fill(r *rand.Rand, m protoreflect.Message, depth int) {
	switch m.Descriptor().FullName() {
	case "google.protobuf.Duration":
		choices := []int64{0, 1, 59, 60, 3600, 86400, maxDurationSeconds, -1, -maxDurationSeconds, 9223372036, 9223372037}
		seconds, nanos := choices[r.IntN(len(choices))], int32(0)
		if r.IntN(2) == 0 {
			nanos = int32([]int64{1, 500, 1_000_000, 500_000_000, 999_999_999}[r.IntN(5)])
		}
		if seconds < 0 {
			nanos = -nanos
		}
		setParts(m, seconds, nanos)
		return
	case "google.protobuf.Timestamp":
		choices := []int64{0, 1_790_000_000, minTimestampSeconds, maxTimestampSeconds}
		setParts(m, choices[r.IntN(4)], int32([]int64{0, 1, 123_456_000}[r.IntN(3)]))
		return
	case "google.protobuf.FieldMask":
		list := m.Mutable(m.Descriptor().Fields().ByNumber(1)).List()
		for range r.IntN(3) {
			list.Append(protoreflect.ValueOfString([]string{"name", "tls_config.min_version", "labels"}[r.IntN(3)]))
		}
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if r.IntN(3) > 0 || depth == 0 && fd.Message() != nil {
			continue
		}
		switch {
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range r.IntN(4) {
				list.Append(randomValue(r, fd, list.NewElement(), depth))
			}
		case fd.IsMap():
			entries := m.Mutable(fd).Map()
			for range r.IntN(4) {
				entries.Set(protoreflect.ValueOfString(words[r.IntN(len(words))]).MapKey(), randomValue(r, fd.MapValue(), entries.NewValue(), depth))
			}
		default:
			m.Set(fd, randomValue(r, fd, m.NewField(fd), depth))
		}
	}
}

func randomValue(r *rand.Rand, fd protoreflect.FieldDescriptor, fresh protoreflect.Value, depth int) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		fill(r, fresh.Message(), depth-1)
		return fresh
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(r.IntN(values.Len())).Number())
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.IntN(2) == 0)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(words[r.IntN(len(words))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(words[r.IntN(len(words))]))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32([]uint32{0, 1, 65535, math.MaxUint32}[r.IntN(4)])
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64([]int64{0, -1, math.MaxInt64, math.MinInt64, 1<<53 + 1}[r.IntN(5)])
	}
	panic("no random value of kind " + fd.Kind().String())
}

// Whatever a message holds, each of the text forms and protojson's read back as the same message.
func TestRoundTripOfRandomMessages(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		for _, m := range []proto.Message{
			&fiberlbv1.LoadBalancerConfig{}, &fiberlbv1.Node{}, &fiberlbv1.UpdateListenerRequest{}, &fiberlbv1.ApplyResponse{}, &fiberlbv1.Certificate{},
		} {
			fill(r, m.ProtoReflect(), 4)
			for form, text := range texts(t, m) {
				got := m.ProtoReflect().New().Interface()
				var err error
				if form == "yaml" {
					err = UnmarshalYAML(text, got)
				} else {
					err = UnmarshalJSON(text, got)
				}
				if err != nil {
					t.Fatalf("%s: %v\n%s", form, err, text)
				}
				if !proto.Equal(m, got) {
					t.Fatalf("%s: read back differently\nwant %v\ngot  %v\n%s", form, m, got, text)
				}
			}
		}
	}
}

// texts are m in all forms that must read back.
func texts(t *testing.T, m proto.Message) map[string][]byte {
	t.Helper()
	forms := map[string][]byte{}
	var err error
	put := func(name string, b []byte, failed error) {
		forms[name] = b
		if failed != nil {
			err = failed
		}
	}
	b, failed := MarshalJSON(m, Options{})
	put("json", b, failed)
	b, failed = MarshalJSON(m, Options{Indent: "  "})
	put("indented json", b, failed)
	b, failed = MarshalJSON(m, Options{EmitDefaults: true})
	put("json with defaults", b, failed)
	b, failed = MarshalYAML(m)
	put("yaml", b, failed)
	b, failed = protojson.Marshal(m)
	put("protojson", b, failed)
	b, failed = protojson.MarshalOptions{UseProtoNames: true, UseEnumNumbers: true}.Marshal(m)
	put("protojson with numbers", b, failed)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range forms {
		if name != "yaml" && !json.Valid(b) {
			t.Fatalf("%s is not JSON: %s", name, b)
		}
	}
	return forms
}

// An error's details travel as google.protobuf.Any.
func TestRoundTripOfAny(t *testing.T) {
	t.Parallel()
	badRequest, err := anypb.New(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "listeners[0].port", Description: "99999 is not in 1-65535"}}})
	if err != nil {
		t.Fatal(err)
	}
	wait, err := anypb.New(durationpb.New(1_500_000_000))
	if err != nil {
		t.Fatal(err)
	}
	want := &statuspb.Status{Code: 3, Message: "no", Details: []*anypb.Any{badRequest, wait, {}}}
	text, err := MarshalJSON(want, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const golden = `{"code":3,"message":"no","details":[` +
		`{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":"listeners[0].port","description":"99999 is not in 1-65535"}]},` +
		`{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1.5s"},{}]}`
	if string(text) != golden {
		t.Errorf("got  %s\nwant %s", text, golden)
	}
	got := &statuspb.Status{}
	if err := UnmarshalJSON(text, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(want, got) {
		t.Errorf("read back %v", got)
	}
}

func FuzzUnmarshalJSON(f *testing.F) {
	for _, seed := range []string{`{"name":"web","listeners":[{"port":80,"protocol":"tcp"}]}`, `{"vips":["a",null]}`, `{"labels":{"a":"b","a":"c"}}`,
		`{"pools":[{"healthCheck":{"interval":"1.5s"},"slow_start":"9223372037s"}]}`, `{"created_at":"2026-01-02T03:04:05.5Z"}`, `[[[[`, `{"enabled":"true"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &fiberlbv1.LoadBalancerConfig{}
		if UnmarshalJSON(b, m) == nil {
			checkReadBack(t, m)
		}
	})
}

func FuzzUnmarshalYAML(f *testing.F) {
	for _, seed := range []string{"name: web\nvips: [10.0.0.1, \"::1\"]\nlisteners:\n- port: 80\n  protocol: tcp\n", "a: &a [*a]", "x: &x {name: a}\n<<: *x",
		"certificates:\n- certificate: |\n    -----BEGIN\n    x\n  type: sni\n", "? a\n: b", "- - - -", "!!str a: b", "description: >-\n  a\n  b\n\n  c\n", "\"a\": 'b'", "--- {a: b}\n...\n%YAML 1.2\n---\nc"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &fiberlbv1.LoadBalancerConfig{}
		if UnmarshalYAML(b, m) == nil {
			checkReadBack(t, m)
		}
	})
}

// FuzzText checks that any text survives as a value and as a key.
func FuzzText(f *testing.F) {
	for _, word := range words {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		m := &fiberlbv1.LoadBalancerConfig{Name: word, Labels: map[string]string{word: word}, Vips: []string{word, word}, Certificates: []*fiberlbv1.Certificate{{PrivateKey: word}}}
		if _, err := MarshalJSON(m, Options{}); err == nil {
			checkReadBack(t, m)
		}
	})
}

func checkReadBack(t *testing.T, m *fiberlbv1.LoadBalancerConfig) {
	t.Helper()
	for form, text := range texts(t, m) {
		got, unmarshal := &fiberlbv1.LoadBalancerConfig{}, UnmarshalJSON
		if form == "yaml" {
			unmarshal = UnmarshalYAML
		}
		if err := unmarshal(text, got); err != nil {
			t.Fatalf("%s: %v\n%s", form, err, text)
		}
		if !proto.Equal(m, got) {
			t.Fatalf("%s: read back differently\nwant %v\ngot  %v\n%s", form, m, got, text)
		}
	}
}
