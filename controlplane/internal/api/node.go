package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	nodestatus "github.com/fiberlb/fiberlb/controlplane/internal/status"
	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// Bounds of what people may set of a node; those of all objects.
const (
	maxLabels    = 64
	maxLabelText = 255 // bytes of a key or a value
)

type nodeService struct {
	fiberlbv1.UnimplementedNodeServiceServer
	s *Server
}

// nodeMessage joins what people set of a node with what it reports; either may be nil.
func nodeMessage(name string, config *store.NodeConfig, live *nodestatus.Node) *fiberlbv1.Node {
	m := &fiberlbv1.Node{Name: name, FullName: lb.NodeName(name)}
	if config != nil {
		m.Labels, m.Drain = maps.Clone(config.Labels), config.Drain
	}
	m.Etag = nodeEtag(m)
	if live == nil {
		return m
	}
	r := live.Report
	m.Connected = true
	m.ReportedLabels = r.GetLabels()
	m.SoftwareVersion = r.GetSoftwareVersion()
	m.Capabilities = r.GetCapabilities()
	m.Revision = r.GetAckedRevision()
	if r.GetAckedRevision() != 0 {
		m.Version = fmt.Sprintf("%d/%s", r.GetAckedRevision(), hex.EncodeToString(r.GetAckedDigest()))
	}
	if r.GetReportedUs() != 0 {
		m.LastSeen = timestamppb.New(time.UnixMicro(r.GetReportedUs()))
	}
	m.Errors = slices.Concat(r.GetErrors(), r.GetListeners())
	m.Address, m.Controller = r.GetAddress(), r.GetController()
	for _, fault := range r.GetDown() {
		m.Down = append(m.Down, fault.GetResource()+": "+fault.GetMessage())
	}
	m.DownCount = r.GetDownCount()
	return m
}

// nodeEtag is a hash over what people set.
func nodeEtag(m *fiberlbv1.Node) string {
	sum := sha256.Sum256(canon.Marshal(&storev1.NodeConfig{Labels: m.GetLabels(), Drain: m.GetDrain()}))
	return hex.EncodeToString(sum[:16])
}

// node finds what is known of a node; what is set is nil where nothing is.
func (s *Server) node(ctx context.Context, full string) (string, *store.NodeConfig, *nodestatus.Node, error) {
	names, err := nodePattern.parse(full, false)
	if err != nil {
		return "", nil, nil, fieldError("name", "%v", err)
	}
	live := s.status.Fleet().Node(names[0])
	config, err := s.store.GetNodeConfig(ctx, names[0])
	switch {
	case errors.Is(err, store.ErrNotFound) && live == nil:
		return "", nil, nil, status.Errorf(codes.NotFound, "node %q: not found: it is not connected, and nothing is set of it", full)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return "", nil, nil, s.answer(err)
	}
	return names[0], config, live, nil
}

func (v nodeService) GetNode(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Node, error) {
	name, config, live, err := v.s.node(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return nodeMessage(name, config, live), nil
}

// ListNodes gives nodes by name. What nodes report is never more than of this moment, so that its pages are not pinned.
func (v nodeService) ListNodes(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListNodesResponse, error) {
	const scope = "nodes"
	if req.GetParent() != "" {
		return nil, fieldError("parent", "%q: nodes have no parent; leave it empty", req.GetParent())
	}
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	token, err := decodePageToken(req.GetPageToken(), scope)
	if err != nil || len(token.key) > 1 {
		return nil, fieldError("page_token", "%v", errToken)
	}
	configs, revision, faults, err := v.s.store.ListNodeConfigs(ctx)
	if err != nil {
		return nil, v.s.answer(err)
	}
	for _, fault := range faults {
		v.s.log.Error("what is set of a node is left out of a list: it cannot be read", "node", fault.Name, "error", fault.Err)
	}
	fleet := v.s.status.Fleet()
	names := slices.Collect(maps.Keys(configs))
	for _, live := range fleet.Nodes() {
		if configs[live.Name] == nil {
			names = append(names, live.Name)
		}
	}
	slices.Sort(names)
	if len(token.key) == 1 {
		i, found := slices.BinarySearchFunc(names, token.key[0], cmp.Compare[string])
		if found {
			i++
		}
		names = names[i:]
	}
	out := &fiberlbv1.ListNodesResponse{}
	if len(names) > size {
		names = names[:size]
		out.NextPageToken = pageToken{revision: revision, key: ids{names[size-1]}}.encode(scope)
	}
	for _, name := range names {
		out.Nodes = append(out.Nodes, nodeMessage(name, configs[name], fleet.Node(name)))
	}
	return out, nil
}

// UpdateNode writes labels and drain. A request with an ID whose wish is fulfilled already is answered as the first, whatever
// its etag.
func (v nodeService) UpdateNode(ctx context.Context, req *fiberlbv1.UpdateNodeRequest) (*fiberlbv1.Node, error) {
	if req.GetNode() == nil {
		return nil, fieldError("node", "required")
	}
	etag, err := condition(req.GetEtag(), req.GetNode().GetEtag(), "node")
	if err != nil {
		return nil, err
	}
	var out *fiberlbv1.Node
	err = v.s.swap(ctx, "nodes", req.GetName(), req, func(store.Request) error {
		name, config, live, err := v.s.node(ctx, req.GetName())
		if err != nil {
			return err
		}
		present := nodeMessage(name, config, live)
		next := proto.CloneOf(present)
		masked := update{
			target: next.ProtoReflect(), source: req.GetNode().ProtoReflect(), noun: "node", field: "node",
			immutable: []protoreflect.Name{"name"}, derived: maskIsDerived(ctx),
		}
		violations := append(masked.apply(req.GetUpdateMask()), checkLabels("node.labels", next.GetLabels())...)
		if len(violations) > 0 {
			return violationsError(violations)
		}
		done := req.GetRequestId() != "" && nodeEtag(next) == present.GetEtag()
		if etag != "" && etag != present.GetEtag() && !done {
			return etagMismatch("node", req.GetName(), etag, present.GetEtag())
		}
		after := &store.NodeConfig{Labels: next.GetLabels(), Drain: next.GetDrain()}
		if config != nil {
			after.Revision = config.Revision
		}
		if !req.GetValidateOnly() {
			if after, err = v.s.store.PutNodeConfig(ctx, name, after); err != nil {
				return err
			}
		}
		out = nodeMessage(name, after, live)
		return nil
	})
	return out, err
}

// DeleteNode forgets what people set of a node that is gone.
func (v nodeService) DeleteNode(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	err := v.s.swap(ctx, "nodes", req.GetName(), req, func(store.Request) error {
		name, config, live, err := v.s.node(ctx, req.GetName())
		if err != nil {
			return err
		}
		if live != nil {
			return precondition("node %q: connected; what is set of it is forgotten only after it is gone", req.GetName())
		}
		if present := nodeMessage(name, config, nil).GetEtag(); req.GetEtag() != "" && req.GetEtag() != present {
			return etagMismatch("node", req.GetName(), req.GetEtag(), present)
		}
		if req.GetValidateOnly() {
			return nil
		}
		return v.s.store.DeleteNodeConfig(ctx, name, config.Revision)
	})
	if status.Code(err) == codes.NotFound && req.GetAllowMissing() {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// checkLabels holds labels against the bounds of all objects.
func checkLabels(path string, labels map[string]string) lb.Violations {
	var found lb.Violations
	if len(labels) > maxLabels {
		found = append(found, lb.Violation{Path: path, Problem: fmt.Sprintf("has %d entries, more than %d", len(labels), maxLabels)})
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		for _, text := range []string{key, labels[key]} {
			if len(text) > maxLabelText {
				found = append(found, lb.Violation{Path: path, Problem: fmt.Sprintf("%.40q... has %d bytes, more than %d", text, len(text), maxLabelText)})
			}
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				found = append(found, lb.Violation{Path: path, Problem: fmt.Sprintf("%.40q has a control character", text)})
			}
		}
		if key == "" {
			found = append(found, lb.Violation{Path: path, Problem: "has an empty key"})
		}
	}
	return found
}
