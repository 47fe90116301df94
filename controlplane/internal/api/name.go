package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// wildcard stands for every object of a collection in the parent of a list (AIP-159).
const wildcard = "-"

// pattern is the form of one kind's full names: its collections, outermost first.
type pattern []string

// Forms of all full names.
var (
	projectPattern      = pattern{"projects"}
	loadBalancerPattern = pattern{"projects", "loadBalancers"}
	listenerPattern     = pattern{"projects", "loadBalancers", "listeners"}
	poolPattern         = pattern{"projects", "loadBalancers", "pools"}
	backendPattern      = pattern{"projects", "loadBalancers", "pools", "backends"}
	healthCheckPattern  = pattern{"projects", "loadBalancers", "pools", "healthChecks"}
	policyPattern       = pattern{"projects", "loadBalancers", "listeners", "l7Policies"}
	rulePattern         = pattern{"projects", "loadBalancers", "listeners", "l7Policies", "rules"}
	certificatePattern  = pattern{"projects", "loadBalancers", "certificates"}
	nodePattern         = pattern{"nodes"}
)

// ids are the short names in a full name, outermost first: project, load balancer, and so on.
type ids []string

// parent is the form of the names one level up.
func (p pattern) parent() pattern { return p[:len(p)-1] }

// String shows the form, "projects/PROJECT/loadBalancers/LOAD_BALANCER".
func (p pattern) String() string {
	var b strings.Builder
	for i, collection := range p {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(collection + "/")
		singular := strings.TrimSuffix(collection, "s")
		if head, ok := strings.CutSuffix(collection, "ies"); ok {
			singular = head + "y"
		}
		for _, r := range singular {
			if 'A' <= r && r <= 'Z' {
				b.WriteByte('_')
			}
			b.WriteString(strings.ToUpper(string(r)))
		}
	}
	return b.String()
}

// format is the inverse of parse.
func (p pattern) format(names ids) string {
	var b strings.Builder
	for i, collection := range p {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(collection + "/" + names[i])
	}
	return b.String()
}

// parse splits a full name of this form. With wild, any short name may be the wildcard. The error says what is wrong in words
// that follow the name of the request's field.
func (p pattern) parse(full string, wild bool) (ids, error) {
	if full == "" {
		return nil, fmt.Errorf("required: give %s", p)
	}
	segments := strings.Split(full, "/")
	if len(segments) != 2*len(p) {
		return nil, fmt.Errorf("%q is not of the form %s", full, p)
	}
	names := make(ids, 0, len(p))
	for i, collection := range p {
		if segments[2*i] != collection {
			return nil, fmt.Errorf("%q is not of the form %s", full, p)
		}
		name := segments[2*i+1]
		if name == wildcard && wild {
			names = append(names, name)
			continue
		}
		valid := lb.ValidName
		if collection == "nodes" {
			valid = lb.ValidNodeName
		}
		if err := valid(name); err != nil {
			return nil, fmt.Errorf("%q: %w", full, err)
		}
		names = append(names, name)
	}
	return names, nil
}

// matches tells whether names lie under the parent that has wildcards.
func (parent ids) matches(names ids) bool {
	for i, name := range parent {
		if name != wildcard && name != names[i] {
			return false
		}
	}
	return true
}

// hasWildcard tells whether any of the first n names is the wildcard.
func (names ids) hasWildcard(n int) bool { return slices.Contains(names[:n], wildcard) }
