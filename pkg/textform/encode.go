package textform

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// encode turns a message into a tree.
func encode(m proto.Message, emitDefaults bool) (*Node, error) {
	if m == nil {
		return nil, fmt.Errorf("textform: no message")
	}
	return encoder{emitDefaults}.message(m.ProtoReflect())
}

type encoder struct{ emitDefaults bool }

func (e encoder) message(m protoreflect.Message) (*Node, error) {
	if known := wellKnown(m.Descriptor().FullName()); known != nil {
		return known.encode(e, m)
	}
	node := &Node{Kind: Object}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) && (!e.emitDefaults || fd.HasPresence()) {
			continue
		}
		value, err := e.field(fd, m.Get(fd))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fd.Name(), err)
		}
		node.Fields = append(node.Fields, Field{Name: string(fd.Name()), Value: value})
	}
	return node, nil
}

func (e encoder) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) (*Node, error) {
	switch {
	case fd.IsList():
		node := &Node{Kind: List}
		for i := range v.List().Len() {
			item, err := e.single(fd, v.List().Get(i))
			if err != nil {
				return nil, err
			}
			node.Items = append(node.Items, item)
		}
		return node, nil
	case fd.IsMap():
		node := &Node{Kind: Object}
		entries := map[string]protoreflect.Value{}
		v.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
			entries[key.String()] = value
			return true
		})
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			if !utf8.ValidString(key) {
				return nil, fmt.Errorf("the key %q is not UTF-8", key)
			}
			value, err := e.single(fd.MapValue(), entries[key])
			if err != nil {
				return nil, err
			}
			node.Fields = append(node.Fields, Field{Name: key, Value: value})
		}
		return node, nil
	}
	return e.single(fd, v)
}

func (e encoder) single(fd protoreflect.FieldDescriptor, v protoreflect.Value) (*Node, error) {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return e.message(v.Message())
	case protoreflect.EnumKind:
		if word := enumWord(fd.Enum(), v.Enum()); word != "" {
			return text(word), nil
		}
		return &Node{Kind: Scalar, Text: strconv.Itoa(int(v.Enum()))}, nil
	case protoreflect.StringKind:
		if !utf8.ValidString(v.String()) {
			return nil, fmt.Errorf("%q is not UTF-8", v.String())
		}
		return text(v.String()), nil
	case protoreflect.BytesKind:
		return text(base64.StdEncoding.EncodeToString(v.Bytes())), nil
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return number(v.Float(), fd.Kind()), nil
	}
	return &Node{Kind: Scalar, Text: v.String()}, nil // bool and whole numbers
}

func text(s string) *Node { return &Node{Kind: Scalar, Text: s, Quoted: true} }

// number writes a float so that it reads back the same; what JSON has no number for is text, as in protojson.
func number(f float64, kind protoreflect.Kind) *Node {
	bits := 64
	if kind == protoreflect.FloatKind {
		bits = 32
	}
	switch {
	case math.IsNaN(f):
		return text("NaN")
	case math.IsInf(f, 1):
		return text("Infinity")
	case math.IsInf(f, -1):
		return text("-Infinity")
	}
	return &Node{Kind: Scalar, Text: strconv.FormatFloat(f, 'g', -1, bits)}
}

// enumAliases are other words for enumeration values, accepted and never written.
var enumAliases = map[protoreflect.FullName]map[string]string{
	"fiberlb.v1.ListenerProtocol": {"terminated_https": "https"},
}

// enumPrefix is what all names of an enumeration begin with: the zero value's name without "UNSPECIFIED".
func enumPrefix(ed protoreflect.EnumDescriptor) string {
	zero := ed.Values().ByNumber(0)
	if zero == nil {
		return ""
	}
	prefix, ok := strings.CutSuffix(string(zero.Name()), "UNSPECIFIED")
	if !ok {
		return ""
	}
	return prefix
}

// enumWord is the word of a value, or "" where the enumeration does not know it.
func enumWord(ed protoreflect.EnumDescriptor, number protoreflect.EnumNumber) string {
	value := ed.Values().ByNumber(number)
	if value == nil {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), enumPrefix(ed)))
}

// EnumWord is the word of an enumeration's value ("maglev"), or its number where the value is not known.
func EnumWord(value protoreflect.Enum) string {
	if word := enumWord(value.Descriptor(), value.Number()); word != "" {
		return word
	}
	return strconv.Itoa(int(value.Number()))
}

// enumWords are the words a person may write, in the order of declaration.
func enumWords(ed protoreflect.EnumDescriptor) []string {
	var words []string
	values := ed.Values()
	for i := range values.Len() {
		if values.Get(i).Number() != 0 {
			words = append(words, enumWord(ed, values.Get(i).Number()))
		}
	}
	return words
}
