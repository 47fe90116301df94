package textform

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Decode replaces what m holds by the tree and gives all faults; fields without fault are set even when there are some. A null
// is a field left out.
func Decode(n *Node, m proto.Message) Faults {
	proto.Reset(m)
	var d decoder
	d.message(n, m.ProtoReflect(), "")
	return d.faults
}

type decoder struct{ faults Faults }

func (d *decoder) fault(n *Node, path, problem, remedy string) {
	d.report(Fault{Violation: lb.Violation{Path: path, Problem: problem, Remedy: remedy}, Line: n.Line})
}

// report keeps the first faults; one more says that there are others.
func (d *decoder) report(f Fault) {
	switch {
	case len(d.faults) < maxFaults:
		d.faults = append(d.faults, f)
	case len(d.faults) == maxFaults:
		d.faults = append(d.faults, Fault{Line: f.Line, Violation: lb.Violation{
			Path: f.Path, Problem: "is wrong too, and more may be", Remedy: fmt.Sprintf("mend the %d faults above first", maxFaults),
		}})
	}
}

func (d *decoder) wrongShape(n *Node, path, wanted string) {
	d.fault(n, path, n.describe()+", wants "+wanted, "")
}

func (d *decoder) message(n *Node, m protoreflect.Message, path string) {
	if known := wellKnown(m.Descriptor().FullName()); known != nil {
		known.decode(d, n, m, path)
		return
	}
	if n.Kind != Object {
		d.wrongShape(n, path, "an object")
		return
	}
	seen := map[protoreflect.FieldNumber]int{}
	oneofs := map[protoreflect.FullName]string{}
	for _, field := range n.Fields {
		if len(d.faults) > maxFaults {
			return
		}
		fd := findField(m.Descriptor(), field.Name)
		if fd == nil {
			d.unknownField(field, m.Descriptor(), path)
			continue
		}
		at := join(path, string(fd.Name()))
		if first, ok := seen[fd.Number()]; ok {
			d.report(Fault{Line: field.Line, Violation: lb.Violation{
				Path: at, Problem: fmt.Sprintf("is given twice, first in line %d", first), Remedy: "keep one of them"}})
			continue
		}
		seen[fd.Number()] = field.Line
		if field.Value.Kind == Null {
			continue
		}
		if oneof := fd.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
			if other, ok := oneofs[oneof.FullName()]; ok {
				d.fault(field.Value, at, "cannot stand beside "+other, "keep one of them")
				continue
			}
			oneofs[oneof.FullName()] = string(fd.Name())
		}
		d.field(field.Value, m, fd, at)
	}
}

func (d *decoder) unknownField(field Field, md protoreflect.MessageDescriptor, path string) {
	names := fieldNames(md)
	f := Fault{Line: field.Line, Violation: lb.Violation{Path: join(path, field.Name), Problem: "is not a known field"}}
	if near := lb.Nearest(snakeCase(field.Name), names); near != "" {
		f.Remedy, f.meant = fmt.Sprintf("did you mean %q?", near), join(path, near)
	} else if len(names) > 0 {
		f.Remedy = "known are " + strings.Join(names, ", ")
	}
	d.report(f)
}

func (d *decoder) field(n *Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, path string) {
	switch {
	case fd.IsList():
		d.list(n, m, fd, path)
	case fd.IsMap():
		d.mapField(n, m, fd, path)
	case fd.Message() != nil:
		d.message(n, m.Mutable(fd).Message(), path)
	default:
		if v, ok := d.scalar(n, fd, path); ok {
			m.Set(fd, v)
		}
	}
}

func (d *decoder) list(n *Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, path string) {
	if n.Kind != List {
		d.wrongShape(n, path, "a list")
		return
	}
	list := m.Mutable(fd).List()
	for i, item := range n.Items {
		at := path + "[" + strconv.Itoa(i) + "]"
		switch {
		case item.Kind == Null:
			d.fault(item, at, "is empty", "fill it in or leave it out")
		case fd.Message() != nil:
			// Appended even when faulty: places in the message are those of the text.
			d.message(item, list.AppendMutable().Message(), at)
		default:
			v, ok := d.scalar(item, fd, at)
			if !ok {
				v = list.NewElement()
			}
			list.Append(v)
		}
	}
}

func (d *decoder) mapField(n *Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, path string) {
	if n.Kind != Object {
		d.wrongShape(n, path, "an object")
		return
	}
	entries := m.Mutable(fd).Map()
	for _, field := range n.Fields {
		at := path + "[" + quote(field.Name) + "]"
		key, ok := d.scalar(&Node{Kind: Scalar, Text: field.Name, Line: field.Line}, fd.MapKey(), at)
		switch {
		case !ok:
			continue
		case entries.Has(key.MapKey()):
			d.report(Fault{Line: field.Line, Violation: lb.Violation{Path: at, Problem: "is given twice", Remedy: "keep one of them"}})
			continue
		case field.Value.Kind == Null:
			d.fault(field.Value, at, "is empty", `write "" for empty text, or leave it out`)
			continue
		}
		value := entries.NewValue()
		if fd.MapValue().Message() != nil {
			d.message(field.Value, value.Message(), at)
		} else if value, ok = d.scalar(field.Value, fd.MapValue(), at); !ok {
			continue
		}
		entries.Set(key.MapKey(), value)
	}
}

// scalar reads one value that is no message; what is wrong with it is reported.
func (d *decoder) scalar(n *Node, fd protoreflect.FieldDescriptor, path string) (protoreflect.Value, bool) {
	kind := fd.Kind()
	if n.Kind != Scalar {
		d.wrongShape(n, path, wanted(kind))
		return protoreflect.Value{}, false
	}
	var v protoreflect.Value
	var problem, remedy string
	switch kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(n.Text), true // numbers and the like: as written
	case protoreflect.BoolKind:
		v, problem, remedy = parseBool(n)
	case protoreflect.EnumKind:
		v, problem, remedy = parseEnum(n.Text, fd.Enum())
	case protoreflect.BytesKind:
		v, problem = parseBytes(n.Text)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		v, problem = parseFloat(n.Text, kind)
	default:
		v, problem, remedy = parseInteger(n.Text, kind)
	}
	if problem != "" {
		d.fault(n, path, problem, remedy)
		return protoreflect.Value{}, false
	}
	return v, true
}

func wanted(kind protoreflect.Kind) string {
	switch kind {
	case protoreflect.StringKind:
		return "text"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return "a word"
	case protoreflect.BytesKind:
		return "base64 text"
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "a number"
	}
	return "a whole number"
}

func parseBool(n *Node) (v protoreflect.Value, problem, remedy string) {
	switch word := strings.ToLower(n.Text); {
	case !n.Quoted && (n.Text == word || n.Text == strings.ToUpper(word) || n.Text == strings.ToUpper(word[:1])+word[1:]) && (word == "true" || word == "false"):
		return protoreflect.ValueOfBool(word == "true"), "", ""
	case word == "true" || word == "false":
		remedy = "write " + word + " without quotes"
	case slices.Contains([]string{"yes", "y", "on", "1"}, word):
		remedy = "write true"
	case slices.Contains([]string{"no", "n", "off", "0"}, word):
		remedy = "write false"
	}
	return v, quote(n.Text) + " is not true or false", remedy
}

// parseEnum takes the word, protobuf's name of the value, and its number.
func parseEnum(word string, ed protoreflect.EnumDescriptor) (v protoreflect.Value, problem, remedy string) {
	values, prefix := ed.Values(), enumPrefix(ed)
	short := word
	if rest, ok := strings.CutPrefix(word, prefix); ok && prefix != "" {
		short = strings.ToLower(rest)
	}
	if meant, ok := enumAliases[ed.FullName()][short]; ok {
		short = meant
	}
	number, err := strconv.ParseInt(word, 10, 32)
	for i := range values.Len() {
		value := values.Get(i)
		if err == nil && value.Number() == protoreflect.EnumNumber(number) || enumWord(ed, value.Number()) == short || string(value.Name()) == word {
			return protoreflect.ValueOfEnum(value.Number()), "", ""
		}
	}
	words := enumWords(ed)
	if near := lb.Nearest(strings.ReplaceAll(strings.ToLower(short), "-", "_"), words); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	return v, quote(word) + " is not one of " + strings.Join(words, ", "), remedy
}

// parseBytes takes base64 of either alphabet (RFC 4648 sections 4 and 5), padded or not.
func parseBytes(text string) (v protoreflect.Value, problem string) {
	plain := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	b, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return v, "is not base64"
	}
	return protoreflect.ValueOfBytes(b), ""
}

func parseFloat(text string, kind protoreflect.Kind) (v protoreflect.Value, problem string) {
	special := text == "NaN" || text == "Infinity" || text == "-Infinity"
	bits := 64
	if kind == protoreflect.FloatKind {
		bits = 32
	}
	f, err := strconv.ParseFloat(text, bits)
	if err != nil || !special && !isNumber(text) {
		return v, quote(text) + " is not a number"
	}
	if bits == 32 {
		return protoreflect.ValueOfFloat32(float32(f)), ""
	}
	return protoreflect.ValueOfFloat64(f), ""
}

// parseInteger takes decimal digits, and as protojson does also 1.0 and 1e3.
func parseInteger(text string, kind protoreflect.Kind) (v protoreflect.Value, problem, remedy string) {
	lowest, highest := integerRange(kind)
	digitsOnly := text
	if !isNumber(text) {
		if rest := strings.TrimLeft(text, "0"); rest != text && rest != "" && digits(text) == len(text) {
			return v, quote(text) + " begins with a zero", "write " + rest
		}
		return v, quote(text) + " is not a whole number", ""
	}
	if strings.ContainsAny(text, ".eE") {
		// Past 2^53 a float is no exact whole number any more.
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f != float64(int64(f)) || f > 1<<53 || f < -1<<53 {
			return v, quote(text) + " is not a whole number", ""
		}
		digitsOnly = strconv.FormatInt(int64(f), 10)
	}
	outside := fmt.Sprintf("%s is not in %d-%d", shorten(text), lowest, highest)
	if lowest < 0 {
		i, err := strconv.ParseInt(digitsOnly, 10, 64)
		if err != nil || i < lowest || i > int64(highest) {
			return v, outside, ""
		}
		if highest > 1<<31 {
			return protoreflect.ValueOfInt64(i), "", ""
		}
		return protoreflect.ValueOfInt32(int32(i)), "", ""
	}
	u, err := strconv.ParseUint(strings.Replace(digitsOnly, "-0", "0", 1), 10, 64)
	if err != nil || u > highest {
		return v, outside, ""
	}
	if highest > 1<<32 {
		return protoreflect.ValueOfUint64(u), "", ""
	}
	return protoreflect.ValueOfUint32(uint32(u)), "", ""
}

func integerRange(kind protoreflect.Kind) (lowest int64, highest uint64) {
	switch kind {
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return 0, 1<<32 - 1
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return 0, 1<<64 - 1
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return -1 << 31, 1<<31 - 1
	}
	return -1 << 63, 1<<63 - 1
}

// findField looks a field up by its own name and by its JSON name.
func findField(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByName(protoreflect.Name(name)); fd != nil {
		return fd
	}
	return md.Fields().ByJSONName(name)
}

// join appends a name to a path; a name that would be mistaken for a path is quoted in brackets.
func join(path, name string) string {
	switch {
	case name == "" || strings.ContainsAny(name, ".[]\"\n"):
		return path + "[" + quote(name) + "]"
	case path == "":
		return shorten(name)
	}
	return path + "." + shorten(name)
}

func quote(text string) string { return strconv.Quote(shorten(text)) }

// shorten keeps what is quoted of a text readable.
func shorten(text string) string {
	const longest = 64
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}
