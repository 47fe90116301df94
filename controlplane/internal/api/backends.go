package api

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// ReplaceBackends makes the backends of a pool those of the request. One at an address and port that is there already is that
// backend: it keeps its name, and with it its identity. A new one without a name is named after its address and port.
func (v backendService) ReplaceBackends(ctx context.Context, req *fiberlbv1.ReplaceBackendsRequest) (*fiberlbv1.ListBackendsResponse, error) {
	names, err := poolPattern.parse(req.GetParent(), false)
	if err != nil {
		return nil, fieldError("parent", "%v", err)
	}
	out, err := v.s.write(ctx, writing{
		project: names[0], lb: names[1], request: req,
		edit: func(e *edit) error {
			i := findPool(e.config, names[2])
			if i < 0 {
				return missingParent(poolPattern, names)
			}
			pool := e.config.Pools[i]
			if req.GetEtag() != "" && req.GetEtag() != pool.GetEtag() {
				return etagMismatch("pool", req.GetParent(), req.GetEtag(), pool.GetEtag())
			}
			next, err := replacement(pool.GetBackends(), req.GetBackends())
			if err != nil {
				return err
			}
			pool.Backends = next
			e.name(fmt.Sprintf("pools[%d].backends", i), "backends")
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	pool, err := poolKind.show(v.s, out.entry, names)
	if err != nil {
		return nil, err
	}
	return &fiberlbv1.ListBackendsResponse{Backends: pool.GetBackends()}, nil
}

// replacement gives the backends that are asked for, with the names that they have or get.
func replacement(present, asked []*fiberlbv1.Backend) ([]*fiberlbv1.Backend, error) {
	known := make(map[string]string, len(present))
	for _, b := range present {
		known[endpoint(b)] = b.GetName()
	}
	next := make([]*fiberlbv1.Backend, len(asked))
	for i, b := range asked {
		b = proto.CloneOf(b)
		clearOutput(b.ProtoReflect())
		switch name := known[endpoint(b)]; {
		case name != "" && b.GetName() == "":
			b.Name = name
		case name != "" && b.GetName() != name:
			return nil, fieldError(fmt.Sprintf("backends[%d].name", i),
				"%q: the backend at %s is named %q, and names are immutable; leave the name empty to keep it", b.GetName(), endpoint(b), name)
		case b.GetName() == "":
			b.Name = endpointName(b)
		}
		next[i] = b
	}
	return next, nil
}

// endpoint is the address and port of a backend as text that is the same for all spellings of an address.
func endpoint(b *fiberlbv1.Backend) string {
	address := b.GetAddress()
	if parsed, err := netip.ParseAddr(address); err == nil {
		address = parsed.Unmap().String()
	}
	return fmt.Sprintf("%s port %d", address, b.GetPort())
}

// endpointName is a name for a backend that has none: "b-10-0-0-11-8080".
func endpointName(b *fiberlbv1.Backend) string {
	address, err := netip.ParseAddr(b.GetAddress())
	if err != nil {
		// The address is refused anyway; the name must not be faulty on top of it.
		return "b"
	}
	return "b-" + strings.NewReplacer(".", "-", ":", "-").Replace(address.Unmap().WithZone("").String()) + fmt.Sprintf("-%d", b.GetPort())
}
