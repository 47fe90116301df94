package api

import (
	"context"
	"errors"
	"strings"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// scanLimit is how many load balancers a list of their children reads at a time.
const scanLimit = 64

// page visits one page of the load balancers of a project, or of all, and gives the token of the next.
func (s *Server) page(ctx context.Context, parent ids, scope string, asked uint32, text string, visit func(*store.Entry)) (string, error) {
	size, err := pageSize(asked)
	if err != nil {
		return "", err
	}
	token, err := decodePageToken(text, scope)
	if err != nil || !token.within(loadBalancerPattern, parent[:1]) {
		return "", fieldError("page_token", "%v", errToken)
	}
	options := store.ListOptions{Project: projectOf(parent), Limit: size, Revision: token.revision}
	if len(token.key) == 2 {
		options.After = token.key[0] + "/" + token.key[1]
	}
	page, err := s.store.List(ctx, options)
	if err != nil {
		return "", s.answer(err)
	}
	s.tellFaults(page)
	for _, entry := range page.Entries {
		visit(entry)
	}
	project, name, more := strings.Cut(page.Next, "/")
	if !more {
		return "", nil
	}
	return pageToken{revision: page.Revision, key: ids{project, name}}.encode(scope), nil
}

// projectOf is the project for a list of the store: none for the wildcard.
func projectOf(parent ids) string {
	if parent[0] == wildcard {
		return ""
	}
	return parent[0]
}

// tellFaults logs what a list leaves out because it cannot be read.
func (s *Server) tellFaults(page *store.Page) {
	for _, fault := range page.Faults {
		s.log.Error("load balancer is left out of a list: it cannot be read", "load_balancer", fault.Name, "error", fault.Err)
	}
}

// scan visits load balancers that match the first two names of a parent, from the one on that a page token stops in, as they
// were at the token's revision, until visit says that it has enough. It gives the revision to which the next page is pinned.
func (s *Server) scan(ctx context.Context, parent ids, token pageToken, visit func(*fiberlbv1.LoadBalancerConfig) bool) (int64, error) {
	single := !parent.hasWildcard(2)
	if single && token.revision == 0 {
		entry, err := s.store.Get(ctx, parent[0], parent[1])
		if errors.Is(err, store.ErrNotFound) {
			return 0, missingParent(loadBalancerPattern, parent[:2])
		}
		if err != nil {
			return 0, s.answer(err)
		}
		visit(s.complete(entry))
		// At the revision of its last write, the load balancer is what it is now.
		return entry.Revision, nil
	}
	first := token.key
	if single {
		first = parent[:2]
	}
	options := store.ListOptions{Project: projectOf(parent), Limit: scanLimit, Revision: token.revision}
	if len(first) >= 2 {
		options.After = before(first)
	}
	for {
		page, err := s.store.List(ctx, options)
		if err != nil {
			return 0, s.answer(err)
		}
		s.tellFaults(page)
		for _, entry := range page.Entries {
			key := ids{entry.LB.Project, entry.LB.Name}
			if len(first) >= 2 && stored(key) < stored(first) || !parent[:2].matches(key) {
				continue
			}
			if !visit(s.complete(entry)) || single {
				return page.Revision, nil
			}
		}
		if page.Next == "" {
			return page.Revision, nil
		}
		options.After, options.Revision = page.Next, page.Revision
	}
}

// stored is a load balancer's key as the store sorts it.
func stored(names ids) string { return names[0] + "/" + names[1] + "/" }

// before gives a place to list after that lies shortly before the load balancer: the name without its last character, whose
// keys end before any longer one begins, or a hyphen, which sorts before every name.
func before(names ids) string {
	short := names[1][:len(names[1])-1]
	if short == "" {
		short = "-"
	}
	return names[0] + "/" + short
}

// exportScope reads the name of an export or a watch: one load balancer, a project, or all.
func exportScope(name string) (ids, error) {
	if name == "" {
		return ids{wildcard, wildcard}, nil
	}
	form := loadBalancerPattern
	if strings.Count(name, "/") < 2 {
		form = projectPattern
	}
	names, err := form.parse(name, true)
	if err != nil {
		return nil, fieldError("name", "%v", err)
	}
	if len(names) == 1 {
		names = append(names, wildcard)
	}
	return names, nil
}
