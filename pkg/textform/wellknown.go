package textform

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// form is how a message that stands for a plain value is written and read.
type form struct {
	encode func(encoder, protoreflect.Message) (*Node, error)
	decode func(*decoder, *Node, protoreflect.Message, string)
}

// wellKnown gives the form of a message that has one of its own, or nil.
func wellKnown(name protoreflect.FullName) *form {
	switch name {
	case "google.protobuf.Duration":
		return &form{encodeDuration, decodeDuration}
	case "google.protobuf.Timestamp":
		return &form{encodeTimestamp, decodeTimestamp}
	case "google.protobuf.FieldMask":
		return &form{encodeFieldMask, decodeFieldMask}
	case "google.protobuf.Any":
		return &form{encodeAny, decodeAny}
	}
	return nil
}

// Bounds of duration.proto and timestamp.proto.
const (
	maxDurationSeconds  = 315_576_000_000 // 10,000 years
	minTimestampSeconds = -62_135_596_800 // 0001-01-01T00:00:00Z
	maxTimestampSeconds = 253_402_300_799 // 9999-12-31T23:59:59Z
)

// parts are the fields that durations and timestamps have in common.
func parts(m protoreflect.Message) (seconds int64, nanos int32) {
	fields := m.Descriptor().Fields()
	return m.Get(fields.ByNumber(1)).Int(), int32(m.Get(fields.ByNumber(2)).Int())
}

func setParts(m protoreflect.Message, seconds int64, nanos int32) {
	fields := m.Descriptor().Fields()
	m.Set(fields.ByNumber(1), protoreflect.ValueOfInt64(seconds))
	m.Set(fields.ByNumber(2), protoreflect.ValueOfInt32(nanos))
}

func encodeDuration(_ encoder, m protoreflect.Message) (*Node, error) {
	seconds, nanos := parts(m)
	if seconds > maxDurationSeconds || seconds < -maxDurationSeconds || nanos <= -1e9 || nanos >= 1e9 || seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0 {
		return nil, fmt.Errorf("%d s and %d ns are not a valid duration", seconds, nanos)
	}
	return text(formatDuration(seconds, nanos)), nil
}

// formatDuration writes as Go does, without the units that are zero at the end ("5m", not "5m0s"), and as seconds what a
// time.Duration cannot hold.
func formatDuration(seconds int64, nanos int32) string {
	const longest = int64(1<<63-1) / int64(time.Second)
	if seconds >= longest || seconds <= -longest {
		word := strconv.FormatInt(seconds, 10)
		if nanos != 0 {
			word += strings.TrimRight(fmt.Sprintf(".%09d", max(nanos, -nanos)), "0")
		}
		return word + "s"
	}
	return lb.FormatDuration(time.Duration(seconds)*time.Second + time.Duration(nanos))
}

func decodeDuration(d *decoder, n *Node, m protoreflect.Message, path string) {
	const remedy = "write a number with its unit, like 500ms, 5s or 1m30s"
	if n.Kind != Scalar {
		d.fault(n, path, n.describe()+", wants a duration", remedy)
		return
	}
	if long, nanos, ok := parseSeconds(n.Text); ok {
		setParts(m, long, nanos)
		return
	}
	duration, err := time.ParseDuration(n.Text)
	switch {
	case isNumber(n.Text) && n.Text != "0":
		d.fault(n, path, shorten(n.Text)+" is a duration without a unit", remedy)
	case err != nil:
		d.fault(n, path, quote(n.Text)+" is not a duration", remedy)
	default:
		setParts(m, int64(duration/time.Second), int32(duration%time.Second))
	}
}

// parseSeconds reads protobuf's own form, seconds with up to nine digits of a fraction.
func parseSeconds(text string) (seconds int64, nanos int32, ok bool) {
	word, ok := strings.CutSuffix(text, "s")
	if !ok || !isNumber(word) || strings.ContainsAny(word, "eE") {
		return 0, 0, false
	}
	whole, fraction, _ := strings.Cut(word, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(fraction) > 9 || seconds > maxDurationSeconds || seconds < -maxDurationSeconds {
		return 0, 0, false
	}
	parsed, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 32)
	if err != nil {
		return 0, 0, false
	}
	if strings.HasPrefix(whole, "-") {
		parsed = -parsed
	}
	return seconds, int32(parsed), true
}

func encodeTimestamp(_ encoder, m protoreflect.Message) (*Node, error) {
	seconds, nanos := parts(m)
	if seconds < minTimestampSeconds || seconds > maxTimestampSeconds || nanos < 0 || nanos >= 1e9 {
		return nil, fmt.Errorf("%d s and %d ns are not a valid time", seconds, nanos)
	}
	return text(time.Unix(seconds, int64(nanos)).UTC().Format(time.RFC3339Nano)), nil
}

func decodeTimestamp(d *decoder, n *Node, m protoreflect.Message, path string) {
	const remedy = "write it like 2006-01-02T15:04:05Z (RFC 3339)"
	if n.Kind != Scalar {
		d.fault(n, path, n.describe()+", wants a time", remedy)
		return
	}
	t, err := time.Parse(time.RFC3339Nano, n.Text)
	if err != nil || t.Unix() < minTimestampSeconds || t.Unix() > maxTimestampSeconds {
		d.fault(n, path, quote(n.Text)+" is not a time", remedy)
		return
	}
	setParts(m, t.Unix(), int32(t.Nanosecond()))
}

func encodeFieldMask(_ encoder, m protoreflect.Message) (*Node, error) {
	list := m.Get(m.Descriptor().Fields().ByNumber(1)).List()
	paths := make([]string, list.Len())
	for i := range paths {
		paths[i] = list.Get(i).String()
		if paths[i] == "" || strings.ContainsAny(paths[i], ", ") {
			return nil, fmt.Errorf("%q is not a path of a field mask", paths[i])
		}
	}
	return text(strings.Join(paths, ",")), nil
}

// decodeFieldMask takes paths in snake_case and in protojson's camelCase.
func decodeFieldMask(d *decoder, n *Node, m protoreflect.Message, path string) {
	if n.Kind != Scalar {
		d.wrongShape(n, path, `text like "name,tls_config.min_version"`)
		return
	}
	if n.Text == "" {
		return
	}
	list := m.Mutable(m.Descriptor().Fields().ByNumber(1)).List()
	for word := range strings.SplitSeq(n.Text, ",") {
		word = strings.TrimSpace(word)
		if word == "" || strings.ContainsAny(word, " \t\r\n") {
			d.fault(n, path, quote(n.Text)+" is not a list of field paths", "separate them by single commas")
			return
		}
		list.Append(protoreflect.ValueOfString(snakeCase(word)))
	}
}

const anyType = "@type" // names the type of the message in a google.protobuf.Any, as in protojson

// encodeAny opens the message inside, as details of errors need it.
func encodeAny(e encoder, m protoreflect.Message) (*Node, error) {
	fields := m.Descriptor().Fields()
	url := m.Get(fields.ByNumber(1)).String()
	node := &Node{Kind: Object}
	if url == "" {
		return node, nil
	}
	inner, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	if err != nil {
		return nil, fmt.Errorf("unknown type %q", url)
	}
	message := inner.New()
	if err := proto.Unmarshal(m.Get(fields.ByNumber(2)).Bytes(), message.Interface()); err != nil {
		return nil, fmt.Errorf("content of %q: %w", url, err)
	}
	value, err := e.message(message)
	if err != nil {
		return nil, err
	}
	node.Fields = append(node.Fields, Field{Name: anyType, Value: text(url)})
	if wellKnown(message.Descriptor().FullName()) != nil {
		value = &Node{Kind: Object, Fields: []Field{{Name: "value", Value: value}}}
	}
	node.Fields = append(node.Fields, value.Fields...)
	return node, nil
}

func decodeAny(d *decoder, n *Node, m protoreflect.Message, path string) {
	if n.Kind != Object {
		d.wrongShape(n, path, "an object")
		return
	}
	if len(n.Fields) == 0 {
		return
	}
	content := n.clone()
	field := content.Take(anyType)
	if field == nil || field.Value.Kind != Scalar {
		d.fault(n, path, `lacks "@type"`, "name the type of the message")
		return
	}
	inner, err := protoregistry.GlobalTypes.FindMessageByURL(field.Value.Text)
	if err != nil {
		d.fault(field.Value, join(path, anyType), quote(field.Value.Text)+" is not a known type", "")
		return
	}
	message := inner.New()
	if wellKnown(message.Descriptor().FullName()) != nil {
		value := content.Take("value")
		if value == nil || len(content.Fields) > 0 {
			d.fault(n, path, `wants "value" and nothing else beside "@type"`, "")
			return
		}
		content = value.Value
	}
	d.message(content, message, path)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(message.Interface())
	if err != nil {
		d.fault(n, path, "cannot be encoded", "")
		return
	}
	fields := m.Descriptor().Fields()
	m.Set(fields.ByNumber(1), protoreflect.ValueOfString(field.Value.Text))
	m.Set(fields.ByNumber(2), protoreflect.ValueOfBytes(b))
}
