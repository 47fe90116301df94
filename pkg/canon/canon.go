// Package canon owns the one byte form of a protobuf message.
//
// Protobuf's own encoders promise no stable bytes, neither between releases nor between languages, not even in their
// deterministic mode (https://protobuf.dev/programming-guides/serialization-not-canonical/). Content hashes, etags and
// compare-and-swap by value need bytes that depend on the message and its schema alone, so this encoder is our own: fields by
// ascending number, fields that are not set left out, map entries sorted by key, repeated scalars packed, and unknown fields,
// untouched, behind the known ones of their message. Every protobuf decoder reads the result.
package canon

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Marshal encodes m. A nil message, and one without any field set, give no bytes. A string that is not UTF-8 is written with
// U+FFFD in place of the faulty bytes, since no decoder would accept it otherwise; every other message decodes to an equal one.
func Marshal(m proto.Message) []byte {
	if m == nil {
		return nil
	}
	return Append(nil, m)
}

// Append encodes m behind b, as [Marshal] does, and returns the extended slice.
func Append(b []byte, m proto.Message) []byte {
	return appendMessage(b, m.ProtoReflect())
}

// field is one field that is set.
type field struct {
	desc  protoreflect.FieldDescriptor
	value protoreflect.Value
}

func appendMessage(b []byte, m protoreflect.Message) []byte {
	var room [16]field
	fields := room[:0]
	for desc, value := range m.Range {
		fields = append(fields, field{desc, value})
	}
	slices.SortFunc(fields, func(x, y field) int { return cmp.Compare(x.desc.Number(), y.desc.Number()) })
	for _, f := range fields {
		switch {
		case f.desc.IsMap():
			b = appendMap(b, f.desc, f.value.Map())
		case f.desc.IsList():
			b = appendList(b, f.desc, f.value.List())
		default:
			b = appendField(b, f.desc, f.value)
		}
	}
	return append(b, m.GetUnknown()...)
}

func appendList(b []byte, desc protoreflect.FieldDescriptor, list protoreflect.List) []byte {
	if !packable(desc.Kind()) {
		for i := range list.Len() {
			b = appendField(b, desc, list.Get(i))
		}
		return b
	}
	b = protowire.AppendTag(b, desc.Number(), protowire.BytesType)
	return appendSized(b, func(b []byte) []byte {
		for i := range list.Len() {
			b = appendScalar(b, desc.Kind(), list.Get(i))
		}
		return b
	})
}

// appendMap writes entries by ascending key: numbers by value, strings by their bytes, false before true. An entry has both
// its fields, as every protobuf encoder writes it.
func appendMap(b []byte, desc protoreflect.FieldDescriptor, entries protoreflect.Map) []byte {
	keys := make([]protoreflect.MapKey, 0, entries.Len())
	for key := range entries.Range {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(x, y protoreflect.MapKey) int { return compareKeys(desc.MapKey().Kind(), x, y) })
	for _, key := range keys {
		b = protowire.AppendTag(b, desc.Number(), protowire.BytesType)
		b = appendSized(b, func(b []byte) []byte {
			b = appendField(b, desc.MapKey(), key.Value())
			return appendField(b, desc.MapValue(), entries.Get(key))
		})
	}
	return b
}

func compareKeys(kind protoreflect.Kind, x, y protoreflect.MapKey) int {
	switch kind {
	case protoreflect.BoolKind:
		return cmp.Compare(protowire.EncodeBool(x.Bool()), protowire.EncodeBool(y.Bool()))
	case protoreflect.StringKind:
		return strings.Compare(x.String(), y.String())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return cmp.Compare(x.Uint(), y.Uint())
	default:
		return cmp.Compare(x.Int(), y.Int())
	}
}

func appendField(b []byte, desc protoreflect.FieldDescriptor, value protoreflect.Value) []byte {
	number := desc.Number()
	switch kind := desc.Kind(); kind {
	case protoreflect.MessageKind:
		b = protowire.AppendTag(b, number, protowire.BytesType)
		return appendSized(b, func(b []byte) []byte { return appendMessage(b, value.Message()) })
	case protoreflect.GroupKind:
		b = protowire.AppendTag(b, number, protowire.StartGroupType)
		b = appendMessage(b, value.Message())
		return protowire.AppendTag(b, number, protowire.EndGroupType)
	case protoreflect.StringKind:
		b = protowire.AppendTag(b, number, protowire.BytesType)
		return protowire.AppendString(b, strings.ToValidUTF8(value.String(), "\uFFFD"))
	case protoreflect.BytesKind:
		b = protowire.AppendTag(b, number, protowire.BytesType)
		return protowire.AppendBytes(b, value.Bytes())
	default:
		b = protowire.AppendTag(b, number, wireType(kind))
		return appendScalar(b, kind, value)
	}
}

// appendSized writes what fill appends with its length in front. Most lengths take one byte; for longer ones the content moves.
func appendSized(b []byte, fill func([]byte) []byte) []byte {
	start := len(b)
	b = fill(append(b, 0))
	size := len(b) - start - 1
	if extra := protowire.SizeVarint(uint64(size)) - 1; extra > 0 {
		b = append(b, make([]byte, extra)...)
		copy(b[start+1+extra:], b[start+1:start+1+size])
	}
	protowire.AppendVarint(b[start:start], uint64(size))
	return b
}

func packable(kind protoreflect.Kind) bool {
	switch kind {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind, protoreflect.GroupKind:
		return false
	default:
		return true
	}
}

func wireType(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	default:
		return protowire.VarintType
	}
}

func appendScalar(b []byte, kind protoreflect.Kind, value protoreflect.Value) []byte {
	switch kind {
	case protoreflect.BoolKind:
		return protowire.AppendVarint(b, protowire.EncodeBool(value.Bool()))
	case protoreflect.EnumKind:
		return protowire.AppendVarint(b, uint64(value.Enum()))
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return protowire.AppendVarint(b, uint64(value.Int()))
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protowire.AppendVarint(b, protowire.EncodeZigZag(value.Int()))
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return protowire.AppendVarint(b, value.Uint())
	case protoreflect.Fixed32Kind:
		return protowire.AppendFixed32(b, uint32(value.Uint()))
	case protoreflect.Sfixed32Kind:
		return protowire.AppendFixed32(b, uint32(value.Int()))
	case protoreflect.FloatKind:
		return protowire.AppendFixed32(b, math.Float32bits(float32(value.Float())))
	case protoreflect.Fixed64Kind:
		return protowire.AppendFixed64(b, value.Uint())
	case protoreflect.Sfixed64Kind:
		return protowire.AppendFixed64(b, uint64(value.Int()))
	default: // DoubleKind
		return protowire.AppendFixed64(b, math.Float64bits(value.Float()))
	}
}
