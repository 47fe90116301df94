package textform

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
)

const (
	yamlIndent  = "  "
	yamlColumns = 100 // beyond which a list of scalars takes a line for each
)

var (
	// plainYAML is text that every YAML reader, of 1.1 too, takes for a string without quotes: words, addresses and durations.
	plainYAML = regexp.MustCompile(`^([A-Za-z/][A-Za-z0-9_./+@-]*( [A-Za-z0-9_./+@-]+)*|[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(/[0-9]+)?|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)$`)
	// reservedYAML are words that some YAML reader takes for something else.
	reservedYAML = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n|nan|inf)$`)
)

// appendYAML writes n in block style.
func appendYAML(b []byte, n *Node) []byte {
	if inline := inlineYAML(n, ""); inline != "" {
		return append(append(b, inline...), '\n')
	}
	return appendBlock(b, n, "")
}

// appendBlock writes the lines of a list or object that is not empty, each after the indent.
func appendBlock(b []byte, n *Node, indent string) []byte {
	for _, item := range n.Items {
		b = append(append(b, indent...), '-')
		if inline := inlineYAML(item, indent+yamlIndent); inline != "" {
			b = append(append(append(b, ' '), inline...), '\n')
			continue
		}
		// The first line of the item stands beside the dash.
		block := appendBlock(nil, item, indent+yamlIndent)
		b = append(append(b, ' '), block[len(indent)+len(yamlIndent):]...)
	}
	for _, field := range n.Fields {
		b = append(append(append(b, indent...), scalarYAML(field.Name)...), ':')
		if inline := inlineYAML(field.Value, indent+yamlIndent); inline != "" {
			b = append(append(append(b, ' '), inline...), '\n')
			continue
		}
		deeper := indent + yamlIndent
		if field.Value.Kind == List {
			deeper = indent
		}
		b = appendBlock(append(b, '\n'), field.Value, deeper)
	}
	return b
}

// inlineYAML is what can stand behind a key or dash, without the final line feed; "" for what needs lines of its own. The lines
// of a block of text begin with the indent.
func inlineYAML(n *Node, indent string) string {
	switch {
	case n.Kind == Null:
		return "null"
	case n.Kind == Scalar && !n.Quoted:
		return n.Text
	case n.Kind == Scalar:
		if indent != "" && isBlockText(n.Text) {
			return blockText(n.Text, indent)
		}
		return scalarYAML(n.Text)
	case n.Kind == Object && len(n.Fields) == 0:
		return "{}"
	case n.Kind == Object:
		return ""
	}
	var words []string
	columns := len(indent)
	for _, item := range n.Items {
		if item.Kind != Scalar {
			return ""
		}
		word := item.Text
		if item.Quoted {
			word = scalarYAML(item.Text)
		}
		words = append(words, word)
		if columns += len(word) + 2; columns > yamlColumns {
			return ""
		}
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// scalarYAML is text on one line, quoted where it needs to be.
func scalarYAML(text string) string {
	if plainYAML.MatchString(text) && !reservedYAML.MatchString(text) {
		return text
	}
	return string(appendQuoted(nil, text))
}

// isBlockText tells whether text reads best, and reads back the same, as a literal block (YAML 1.2 section 8.1.2): several lines,
// no blank around them, nothing invisible.
func isBlockText(text string) bool {
	body := strings.TrimSuffix(text, "\n")
	if !strings.Contains(body, "\n") || strings.HasSuffix(body, "\n") {
		return false
	}
	for line := range strings.SplitSeq(body, "\n") {
		if line != strings.TrimSpace(line) {
			return false
		}
	}
	return strings.TrimSpace(body) == body && strings.IndexFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) < 0
}

func blockText(text, indent string) string {
	var b bytes.Buffer
	b.WriteString("|")
	if !strings.HasSuffix(text, "\n") {
		b.WriteString("-")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		b.WriteString("\n")
		if line != "" {
			b.WriteString(indent + line)
		}
	}
	return b.String()
}
