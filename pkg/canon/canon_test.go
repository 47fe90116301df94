package canon

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// The bytes below are written by hand from the encoding's specification
// (https://protobuf.dev/programming-guides/encoding/). They must never change: hashes of them lie in etcd and on nodes.
func TestGoldenBytes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	tests := []struct {
		name string
		m    proto.Message
		want string // hex, white space ignored
	}{
		{"nil", nil, ""},
		{"empty", &storev1.Head{}, ""},
		{"scalars by number", &storev1.Meta{Uid: "ab", CreatedUs: 1, UpdatedUs: 300}, "0a 02 6162 10 01 18 ac02"},
		{"negative int64", &storev1.Meta{CreatedUs: -1}, "10 ffffffffffffffffff01"},
		{"enum, bytes, list of messages", &storev1.Head{SchemaVersion: 1, Children: []*storev1.ChildRef{{Kind: storev1.ChildKind_CHILD_KIND_POOL, Name: "p", Hash: []byte{7}}, {}}},
			"08 01 22 08 08 02 12 01 70 1a 01 07 22 00"},
		{"map by key", &storev1.NodeConfig{Labels: map[string]string{"b": "", "a": "1", "": "z"}, Drain: true},
			"12 05 0a 00 12 01 7a 12 06 0a 01 61 12 01 31 12 05 0a 01 62 12 00 18 01"},
		{"oneof set to its default", &storev1.Child{Object: &storev1.Child_Backends{Backends: &storev1.BackendsChild{}}}, "22 00"},
		{"length of two bytes", &storev1.Meta{Uid: long}, "0a c801 " + hex.EncodeToString([]byte(long))},
		{"nested length of two bytes", &storev1.Head{Meta: &storev1.Meta{Uid: long}}, "1a cb01 0a c801 " + hex.EncodeToString([]byte(long))},
		{"double", wrapperspb.Double(1), "09 000000000000f03f"},
		{"negative zero is not the default", wrapperspb.Double(math.Copysign(0, -1)), "09 0000000000000080"},
		{"faulty UTF-8", &storev1.Meta{Uid: "a\xffb"}, "0a 05 61efbfbd62"},
		{"packed though declared unpacked", &descriptorpb.FileDescriptorProto{PublicDependency: []int32{1, 300}}, "52 03 01 ac02"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want, err := hex.DecodeString(strings.Join(strings.Fields(test.want), ""))
			if err != nil {
				t.Fatal(err)
			}
			if got := Marshal(test.m); !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}

// everyKind is a schema with all kinds of fields, singular, repeated and as map keys, a group, and numbers out of order.
func everyKind(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("every.proto"), Package: proto.String("every"), Syntax: proto.String("editions"), Edition: descriptorpb.Edition_EDITION_2023.Enum()}
	message := &descriptorpb.DescriptorProto{Name: proto.String("Every")}
	enum := &descriptorpb.EnumDescriptorProto{Name: proto.String("Enum"), Value: []*descriptorpb.EnumValueDescriptorProto{
		{Name: proto.String("ZERO"), Number: proto.Int32(0)}, {Name: proto.String("MINUS"), Number: proto.Int32(-2)}}}
	number := int32(200)
	add := func(name string, kind descriptorpb.FieldDescriptorProto_Type, label descriptorpb.FieldDescriptorProto_Label, typeName string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: proto.String(name), Number: proto.Int32(number), Type: kind.Enum(), Label: label.Enum()}
		if kind == descriptorpb.FieldDescriptorProto_TYPE_GROUP {
			f.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
			f.Options = &descriptorpb.FieldOptions{Features: &descriptorpb.FeatureSet{MessageEncoding: descriptorpb.FeatureSet_DELIMITED.Enum()}}
		}
		if typeName != "" {
			f.TypeName = proto.String(typeName)
		}
		number-- // declared against the order of their numbers
		return f
	}
	const one, many = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	typeNames := map[descriptorpb.FieldDescriptorProto_Type]string{
		descriptorpb.FieldDescriptorProto_TYPE_ENUM: ".every.Enum", descriptorpb.FieldDescriptorProto_TYPE_MESSAGE: ".every.Every", descriptorpb.FieldDescriptorProto_TYPE_GROUP: ".every.Every.G",
	}
	for value := range int32(18) {
		kind := descriptorpb.FieldDescriptorProto_Type(value + 1)
		word := strings.ToLower(strings.TrimPrefix(kind.String(), "TYPE_"))
		if kind == descriptorpb.FieldDescriptorProto_TYPE_GROUP {
			word = "g"
			message.Field = append(message.Field, add(word, kind, one, typeNames[kind]))
			continue
		}
		message.Field = append(message.Field, add("one_"+word, kind, one, typeNames[kind]), add("many_"+word, kind, many, typeNames[kind]))
		switch kind {
		case descriptorpb.FieldDescriptorProto_TYPE_FLOAT, descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, descriptorpb.FieldDescriptorProto_TYPE_BYTES,
			descriptorpb.FieldDescriptorProto_TYPE_ENUM, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE:
			continue
		}
		entry := "Map" + strings.ToUpper(word[:1]) + word[1:] + "Entry"
		message.Field = append(message.Field, add("map_"+word, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, many, ".every.Every."+entry))
		message.NestedType = append(message.NestedType, &descriptorpb.DescriptorProto{Name: proto.String(entry), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
			Field: []*descriptorpb.FieldDescriptorProto{
				{Name: proto.String("key"), Number: proto.Int32(1), Type: kind.Enum(), Label: one.Enum()},
				{Name: proto.String("value"), Number: proto.Int32(2), Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: one.Enum(), TypeName: proto.String(".every.Every")},
			}})
	}
	message.NestedType = append(message.NestedType, &descriptorpb.DescriptorProto{Name: proto.String("G"), Field: []*descriptorpb.FieldDescriptorProto{
		{Name: proto.String("a"), Number: proto.Int32(1), Type: descriptorpb.FieldDescriptorProto_TYPE_INT32.Enum(), Label: one.Enum()}}})
	file.MessageType, file.EnumType = []*descriptorpb.DescriptorProto{message}, []*descriptorpb.EnumDescriptorProto{enum}
	built, err := protodesc.NewFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return built.Messages().Get(0)
}

// fill sets random fields of m.
func fill(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		desc := fields.Get(i)
		if r.IntN(3) > 0 || (depth == 0 && holdsMessages(desc)) {
			continue
		}
		switch {
		case desc.IsMap():
			entries := m.Mutable(desc).Map()
			for range r.IntN(4) {
				value := entries.NewValue()
				fill(r, value.Message(), 0)
				entries.Set(scalar(r, desc.MapKey()).MapKey(), value)
			}
		case desc.IsList() && desc.Message() != nil:
			for range r.IntN(3) {
				fill(r, m.Mutable(desc).List().AppendMutable().Message(), depth-1)
			}
		case desc.IsList():
			for range r.IntN(5) {
				m.Mutable(desc).List().Append(scalar(r, desc))
			}
		case desc.Message() != nil:
			fill(r, m.Mutable(desc).Message(), depth-1)
		default:
			m.Set(desc, scalar(r, desc))
		}
	}
	if r.IntN(8) == 0 {
		m.SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 5))
	}
}

func scalar(r *rand.Rand, desc protoreflect.FieldDescriptor) protoreflect.Value {
	bits := r.Uint64() >> r.IntN(64)
	switch desc.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(bits&1 == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(desc.Enum().Values().Get(int(bits & 1)).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(bits))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(bits))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(bits))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(bits)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(math.Float32frombits(uint32(bits)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(math.Float64frombits(bits))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.Repeat("ä", int(bits%200)))
	default:
		return protoreflect.ValueOfBytes(bytes.Repeat([]byte{byte(bits)}, int(bits%20)))
	}
}

// TestEveryKindAgainstProto compares with protobuf's own codec over random messages of every kind of field.
func TestEveryKindAgainstProto(t *testing.T) {
	t.Parallel()
	desc := everyKind(t)
	r := rand.New(rand.NewPCG(7, 11))
	for range 2000 {
		m := dynamicpb.NewMessage(desc)
		fill(r, m, 2)
		checkRoundTrip(t, m)
	}
}

func checkRoundTrip(t *testing.T, m proto.Message) {
	t.Helper()
	first := Marshal(m)
	back := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(first, back); err != nil {
		t.Fatalf("%x does not decode: %v", first, err)
	}
	if !proto.Equal(m, back) {
		t.Fatalf("%x decodes to %v, want %v", first, back, m)
	}
	if again := Marshal(back); !bytes.Equal(first, again) {
		t.Fatalf("encoded once %x, twice %x", first, again)
	}
	// What another encoder wrote, in whatever order, leads to the same bytes.
	other, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	back = m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(other, back); err != nil {
		t.Fatal(err)
	}
	if again := Marshal(back); !bytes.Equal(first, again) {
		t.Fatalf("by way of proto.Marshal %x, directly %x", again, first)
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	if got := Append([]byte("head"), durationpb.New(1e9)); string(got) != "head\x08\x01" {
		t.Errorf("got %q", got)
	}
}

func TestHasUnknown(t *testing.T) {
	t.Parallel()
	odd := protowire.AppendVarint(protowire.AppendTag(nil, 17, protowire.VarintType), 1)
	mark := func(m proto.Message) { m.ProtoReflect().SetUnknown(odd) }
	meta, own, entry := &storev1.Meta{}, &storev1.Head{Meta: &storev1.Meta{Uid: "x"}}, structpb.NewNullValue()
	mark(meta)
	mark(own)
	mark(entry)
	tests := []struct {
		name, want string
		m          proto.Message
	}{
		{"nil", "", nil},
		{"none", "", &storev1.Head{Meta: &storev1.Meta{Uid: "x"}, Children: []*storev1.ChildRef{{}}}},
		{"own", "17", own},
		{"nested", "meta.17", &storev1.Head{Meta: meta}},
		{"in a list", "backends[1].meta.17", &storev1.BackendsChild{Backends: []*storev1.BackendEntry{{}, {Meta: meta}}}},
		{"in a oneof", "listener.meta.17", &storev1.Child{Object: &storev1.Child_Listener{Listener: &storev1.ListenerChild{Meta: meta}}}},
		{"in a map", `fields["b"].17`, &structpb.Struct{Fields: map[string]*structpb.Value{"c": entry, "b": entry, "a": structpb.NewBoolValue(true)}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if path, ok := HasUnknown(test.m); path != test.want || ok != (test.want != "") {
				t.Errorf("got %q, %t; want %q", path, ok, test.want)
			}
		})
	}
}

func FuzzMarshal(f *testing.F) {
	desc := everyKind(f)
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		m := dynamicpb.NewMessage(desc)
		fill(r, m, 0)
		f.Add(Marshal(m), false)
	}
	f.Add(Marshal(&storev1.Head{SchemaVersion: 1, Meta: &storev1.Meta{Uid: "u"}, Requests: []*storev1.RequestRecord{{Id: "r"}}}), true)
	f.Fuzz(func(t *testing.T, data []byte, head bool) {
		var m proto.Message = dynamicpb.NewMessage(desc)
		if head {
			m = &storev1.Head{}
		}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		checkRoundTrip(t, m)
		HasUnknown(m)
	})
}
