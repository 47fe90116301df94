package canon

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// HasUnknown looks for fields that this build's schema does not know, in m and every message inside it. The path leads to the
// first one and ends with its number: `backends[3].17`, `labels["a"].4`. First means: by ascending field number, list index
// and map key, and a message's own before those deeper down.
func HasUnknown(m proto.Message) (path string, ok bool) {
	if m == nil {
		return "", false
	}
	return unknownIn(m.ProtoReflect())
}

func unknownIn(m protoreflect.Message) (string, bool) {
	if raw := m.GetUnknown(); len(raw) > 0 {
		number, _, _ := protowire.ConsumeTag(raw)
		return fmt.Sprint(number), true
	}
	var found []field
	for desc, value := range m.Range {
		if holdsMessages(desc) {
			found = append(found, field{desc, value})
		}
	}
	slices.SortFunc(found, func(x, y field) int { return cmp.Compare(x.desc.Number(), y.desc.Number()) })
	for _, f := range found {
		if path, ok := unknownInField(f); ok {
			return path, true
		}
	}
	return "", false
}

func holdsMessages(desc protoreflect.FieldDescriptor) bool {
	if desc.IsMap() {
		return desc.MapValue().Message() != nil
	}
	return desc.Message() != nil
}

func unknownInField(f field) (string, bool) {
	name := string(f.desc.Name())
	switch {
	case f.desc.IsMap():
		entries := f.value.Map()
		var keys []protoreflect.MapKey
		for key := range entries.Range {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(x, y protoreflect.MapKey) int { return compareKeys(f.desc.MapKey().Kind(), x, y) })
		for _, key := range keys {
			if path, ok := unknownIn(entries.Get(key).Message()); ok {
				return fmt.Sprintf("%s[%#v].%s", name, key.Interface(), path), true
			}
		}
	case f.desc.IsList():
		for i := range f.value.List().Len() {
			if path, ok := unknownIn(f.value.List().Get(i).Message()); ok {
				return fmt.Sprintf("%s[%d].%s", name, i, path), true
			}
		}
	default:
		if path, ok := unknownIn(f.value.Message()); ok {
			return name + "." + path, true
		}
	}
	return "", false
}
