package arch

import (
	"slices"
	"strings"
	"testing"
)

// rule is one sentence of the design, why it stands, and how it is checked.
type rule struct {
	name  string
	why   string
	check func(*tree) []violation
}

var domains = []string{"controlplane", "dataplane", "bgpagent"}

// owned are modules that only some folders may import, so that each can be replaced, and tested without, in one place.
var owned = []struct {
	name     string
	modules  []string
	folders  []string
	whyOwned string
}{
	{
		"etcd", []string{"go.etcd.io"},
		[]string{"controlplane/internal/store", "controlplane/internal/etcdserver", "cmd/fiberlb-dev"},
		"the store is the only place that knows how objects lie in etcd; everybody else sees objects and revisions, and the data plane must never need etcd",
	},
	{
		"GoBGP", []string{"github.com/osrg/gobgp"},
		[]string{"bgpagent/internal/speaker", "cmd/fiberlb-dev"},
		"the BGP speaker is a sidecar behind one small interface, so that a new GoBGP, or another speaker, changes one package",
	},
	{
		"eBPF", []string{"github.com/cilium/ebpf"},
		[]string{"dataplane/internal/l4/xdp"},
		"the forwarder in the kernel is optional, and a node without its privileges must not even link it into decisions",
	},
}

// pure are the packages whose result depends on their arguments alone.
var pure = []string{"pkg/lb", "pkg/compile", "pkg/route", "pkg/maglev", "bgpagent/internal/advertise"}

var importRules = []rule{
	{
		"domains",
		"controlplane, dataplane and bgpagent run in different processes and are released and restarted apart: what two of them share belongs into pkg or proto, never into one of them",
		checkDomains,
	},
	{
		"pkg",
		"pkg is what every domain stands on: an import of a domain or a command turns the layers upside down",
		checkPkg,
	},
	{
		"tests",
		"what is below test/ or named <package>test is made for tests and must not get into a binary",
		checkTestSupport,
	},
	{
		"vocabulary",
		"pkg/lb is the vocabulary that everything imports: the standard library is all it may cost",
		checkVocabulary,
	},
	{
		"pure imports",
		"every node must come to the same result from the same input: no I/O, no network, no log and nothing random in pure packages",
		checkPureImports,
	},
}

func checkDomains(t *tree) (found []violation) {
	for _, f := range t.files {
		for _, i := range f.imports {
			if home, other := domainOf(f.dir), domainOf(i.path); i.inside && home != "" && other != "" && home != other {
				found = append(found, violation{t.at(i.spec), home + " imports " + i.path})
			}
		}
	}
	return found
}

// domainOf is the domain that a folder belongs to, or empty.
func domainOf(dir string) string {
	for _, domain := range domains {
		if within(dir, domain) {
			return domain
		}
	}
	return ""
}

func checkPkg(t *tree) (found []violation) {
	for _, f := range t.files {
		for _, i := range f.imports {
			if i.inside && within(f.dir, "pkg", "proto") && (domainOf(i.path) != "" || within(i.path, "cmd")) {
				found = append(found, violation{t.at(i.spec), f.dir + " imports " + i.path})
			}
		}
	}
	return found
}

func checkTestSupport(t *tree) (found []violation) {
	for _, f := range t.files {
		for _, i := range f.imports {
			if i.inside && !f.isTest() && isTestSupport(i.path) {
				found = append(found, violation{t.at(i.spec), f.dir + " imports " + i.path})
			}
		}
	}
	return found
}

func checkVocabulary(t *tree) (found []violation) {
	for _, f := range t.files {
		if f.isTest() || f.dir != "pkg/lb" {
			continue
		}
		for _, i := range f.imports {
			if first, _, _ := strings.Cut(i.path, "/"); i.inside || strings.Contains(first, ".") {
				found = append(found, violation{t.at(i.spec), "pkg/lb imports " + i.path})
			}
		}
	}
	return found
}

func checkPureImports(t *tree) (found []violation) {
	banned := []string{
		"os", "net", "log", "syscall", "golang.org/x/sys", "google.golang.org/grpc", "github.com/hashicorp/go-hclog",
		"math/rand", "crypto/rand", "hash/maphash",
	}
	for _, f := range t.files {
		if f.isTest() || !within(f.dir, pure...) {
			continue
		}
		for _, i := range f.imports {
			// Of the packages below net these two are values and parsers; the others open connections or import net.
			if !i.inside && within(i.path, banned...) && i.path != "net/netip" && i.path != "net/url" {
				found = append(found, violation{t.at(i.spec), f.dir + " imports " + i.path})
			}
		}
	}
	return found
}

// checkOwned finds imports of modules outside the folders that own them. Tests may bring up the real thing where they need it.
func checkOwned(t *tree, modules, folders []string) (found []violation) {
	for _, f := range t.files {
		if f.isTest() || within(f.dir, folders...) {
			continue
		}
		for _, i := range f.imports {
			if !i.inside && within(i.path, modules...) {
				found = append(found, violation{t.at(i.spec), f.dir + " imports " + i.path})
			}
		}
	}
	return found
}

// rules are all rules on source.
func rules() []rule {
	all := slices.Concat(importRules, sourceRules)
	for _, o := range owned {
		all = append(all, rule{
			o.name + " only in " + strings.Join(o.folders, ", "), o.whyOwned,
			func(t *tree) []violation { return checkOwned(t, o.modules, o.folders) },
		})
	}
	return all
}

func TestSource(t *testing.T) {
	t.Parallel()
	tree := load(t)
	for _, rule := range rules() {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			for _, violation := range rule.check(tree) {
				t.Errorf("%s\n\twhy not: %s", violation, rule.why)
			}
		})
	}
}
