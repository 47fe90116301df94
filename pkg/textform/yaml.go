package textform

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// YAMLDocument is one document of a YAML stream, not parsed yet.
type YAMLDocument struct {
	Line int // of its first byte; 1 is the first of the stream
	text []byte
}

// SplitYAML cuts a stream into its documents, so that a fault in one does not hide those of the others. A line that begins with
// "---" or "..." and white space is a marker wherever it stands, even amid quoted text (YAML 1.2 section 9.1.2, c-forbidden).
// Documents without content are left out.
func SplitYAML(b []byte) []YAMLDocument {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	var documents []YAMLDocument
	current, filled := YAMLDocument{Line: 1}, false
	finish := func(line int) {
		if filled {
			documents = append(documents, current)
		}
		current, filled = YAMLDocument{Line: line}, false
	}
	number := 0
	for line := range bytes.Lines(b) {
		number++
		content := bytes.TrimSpace(line)
		switch {
		case isMarker(line, "---"):
			finish(number)
			// What follows on the marker's line is content; spaces keep its column.
			line = append([]byte("   "), line[3:]...)
			content = bytes.TrimSpace(line)
		case isMarker(line, "..."):
			finish(number + 1)
			continue
		case !filled && line[0] == '%':
			line, content = []byte("\n"), nil // a directive; none changes what is read
		}
		filled = filled || len(content) > 0 && content[0] != '#'
		if bytes.HasSuffix(line, []byte("\r\n")) {
			line = append(line[:len(line)-2:len(line)-2], '\n')
		}
		current.text = append(current.text, line...)
	}
	finish(number)
	return documents
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// Parse reads the document. Scalars are kept as written; tags and keys that are not text are refused; aliases and the merge key
// "<<" are resolved.
func (d YAMLDocument) Parse() (*Node, error) {
	if len(d.text) > MaxBytes {
		return nil, &SyntaxError{d.Line, fmt.Sprintf("the document is longer than %d bytes", MaxBytes)}
	}
	if line := invalidUTF8(d.text); line > 0 {
		return nil, &SyntaxError{d.Line + line - 1, "is not UTF-8"}
	}
	c := yamlConverter{offset: d.Line - 1, anchors: map[string]*Node{}, budget: maxAliasNodes}
	body, err := parseYAML(string(d.text))
	if err == nil {
		var node *Node
		if node, err = c.node(body, 0); err == nil {
			return node, nil
		}
	}
	var syntax *SyntaxError
	if errors.As(err, &syntax) {
		return nil, &SyntaxError{syntax.Line + c.offset, syntax.Problem}
	}
	return nil, err
}

// parseYAML gives the root of the one document in text; lines count from the beginning of text.
func parseYAML(text string) (root ast.Node, err error) {
	defer func() {
		// The parser is not ours, and a file that it stumbles over must not take a server down.
		if problem := recover(); problem != nil {
			root, err = nil, &SyntaxError{1, fmt.Sprintf("not YAML: the parser gave up: %v", problem)}
		}
	}()
	tokens := lexer.Tokenize(text)
	if err := boundShape(tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line := 1
		if at := yaml.Error(nil); errors.As(err, &at) {
			if at.GetToken() != nil && at.GetToken().Position != nil {
				line = at.GetToken().Position.Line
			}
			return nil, &SyntaxError{line, "not YAML: " + at.GetMessage()}
		}
		return nil, &SyntaxError{line, "not YAML: " + err.Error()}
	}
	for _, document := range file.Docs {
		switch {
		case document.Body == nil:
		case root != nil:
			return nil, &SyntaxError{document.Body.GetToken().Position.Line, "not YAML: a second document begins without a marker"}
		default:
			root = document.Body
		}
	}
	return root, nil
}

// boundShape refuses what would make the parser recurse without bound (brackets, indentation, and runs of tags, anchors and
// "?"), and objects so wide that its time, which grows with the square of their width, would count. Depth by indentation is
// estimated from columns, which count a level at most three times.
func boundShape(tokens token.Tokens) error {
	type level struct {
		column, fields int
		braces         bool
	}
	var blocks, flows []level
	run := 0
	for _, t := range tokens {
		switch t.Type {
		case token.CommentType:
			continue
		case token.MappingStartType, token.SequenceStartType:
			flows = append(flows, level{braces: t.Type == token.MappingStartType})
		case token.MappingEndType, token.SequenceEndType:
			flows = flows[:max(0, len(flows)-1)]
		case token.TagType, token.AnchorType, token.MappingKeyType:
			run += 2
		}
		run = max(0, run-1)
		var wide bool
		if last := len(flows) - 1; last >= 0 {
			// Between brackets, "a: b" and an item left out are what the parser is slow with.
			if t.Type == token.MappingValueType || t.Type == token.CollectEntryType && (flows[last].braces || t.Prev != nil && t.Prev.Type == token.CollectEntryType) {
				flows[last].fields++
			}
			wide = flows[last].fields > maxFields
		} else {
			for len(blocks) > 0 && blocks[len(blocks)-1].column > t.Position.Column {
				blocks = blocks[:len(blocks)-1]
			}
			if len(blocks) == 0 || blocks[len(blocks)-1].column < t.Position.Column {
				blocks = append(blocks, level{column: t.Position.Column})
			}
			if t.Type != token.SequenceEntryType {
				blocks[len(blocks)-1].fields++
			}
			wide = blocks[len(blocks)-1].fields > maxFields
		}
		switch {
		case len(flows) > MaxDepth || run > MaxDepth || len(blocks) > 3*MaxDepth:
			return &SyntaxError{t.Position.Line, fmt.Sprintf("nested deeper than %d levels", MaxDepth)}
		case wide:
			return &SyntaxError{t.Position.Line, fmt.Sprintf("an object has more than %d fields", maxFields)}
		}
	}
	return nil
}

// yamlConverter turns the nodes of the YAML parser into ours.
type yamlConverter struct {
	offset  int // lines before the document
	anchors map[string]*Node
	budget  int // nodes that aliases may still add
}

func (c *yamlConverter) node(n ast.Node, depth int) (*Node, error) {
	if n == nil {
		return &Node{Line: c.offset + 1}, nil
	}
	if depth > MaxDepth {
		return nil, fault(n, fmt.Sprintf("nested deeper than %d levels", MaxDepth))
	}
	node := &Node{Line: c.offset + lineOf(n)}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.StringNode:
		node.Kind, node.Text, node.Quoted = Scalar, n.Value, n.Token.Type != token.StringType
	case *ast.LiteralNode:
		node.Kind, node.Text, node.Quoted = Scalar, n.Value.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		node.Kind, node.Text = Scalar, n.GetToken().Value
	case *ast.SequenceNode:
		node.Kind = List
		for _, value := range n.Values {
			item, err := c.node(value, depth+1)
			if err != nil {
				return nil, err
			}
			node.Items = append(node.Items, item)
		}
	case *ast.MappingNode:
		return node, c.object(node, n.Values, depth+1)
	case *ast.MappingValueNode:
		return node, c.object(node, []*ast.MappingValueNode{n}, depth+1)
	case *ast.AnchorNode:
		return c.anchor(n, depth)
	case *ast.AliasNode:
		return c.alias(n, depth)
	case *ast.TagNode:
		return nil, fault(n, fmt.Sprintf("the tag %s is not supported: leave it out, and quote what shall be text", n.Start.Value))
	default:
		return nil, fault(n, fmt.Sprintf("not YAML: %s where a value is wanted", n.Type()))
	}
	return node, nil
}

// object fills node with the fields of a mapping. Merged fields give way to those written, whatever their order.
func (c *yamlConverter) object(node *Node, values []*ast.MappingValueNode, depth int) error {
	node.Kind = Object
	var merged []*Node
	for _, entry := range values {
		value, err := c.node(entry.Value, depth)
		if err != nil {
			return err
		}
		if entry.Key.IsMergeKey() {
			sources := []*Node{value}
			if value.Kind == List {
				sources = value.Items
			}
			for _, source := range sources {
				if source.Kind != Object {
					return fault(entry.Key, `"<<" merges objects only`)
				}
				merged = append(merged, source)
			}
			continue
		}
		key, err := keyText(entry.Key)
		if err != nil {
			return err
		}
		node.Fields = append(node.Fields, Field{key, c.offset + lineOf(entry.Key), value})
	}
	if len(merged) == 0 {
		return nil
	}
	known := map[string]bool{}
	for _, field := range node.Fields {
		known[field.Name] = true
	}
	for _, source := range merged {
		for _, field := range source.Fields {
			if !known[field.Name] {
				known[field.Name] = true
				node.Fields = append(node.Fields, field)
			}
		}
	}
	return nil
}

// anchor registers the value after it was read, so that it cannot contain itself.
func (c *yamlConverter) anchor(n *ast.AnchorNode, depth int) (*Node, error) {
	node, err := c.node(n.Value, depth)
	if err == nil {
		c.anchors[n.Name.GetToken().Value] = node
	}
	return node, err
}

func (c *yamlConverter) alias(n *ast.AliasNode, depth int) (*Node, error) {
	name := n.Value.GetToken().Value
	node, ok := c.anchors[name]
	if !ok {
		return nil, fault(n, fmt.Sprintf("the alias *%s names no anchor before it", name))
	}
	if c.budget -= node.size(); c.budget < 0 {
		return nil, fault(n, fmt.Sprintf("aliases add more than %d values: write them out", maxAliasNodes))
	}
	if depth+node.depth() > MaxDepth {
		return nil, fault(n, fmt.Sprintf("the alias *%s nests deeper than %d levels", name, MaxDepth))
	}
	return node.clone(), nil
}

// keyText is the text of a key; lists, objects, aliases and tags cannot name fields.
func keyText(key ast.MapKeyNode) (string, error) {
	var n ast.Node = key
	if explicit, ok := n.(*ast.MappingKeyNode); ok {
		n = explicit.Value
	}
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.NullNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	}
	return "", fault(key, "the name of a field must be plain text")
}

func fault(n ast.Node, problem string) error { return &SyntaxError{lineOf(n), problem} }

// lineOf is where a node begins, counted from the beginning of the document.
func lineOf(n ast.Node) int {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return lineOf(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return lineOf(m.Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}
