package tlsid

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"slices"
	"testing"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cn   string
		dns  []string
		uris []string

		isNode bool
		mayBe  []string
		mayNot []string
	}{
		{
			name: "node by fiberlb URI", cn: "other", dns: []string{"third"}, uris: []string{"fiberlb://node/n1"},
			isNode: true, mayBe: []string{"n1"}, mayNot: []string{"other", "third", "n2", "", "node/n1"},
		},
		{
			name: "node by SPIFFE ID", uris: []string{"spiffe://cloud.example/fiberlb/node/n1"},
			isNode: true, mayBe: []string{"n1"}, mayNot: []string{"cloud.example", "n2"},
		},
		{
			name: "two nodes", uris: []string{"fiberlb://node/n1", "spiffe://cloud.example/fiberlb/node/n2"},
			isNode: true, mayBe: []string{"n1", "n2"}, mayNot: []string{"n3"},
		},
		{
			name: "no URI", cn: "n1", dns: []string{"n1.example", "n2"},
			mayBe: []string{"n1", "n1.example", "n2"}, mayNot: []string{"n3", "", "N1", "n1.exampl"},
		},
		{
			name: "foreign URI", cn: "n1", uris: []string{"spiffe://cloud.example/ns/lb/sa/api", "https://x.example/fiberlb/node/n9"},
			mayBe: []string{"n1"}, mayNot: []string{"n9", "api"},
		},
		{name: "another service of ours", cn: "n1", uris: []string{"spiffe://cloud.example/fiberlb/nodepool/n9"}, mayBe: []string{"n1"}, mayNot: []string{"n9"}},
		{name: "empty common name", dns: []string{"n1"}, mayBe: []string{"n1"}, mayNot: []string{""}},
		// A slip in a node's URI leaves a node that may be nobody.
		{name: "no node name", cn: "n1", uris: []string{"fiberlb://node/"}, isNode: true, mayNot: []string{"n1", ""}},
		{name: "no node path", cn: "n1", uris: []string{"fiberlb://node"}, isNode: true, mayNot: []string{"n1", ""}},
		{name: "no SPIFFE node name", cn: "n1", uris: []string{"spiffe://cloud.example/fiberlb/node"}, isNode: true, mayNot: []string{"n1"}},
		{name: "deeper path", cn: "n1", uris: []string{"fiberlb://node/n1/x"}, isNode: true, mayNot: []string{"n1", "n1/x", "x"}},
		{name: "query", cn: "n1", uris: []string{"fiberlb://node/n1?x"}, isNode: true, mayNot: []string{"n1"}},
		{name: "user", cn: "n1", uris: []string{"fiberlb://root@node/n1"}, isNode: true, mayNot: []string{"n1"}},
		{name: "port", cn: "n1", uris: []string{"fiberlb://node:1/n1"}, isNode: true, mayNot: []string{"n1"}},
		{name: "escaped slash", cn: "n1", uris: []string{"fiberlb://node/n1%2Fx"}, isNode: true, mayNot: []string{"n1", "n1/x"}},
		{name: "upper-case host", cn: "n1", uris: []string{"fiberlb://NODE/n2"}, isNode: true, mayBe: []string{"n2"}, mayNot: []string{"n1"}},
		{name: "no trust domain", cn: "n1", uris: []string{"spiffe:///fiberlb/node/n1"}, isNode: true, mayNot: []string{"n1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			leaf := &x509.Certificate{Subject: pkix.Name{CommonName: test.cn}, DNSNames: test.dns}
			for _, text := range test.uris {
				uri, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				leaf.URIs = append(leaf.URIs, uri)
			}
			id := identify(leaf)
			if id.IsNode() != test.isNode {
				t.Errorf("IsNode = %t", id.IsNode())
			}
			for _, name := range test.mayBe {
				if !id.MayActAsNode(name) {
					t.Errorf("may not act as %q", name)
				}
			}
			for _, name := range test.mayNot {
				if id.MayActAsNode(name) {
					t.Errorf("may act as %q", name)
				}
			}
		})
	}
}

func TestLocalMayBeAnyNode(t *testing.T) {
	t.Parallel()
	id := Identity{Local: true}
	if !id.MayActAsNode("n1") || id.MayActAsNode("") || id.IsNode() || id.String() != "local" {
		t.Errorf("local peer: may be n1 %t, may be nobody %t, node %t, called %q", id.MayActAsNode("n1"), id.MayActAsNode(""), id.IsNode(), id)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	id := Identity{CommonName: "n1", DNSNames: []string{"n1", "n1.example"}, URIs: []string{"fiberlb://node/n1"}}
	if got, want := id.Names(), []string{"n1", "n1.example", "fiberlb://node/n1"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if id.String() != "n1,n1.example,fiberlb://node/n1" {
		t.Errorf("called %q", id)
	}
}
