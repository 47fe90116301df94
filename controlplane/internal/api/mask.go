package api

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// maxMaskPaths bounds the work that one field mask may ask for.
const maxMaskPaths = 512

// Fields that no request writes: of every kind, and of some.
var (
	outputOnly   = []protoreflect.Name{"uid", "etag", "created_at", "updated_at", "full_name", "status"}
	outputOnlyOf = map[protoreflect.FullName][]protoreflect.Name{
		"fiberlb.v1.Certificate": {"not_before", "expires_at", "subject", "dns_names", "fingerprint_sha256"},
		"fiberlb.v1.Node": {
			"reported_labels", "software_version", "capabilities", "connected", "last_seen", "version", "revision",
			"errors", "address", "controller", "down", "down_count",
		},
	}
)

// isOutput tells whether the field is output only.
func isOutput(field protoreflect.FieldDescriptor) bool {
	return slices.Contains(outputOnly, field.Name()) ||
		slices.Contains(outputOnlyOf[field.ContainingMessage().FullName()], field.Name())
}

// update is one field mask at work: it writes fields of source into target, which are of the same type.
type update struct {
	target, source protoreflect.Message
	noun           string // "listener"
	field          string // of the request, before paths in violations
	immutable      []protoreflect.Name
	// derived tells that the mask was made from a REST body: naming a field that cannot be written is then no wish to write it.
	derived    bool
	violations lb.Violations
}

// apply writes what the mask names. An empty mask names all fields that are set in source, message by message; "*" names all
// that may be written. Whatever is wrong with the mask or the immutable fields is a violation, and target then is half written.
func (u *update) apply(mask *fieldmaskpb.FieldMask) lb.Violations {
	paths := mask.GetPaths()
	switch {
	case len(paths) == 0:
		u.unchanged()
		u.merge(u.target, u.source)
	case len(paths) == 1 && paths[0] == "*":
		u.unchanged()
		u.replace()
	case slices.Contains(paths, "*"):
		u.violate("update_mask", `"*" stands alone`)
	case len(paths) > maxMaskPaths:
		u.violate("update_mask", "has %d paths, more than %d", len(paths), maxMaskPaths)
	default:
		if u.derived {
			u.unchanged()
		}
		for _, path := range paths {
			u.path(path)
		}
	}
	return u.violations
}

func (u *update) violate(path, format string, args ...any) {
	u.violations = append(u.violations, lb.Violation{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// unchanged refuses immutable fields whose value in source is another one.
func (u *update) unchanged() {
	for _, name := range u.immutable {
		field := u.source.Descriptor().Fields().ByName(name)
		if !u.source.Has(field) {
			continue
		}
		if want, have := u.source.Get(field), u.target.Get(field); !want.Equal(have) {
			u.violate(u.field+"."+string(name), "%q is not %q: the field is immutable", want.String(), have.String())
		}
	}
}

// mayWrite tells whether a field of the object itself may be written.
func (u *update) mayWrite(field protoreflect.FieldDescriptor) bool {
	return !isOutput(field) && !slices.Contains(u.immutable, field.Name())
}

// merge writes the fields that are set in source, those of messages one by one.
func (u *update) merge(target, source protoreflect.Message) {
	root := target == u.target
	source.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case root && !u.mayWrite(field) || !root && isOutput(field):
		case mergeable(field) && target.Has(field) && sameName(target.Get(field).Message(), value.Message()):
			u.merge(target.Mutable(field).Message(), value.Message())
		default:
			setCopy(target, field, value)
		}
		return true
	})
}

// replace makes all fields that may be written what they are in source.
func (u *update) replace() {
	fields := u.target.Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); u.mayWrite(field) {
			copyField(u.target, u.source, field)
		}
	}
}

// path writes the field that one path of the mask names.
func (u *update) path(path string) {
	const where = "update_mask"
	target, source := u.target, u.source
	rest := path
	for depth := 0; ; depth++ {
		segment, tail, more := strings.Cut(rest, ".")
		field := fieldNamed(target.Descriptor(), segment)
		if field == nil {
			u.violate(where, "%q: a %s has no field %q%s", path, u.nounAt(target), segment, suggestion(target.Descriptor(), segment))
			return
		}
		switch {
		case isOutput(field):
			if !u.derived {
				u.violate(where, "%q: %s is output only", path, field.Name())
			}
			return
		case depth == 0 && slices.Contains(u.immutable, field.Name()):
			if !u.derived {
				u.violate(where, "%q: %s is immutable", path, field.Name())
			}
			return
		case !more:
			copyField(target, source, field)
			return
		case field.IsMap():
			u.mapKey(path, tail, target, source, field)
			return
		case field.IsList():
			u.violate(where, "%q: %s is a list and written as a whole: name just %q", path, field.Name(), strings.TrimSuffix(path, "."+tail))
			return
		case !mergeable(field):
			u.violate(where, "%q: %s has no fields of its own", path, field.Name())
			return
		}
		if !target.Has(field) && !source.Has(field) {
			// Clearing inside of what is not there; the rest of the path is checked all the same, on an empty message.
			target, source = target.NewField(field).Message(), source.NewField(field).Message()
		} else {
			target, source = target.Mutable(field).Message(), source.Get(field).Message()
		}
		rest = tail
	}
}

// mapKey writes one entry of a map. The key is all that follows, dots and all, or stands in backticks (AIP-161).
func (u *update) mapKey(path, key string, target, source protoreflect.Message, field protoreflect.FieldDescriptor) {
	if len(key) >= 2 && key[0] == '`' && key[len(key)-1] == '`' {
		key = key[1 : len(key)-1]
	}
	if key == "" {
		u.violate("update_mask", "%q: the key of %s is missing", path, field.Name())
		return
	}
	mapKey := protoreflect.ValueOfString(key).MapKey()
	if value := source.Get(field).Map().Get(mapKey); value.IsValid() {
		target.Mutable(field).Map().Set(mapKey, value)
	} else if target.Has(field) {
		target.Mutable(field).Map().Clear(mapKey)
	}
}

func (u *update) nounAt(m protoreflect.Message) string {
	if m.Descriptor() == u.target.Descriptor() {
		return u.noun
	}
	return string(m.Descriptor().Name())
}

// fieldNamed finds a field by its name or protojson's spelling of it.
func fieldNamed(message protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if field := message.Fields().ByName(protoreflect.Name(name)); field != nil {
		return field
	}
	return message.Fields().ByJSONName(name)
}

func suggestion(message protoreflect.MessageDescriptor, name string) string {
	names := make([]string, message.Fields().Len())
	for i := range names {
		names[i] = string(message.Fields().Get(i).Name())
	}
	if near := lb.Nearest(name, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// mergeable tells whether a field is one message of ours, not a list, and not a duration or a time, which are values.
func mergeable(field protoreflect.FieldDescriptor) bool {
	return field.Message() != nil && !field.IsList() && !field.IsMap() && field.Message().ParentFile().Package() == "fiberlb.v1"
}

// sameName tells whether two messages are the same object, so that one merges into the other: a health check of another name
// is another health check.
func sameName(target, source protoreflect.Message) bool {
	field := source.Descriptor().Fields().ByName("name")
	return field == nil || !source.Has(field) || !target.Has(field) || source.Get(field).String() == target.Get(field).String()
}

func copyField(target, source protoreflect.Message, field protoreflect.FieldDescriptor) {
	if source.Has(field) {
		setCopy(target, field, source.Get(field))
	} else {
		target.Clear(field)
	}
}

// setCopy sets a field to a value that shares nothing with the request.
func setCopy(target protoreflect.Message, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	carrier := target.New()
	carrier.Set(field, value)
	target.Set(field, proto.Clone(carrier.Interface()).ProtoReflect().Get(field))
}
