package lbpb

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// sound holds a message against what FromConfig promises.
func sound(t *testing.T, m *fiberlbv1.LoadBalancerConfig) (accepted bool) {
	t.Helper()
	before := proto.Clone(m)
	l, violations := FromConfig(m)
	if !proto.Equal(m, before) {
		t.Fatal("the message was changed")
	}
	if (l == nil) == (len(violations) == 0) {
		t.Fatalf("not exactly one result is nil: %v", violations)
	}
	for _, v := range violations {
		if v.Problem == "" || strings.Contains(v.String(), "PRIVATE KEY-----") {
			t.Fatalf("violation %q", v)
		}
	}
	if l == nil {
		return false
	}
	again, violations := lb.Normalize(l)
	if len(violations) > 0 || !reflect.DeepEqual(again, l) {
		t.Fatalf("a normal form is not its own: %v %v", violations, lb.Diff(l, again))
	}
	back, violations := FromConfig(ToConfig(l), KeysMayBeStored())
	if len(violations) > 0 || back.Etag() != l.Etag() || len(lb.Diff(l, back)) > 0 {
		t.Fatalf("does not come back from its own message: %v %v", violations, lb.Diff(l, back))
	}
	head := StoredHead(l)
	var children []*storev1.Child
	for _, c := range StoredChildren(l) {
		head.Children = append(head.Children, &storev1.ChildRef{Kind: c.Kind, Name: c.Name})
		children = append(children, c.Child())
	}
	if restored, err := FromStored(head, children); err != nil || restored.Etag() != l.Etag() {
		t.Fatalf("does not come back from the store: %v", err)
	}
	return true
}

// mutate changes one random place in a message.
func mutate(random *rand.Rand, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	field := fields.Get(random.IntN(fields.Len()))
	switch {
	case field.IsMap():
		key := text(random)
		m.Mutable(field).Map().Set(protoreflect.ValueOfString(key).MapKey(), protoreflect.ValueOfString(text(random)))
	case field.IsList():
		list := m.Mutable(field).List()
		switch n := list.Len(); {
		case n == 0 || random.IntN(8) == 0:
			if field.Message() != nil {
				mutate(random, list.AppendMutable().Message())
			} else {
				list.Append(scalar(random, field))
			}
		case random.IntN(8) == 0:
			list.Truncate(n - 1)
		case field.Message() != nil && random.IntN(8) == 0:
			list.Append(protoreflect.ValueOfMessage(proto.Clone(list.Get(random.IntN(n)).Message().Interface()).ProtoReflect()))
		case field.Message() != nil:
			mutate(random, list.Get(random.IntN(n)).Message())
		default:
			list.Set(random.IntN(n), scalar(random, field))
		}
	case random.IntN(8) == 0:
		m.Clear(field)
	case field.Message() != nil:
		mutate(random, m.Mutable(field).Message())
	default:
		m.Set(field, scalar(random, field))
	}
}

func text(random *rand.Rand) string {
	texts := []string{
		"", "a", "A", "web", "front", "plain", "app", "rows", "main", "other", "clients", "b1", "b3", "10.0.0.11", "2001:db8::1", "::ffff:10.0.0.1", "0.0.0.0",
		"10.0.0.0/8", "/", "/x", "https://#{host}/", "h2", "http/1.1", "GET", "200-299", "(", "a+", "true", "7", "\x00", "a\r\nb", "x-y", "x y", "é", "CN",
		strings.Repeat("a", 64), strings.Repeat("a", 256), "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "SERVERID", "text/html", "example.com:80",
		pemTexts()["MAIN"], pemTexts()["MAINKEY"], pemTexts()["CA"], pemTexts()["CUT"],
	}
	return texts[random.IntN(len(texts))]
}

func scalar(random *rand.Rand, field protoreflect.FieldDescriptor) protoreflect.Value {
	numbers := []int64{0, 1, 2, 3, 4, 5, 6, 7, 10, 53, 80, 200, 204, 302, 403, 443, 500, 65535, 65536, 99999, math.MaxInt32, -1, 1_000_000_000}
	n := numbers[random.IntN(len(numbers))]
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n%2 == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	default:
		return protoreflect.ValueOfString(text(random))
	}
}

// TestRandomMessages mutates base a little, with fixed seeds.
func TestRandomMessages(t *testing.T) {
	t.Parallel()
	original := parse(t, base)
	accepted := 0
	const rounds = 600
	for seed := range uint64(rounds) {
		random := rand.New(rand.NewPCG(seed, 7))
		m := proto.Clone(original).(*fiberlbv1.LoadBalancerConfig)
		for range 1 + random.IntN(4) {
			mutate(random, m.ProtoReflect())
		}
		if sound(t, m) {
			accepted++
		}
	}
	if accepted < rounds/10 || accepted > rounds*9/10 {
		t.Errorf("%d of %d accepted: the messages are too wild or too tame to test anything", accepted, rounds)
	}
}

func FuzzFromConfig(f *testing.F) {
	original := parse(f, base)
	bytes, err := proto.Marshal(original)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes, uint64(1), uint8(0))
	f.Add([]byte{}, uint64(2), uint8(9))
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64, changes uint8) {
		m := &fiberlbv1.LoadBalancerConfig{}
		if proto.Unmarshal(raw, m) != nil {
			return
		}
		random := rand.New(rand.NewPCG(seed, 7))
		for range changes % 16 {
			mutate(random, m.ProtoReflect())
		}
		sound(t, m)
	})
}
