// Command openapi turns the OpenAPI document that protoc-gen-openapiv2 writes
// into one that says what the REST API speaks: enumeration words in lower case
// without their prefix, and durations as text.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: openapi IN OUT")
	}
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("read %s: %w", args[0], err)
	}
	doc["info"] = map[string]any{
		"title":       "FiberLB",
		"version":     "v1",
		"description": "REST form of the FiberLB controller's API.",
	}
	rewrite(doc)
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], append(out, '\n'), 0o644)
}

// rewrite walks the document and edits every schema in place.
func rewrite(node any) {
	switch n := node.(type) {
	case map[string]any:
		if words, ok := n["enum"].([]any); ok {
			rewriteEnum(n, words)
		}
		for _, v := range n {
			rewrite(v)
		}
	case []any:
		for _, v := range n {
			rewrite(v)
		}
	}
}

// rewriteEnum strips the prefix that the zero value, PREFIX_UNSPECIFIED, names.
func rewriteEnum(schema map[string]any, words []any) {
	const unspecified = "UNSPECIFIED"
	prefix := ""
	for _, w := range words {
		if s, ok := w.(string); ok && strings.HasSuffix(s, unspecified) {
			prefix = strings.TrimSuffix(s, unspecified)
		}
	}
	if prefix == "" {
		return
	}
	var out []any
	for _, w := range words {
		if s := w.(string); s != prefix+unspecified {
			out = append(out, strings.ToLower(strings.TrimPrefix(s, prefix)))
		}
	}
	schema["enum"] = out
	delete(schema, "default")
}
