package textform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ParseJSON reads one JSON value (RFC 8259) with the lines of its parts. Repeated names stay in the tree.
func ParseJSON(b []byte) (*Node, error) {
	if len(b) > MaxBytes {
		return nil, &SyntaxError{Problem: fmt.Sprintf("longer than %d bytes", MaxBytes)}
	}
	if line := invalidUTF8(b); line > 0 {
		return nil, &SyntaxError{line, "is not UTF-8"}
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, &SyntaxError{1, "empty where a JSON object is wanted"}
	}
	// The decoder below takes tokens one by one; whether they stand in a valid order is checked here.
	var raw json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			return nil, &SyntaxError{lineAt(b, int(syntax.Offset)), "not JSON: " + err.Error()}
		}
		return nil, &SyntaxError{1, "not JSON: " + err.Error()}
	}
	p := jsonParser{decoder: json.NewDecoder(bytes.NewReader(b)), text: b, line: 1}
	p.decoder.UseNumber()
	return p.value(0)
}

// jsonParser reads tokens of valid JSON and counts lines as it goes.
type jsonParser struct {
	decoder *json.Decoder
	text    []byte
	offset  int // up to where line feeds are counted
	line    int // at offset
}

func (p *jsonParser) next() (json.Token, error) {
	token, err := p.decoder.Token()
	if err != nil {
		return nil, &SyntaxError{p.line, "not JSON: " + err.Error()}
	}
	end := int(p.decoder.InputOffset())
	p.line += bytes.Count(p.text[p.offset:end], []byte{'\n'})
	p.offset = end
	return token, nil
}

func (p *jsonParser) value(depth int) (*Node, error) {
	token, err := p.next()
	if err != nil {
		return nil, err
	}
	node := &Node{Line: p.line}
	switch t := token.(type) {
	case nil:
		node.Kind = Null
	case bool:
		node.Kind, node.Text = Scalar, fmt.Sprint(t)
	case json.Number:
		node.Kind, node.Text = Scalar, t.String()
	case string:
		node.Kind, node.Text, node.Quoted = Scalar, t, true
	case json.Delim:
		if depth == MaxDepth {
			return nil, &SyntaxError{p.line, fmt.Sprintf("nested deeper than %d levels", MaxDepth)}
		}
		if t == '[' {
			return node, p.list(node, depth+1)
		}
		return node, p.object(node, depth+1)
	}
	return node, nil
}

func (p *jsonParser) list(node *Node, depth int) error {
	node.Kind = List
	for p.decoder.More() {
		item, err := p.value(depth)
		if err != nil {
			return err
		}
		node.Items = append(node.Items, item)
	}
	_, err := p.next()
	return err
}

func (p *jsonParser) object(node *Node, depth int) error {
	node.Kind = Object
	for p.decoder.More() {
		name, err := p.next()
		if err != nil {
			return err
		}
		field := Field{Name: name.(string), Line: p.line}
		if field.Value, err = p.value(depth); err != nil {
			return err
		}
		node.Fields = append(node.Fields, field)
	}
	_, err := p.next()
	return err
}

// appendJSON writes n; with an indent, prefix is what stands before the line of n's closing bracket.
func appendJSON(b []byte, n *Node, indent, prefix string) []byte {
	separate := func(b []byte, prefix string) []byte {
		if indent != "" {
			b = append(append(b, '\n'), prefix...)
		}
		return b
	}
	switch {
	case n.Kind == Null:
		return append(b, "null"...)
	case n.Kind == Scalar && !n.Quoted:
		return append(b, n.Text...)
	case n.Kind == Scalar:
		return appendQuoted(b, n.Text)
	case n.Kind == List:
		b = append(b, '[')
		for i, item := range n.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(separate(b, prefix+indent), item, indent, prefix+indent)
		}
		if len(n.Items) > 0 {
			b = separate(b, prefix)
		}
		return append(b, ']')
	}
	b = append(b, '{')
	for i, field := range n.Fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(separate(b, prefix+indent), field.Name), ':')
		if indent != "" {
			b = append(b, ' ')
		}
		b = appendJSON(b, field.Value, indent, prefix+indent)
	}
	if len(n.Fields) > 0 {
		b = separate(b, prefix)
	}
	return append(b, '}')
}

// appendQuoted writes text in double quotes such that JSON (RFC 8259 section 7) and YAML 1.2 read the same. All but control
// characters, which some readers refuse or fold, stands as it is.
func appendQuoted(b []byte, text string) []byte {
	b = append(b, '"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r < ' ', 0x7f <= r && r <= 0x9f, r == 0x2028, r == 0x2029, r == 0xfeff:
			b = fmt.Appendf(b, "\\u%04x", r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// lineAt is the line of the byte at offset.
func lineAt(b []byte, offset int) int {
	return 1 + bytes.Count(b[:min(max(offset, 0), len(b))], []byte{'\n'})
}

// invalidUTF8 is the line of the first byte that is not UTF-8, or 0.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return 0
	}
	for offset := 0; ; {
		r, size := utf8.DecodeRune(b[offset:])
		if r == utf8.RuneError && size <= 1 {
			return lineAt(b, offset)
		}
		offset += size
	}
}
