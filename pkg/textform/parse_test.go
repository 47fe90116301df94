package textform

import (
	"fmt"
	"strings"
	"testing"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 10), ","))
	}
	var deep strings.Builder
	for i := range 300 {
		deep.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	var wide strings.Builder
	for i := range maxFields + 1 {
		fmt.Fprintf(&wide, "a%d: b\n", i)
	}
	chain := "a0: &a0 {x: y}\n"
	for i := 1; i < 80; i++ {
		chain += fmt.Sprintf("a%d: &a%d {x: *a%d}\n", i, i, i-1)
	}
	for text, want := range map[string]string{
		"name: a\n  port: 1\n":                  "line 1: not YAML: ",
		"name: \"a\n":                           "line 1: not YAML: ",
		"name: a\nvips: [a\n":                   "line 2: not YAML: ",
		"name: \xff\n":                          "line 1: is not UTF-8",
		"a: b\nname: !!str b\n":                 "line 2: the tag !!str is not supported",
		"a: b\n? [x]\n: b\n":                    "line 3: not YAML: found an invalid key for this map",
		"a: &x b\n*x : c\n":                     "line 2: the name of a field must be plain text",
		"a: b\nc: *d\n":                         "line 2: the alias *d names no anchor before it",
		"a: &a [*a]\n":                          "line 1: the alias *a names no anchor before it",
		"a: b\n<<: [1]\n":                       `line 2: "<<" merges objects only`,
		bomb:                                    "line 5: aliases add more than 65536 values",
		deep.String():                           "nested deeper than 64 levels",
		wide.String():                           "line 4097: an object has more than 4096 fields",
		chain:                                   "line 64: the alias *a62 nests deeper than 64 levels",
		strings.Repeat("[", 1<<16):              "line 1: nested deeper than 64 levels",
		strings.Repeat("- ", 1<<16):             "line 1: nested deeper than 64 levels",
		strings.Repeat("{a: ", 1<<16):           "line 1: nested deeper than 64 levels",
		strings.Repeat("? ", 1<<16):             "line 1: nested deeper than 64 levels",
		strings.Repeat("!!a ", 1<<16):           "line 1: nested deeper than 64 levels",
		strings.Repeat("a", 1+1<<24):            "line 1: the document is longer than 16777216 bytes",
		"{" + strings.Repeat("a,", 1<<13) + "}": "line 1: an object has more than 4096 fields",
	} {
		err := UnmarshalYAML([]byte(text), &fiberlbv1.LoadBalancerConfig{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %.200v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                         "line 1: empty where a JSON object is wanted",
		"{\n\"a\": 1,\n}":          "line 3: not JSON: ",
		"{}\n{}":                   "line 2: not JSON: ",
		"{\"a\": \"\xff\"}":        "line 1: is not UTF-8",
		"{\"a\"":                   "line 1: not JSON: unexpected end of JSON input",
		strings.Repeat("[", 1<<20): "line 1: not JSON: ",
		strings.Repeat("[", 100) + strings.Repeat("]", 100): "line 1: nested deeper than 64 levels",
		strings.Repeat(" ", 1+1<<24):                        "longer than 16777216 bytes",
	} {
		err := UnmarshalJSON([]byte(text), &fiberlbv1.LoadBalancerConfig{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %.200v, want %s", text, err, want)
		}
	}
}

func TestSplitYAML(t *testing.T) {
	t.Parallel()
	const text = "# head\n%YAML 1.2\n---\nname: a\n--- # b\n\nname: b\n...\n# nothing\n---\n---\n--- {name: c}\n--- |\n  x\n---x\n"
	var got []string
	for _, d := range SplitYAML([]byte(text)) {
		got = append(got, fmt.Sprintf("%d:%q", d.Line, d.text))
	}
	want := []string{`3:"   \nname: a\n"`, `5:"    # b\n\nname: b\n"`, `12:"    {name: c}\n"`, `13:"    |\n  x\n---x\n"`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if documents := SplitYAML(nil); len(documents) != 0 {
		t.Errorf("documents in nothing: %v", documents)
	}
}

// A path leads to the line where its value stands, or to the nearest around it.
func TestLineOf(t *testing.T) {
	t.Parallel()
	const text = `# comment

name: web
listeners:
- name: a
  tlsConfig:
    min_version: tls12
-
  name: b
labels: {a.b: c,
  d: e}
pools: [{name: p},
  {name: q}]
`
	documents := SplitYAML([]byte("x: y\n---\n" + text))
	node, err := documents[1].Parse()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"": 3, "name": 3, "vips": 3, "listeners": 4, "listeners[0]": 5, "listeners[0].port": 5, "listeners[0].tls_config": 6, "listeners[0].tls_config.min_version": 7,
		"listeners[0].tls_config.hsts.max_age": 6, "listeners[1].name": 9, "listeners[7].port": 4, "listeners[-1]": 4, "listeners[": 4, "listeners[x]": 4,
		`labels["a.b"]`: 10, "labels.d": 11, "pools[1].name": 13, "pools[0]": 12, "name.x": 3, "name[0]": 3,
	} {
		if got := node.LineOf(path); got != want+2 {
			t.Errorf("%s: line %d, want %d", path, got, want+2)
		}
	}
	json, err := ParseJSON([]byte("{\n \"vips\": [\n  \"a\",\n  \"b\"]}"))
	if err != nil || json.LineOf("vips[1]") != 4 || json.LineOf("vips") != 2 {
		t.Errorf("JSON: %v, lines %d and %d", err, json.LineOf("vips[1]"), json.LineOf("vips"))
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	node, err := ParseJSON([]byte(`{"a":1,"b":2,"a":3}`))
	if err != nil {
		t.Fatal(err)
	}
	if field := node.Take("a"); field == nil || field.Value.Text != "1" || len(node.Fields) != 1 || node.Take("a") != nil {
		t.Errorf("took %v, left %v", field, node.Fields)
	}
}
