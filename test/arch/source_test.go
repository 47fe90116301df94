package arch

import (
	"go/ast"
	"slices"
	"strings"
)

// allowed lists tests that may sleep or skip, as "path function", each with the reason.
var allowed = map[string]string{
	"dataplane/internal/vip/keeper_test.go newLab": "network namespaces are for root alone; make test names what it left out elsewhere",
	"test/e2e/vipinterface_test.go namespace":      "network namespaces are for root alone; make test names what it left out elsewhere",
}

var sourceRules = []rule{
	{
		"pure calls",
		"a clock or a timer makes the result depend on when it was computed, and two nodes would disagree: take the time as an argument",
		checkPureCalls,
	},
	{
		"no init",
		"init runs in every process that links the package, before flags are read and in an order that nobody chose: construct in New and hand things in",
		checkNoInit,
	},
	{
		"no global metrics",
		"metrics in a global registry collide as soon as one process holds two domains, as fiberlb-dev does: take a prometheus.Registerer",
		checkNoGlobalMetrics,
	},
	{
		"no exit",
		"only a command may end its process, since everybody else's caller has things to close: return an error",
		checkNoExit,
	},
	{
		"package comments",
		"a reader learns from the package comment what a package owns and so what does not belong into it",
		checkPackageComments,
	},
	{
		"package names",
		"a package that is named for being useful collects what nobody places: name it after what it owns",
		checkPackageNames,
	},
	{
		"no sleep, no skip",
		"a test that sleeps is slow when it passes and wrong when the machine is busy, and a skipped test guards nothing: wait for a condition, or use testing/synctest; make the machine able to run it, or list it in allowed with the reason",
		checkSleepAndSkip,
	},
}

func checkPureCalls(t *tree) (found []violation) {
	for _, f := range t.files {
		if !f.isTest() && within(f.dir, pure...) {
			found = append(found, t.uses(f, f.syntax, "time",
				"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep", "Timer", "Ticker")...)
		}
	}
	return found
}

func checkNoInit(t *tree) (found []violation) {
	for _, f := range t.files {
		if f.generated {
			continue
		}
		for _, decl := range f.syntax.Decls {
			if function, ok := decl.(*ast.FuncDecl); ok && function.Recv == nil && function.Name.Name == "init" {
				found = append(found, violation{t.at(function), "func init"})
			}
		}
	}
	return found
}

func checkNoGlobalMetrics(t *tree) (found []violation) {
	const prometheus = "github.com/prometheus/client_golang/prometheus"
	for _, f := range t.files {
		found = append(found, t.uses(f, f.syntax, prometheus, "Register", "MustRegister", "Unregister", "DefaultRegisterer", "DefaultGatherer")...)
		if name := f.localName(prometheus + "/promauto"); name != "" {
			// promauto.With(registerer) hands the registry in; its other names use the global one.
			found = append(found, t.uses(f, f.syntax, prometheus+"/promauto", "New*")...)
		}
		found = append(found, t.uses(f, f.syntax, prometheus+"/promhttp", "Handler")...)
	}
	return found
}

func checkNoExit(t *tree) (found []violation) {
	for _, f := range t.files {
		if f.isTest() || f.syntax.Name.Name == "main" {
			continue
		}
		found = append(found, t.uses(f, f.syntax, "os", "Exit")...)
		found = append(found, t.uses(f, f.syntax, "syscall", "Exit")...)
		found = append(found, t.uses(f, f.syntax, "log", "Fatal*", "Panic*")...)
	}
	return found
}

// checkPackageComments wants one in every package with a file written by hand; protoc puts none into Go that go doc would take.
func checkPackageComments(t *tree) (found []violation) {
	type pkg struct{ dir, name string }
	commented := map[pkg]bool{}
	for _, f := range t.files {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		key := pkg{f.dir, name}
		if f.generated {
			continue
		}
		text := f.syntax.Doc.Text()
		commented[key] = commented[key] || text != "" && (name == "main" || strings.HasPrefix(text, "Package "+name+" "))
	}
	for key, ok := range commented {
		if !ok {
			found = append(found, violation{key.dir, `no comment "Package ` + key.name + ` …" above a package clause`})
		}
	}
	slices.SortFunc(found, func(a, b violation) int { return strings.Compare(a.where, b.where) })
	return found
}

func checkPackageNames(t *tree) (found []violation) {
	seen := map[string]bool{}
	for _, f := range t.files {
		if seen[f.dir] {
			continue
		}
		seen[f.dir] = true
		last := f.dir[strings.LastIndexByte(f.dir, '/')+1:]
		for _, name := range []string{last, f.syntax.Name.Name} {
			if vague := vagueWord(name); vague != "" {
				found = append(found, violation{f.dir, "package is named for " + vague})
				break
			}
		}
	}
	return found
}

func vagueWord(name string) string {
	for _, word := range []string{"util", "common", "helper", "manager"} {
		if strings.Contains(name, word) {
			return word
		}
	}
	return ""
}

func checkSleepAndSkip(t *tree) (found []violation) {
	for _, f := range t.files {
		if !f.isTest() {
			continue
		}
		for _, decl := range f.syntax.Decls {
			name := "package scope"
			if function, ok := decl.(*ast.FuncDecl); ok {
				name = function.Name.Name
			}
			if allowed[f.path+" "+name] != "" {
				continue
			}
			bubbles := t.bubbles(f, decl)
			for _, sleep := range t.sleeps(f, decl) {
				inBubble := slices.ContainsFunc(bubbles, func(b ast.Node) bool { return b.Pos() <= sleep.Pos() && sleep.End() <= b.End() })
				if !inBubble {
					found = append(found, violation{t.at(sleep), "time.Sleep in " + name})
				}
			}
			found = append(found, t.skips(decl)...)
		}
	}
	return found
}

// bubbles are the parts of a declaration that run on testing/synctest's fake clock: what is handed to synctest.Test, and a
// function that calls synctest.Wait, which panics elsewhere.
func (t *tree) bubbles(f *file, decl ast.Decl) (found []ast.Node) {
	if len(t.uses(f, decl, "testing/synctest", "Wait")) > 0 {
		found = append(found, decl)
	}
	ast.Inspect(decl, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(t.uses(f, call.Fun, "testing/synctest", "Test")) > 0 {
			found = append(found, call)
		}
		return true
	})
	return found
}

func (t *tree) sleeps(f *file, decl ast.Decl) (found []ast.Node) {
	ast.Inspect(decl, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok && len(t.uses(f, selector, "time", "Sleep")) > 0 {
			found = append(found, selector)
		}
		return true
	})
	return found
}

// skips finds t.Skip and its kin on anything that is called like a testing.TB.
func (t *tree) skips(decl ast.Decl) (found []violation) {
	ast.Inspect(decl, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, selector.Sel.Name) {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name) {
			found = append(found, violation{t.at(selector), x.Name + "." + selector.Sel.Name})
		}
		return true
	})
	return found
}
