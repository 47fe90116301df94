package store

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// NodeConfig is what people set of a node. It never changes.
type NodeConfig struct {
	Labels map[string]string
	Drain  bool
	// Revision is the ModRevision; 0 in a configuration that is not stored.
	Revision int64
}

// GetNodeConfig reads what is set of a node. Error: [ErrNotFound].
func (s *Store) GetNodeConfig(ctx context.Context, node string) (*NodeConfig, error) {
	defer s.observe("get_node_config")()
	c, err := s.getNodeConfig(ctx, node)
	return c, wrapNode("get configuration of", node, err)
}

func wrapNode(operation, node string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s node %q: %w", operation, node, clean(err))
}

func (s *Store) getNodeConfig(ctx context.Context, node string) (*NodeConfig, error) {
	resp, err := s.kv.Get(ctx, s.keys.nodeConfig(node))
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 {
		return nil, ErrNotFound
	}
	return decodeNodeConfig(node, resp.Kvs[0])
}

func decodeNodeConfig(node string, kv *mvccpb.KeyValue) (*NodeConfig, error) {
	m := &storev1.NodeConfig{}
	if err := unmarshal(kv.Value, m); err != nil {
		return nil, &DecodeError{"configuration of " + lb.NodeName(node), err}
	}
	return &NodeConfig{Labels: m.Labels, Drain: m.Drain, Revision: kv.ModRevision}, nil
}

// ListNodeConfigs reads what is set of all nodes, by name, as it was at the revision it gives. One that cannot be read is a fault.
func (s *Store) ListNodeConfigs(ctx context.Context) (configs map[string]*NodeConfig, revision int64, faults []Fault, err error) {
	defer s.observe("list_node_configs")()
	from := s.keys.nodeConfigs()
	configs = make(map[string]*NodeConfig)
	revision, err = s.scan(ctx, from, clientv3.GetPrefixRangeEnd(from), 0, func(kv *mvccpb.KeyValue) error {
		node := strings.TrimPrefix(string(kv.Key), from)
		if c, err := decodeNodeConfig(node, kv); err != nil {
			faults = append(faults, Fault{lb.NodeName(node), err})
		} else {
			configs[node] = c
		}
		return nil
	})
	if err != nil {
		return nil, 0, nil, fmt.Errorf("store: list configurations of nodes: %w", clean(err))
	}
	return configs, revision, faults, nil
}

// PutNodeConfig sets what is set of a node, where its revision is still c.Revision; 0: where nothing is set. It gives what is
// stored now, which is c itself where that changes nothing. Errors: [ErrConflict], [*TooLargeError].
func (s *Store) PutNodeConfig(ctx context.Context, node string, c *NodeConfig) (*NodeConfig, error) {
	defer s.observe("put_node_config")()
	stored, err := s.putNodeConfig(ctx, node, c)
	return stored, wrapNode("configure", node, err)
}

func (s *Store) putNodeConfig(ctx context.Context, node string, c *NodeConfig) (*NodeConfig, error) {
	if err := lb.ValidNodeName(node); err != nil {
		return nil, err
	}
	value := canon.Marshal(&storev1.NodeConfig{SchemaVersion: SchemaVersion, Labels: c.Labels, Drain: c.Drain})
	if len(value) > s.limits.value {
		return nil, &TooLargeError{Object: "configuration of " + lb.NodeName(node), Size: len(value), Limit: s.limits.value}
	}
	key := s.keys.nodeConfig(node)
	same := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "=", string(value))}, nil, []clientv3.Op{clientv3.OpPut(key, string(value))})
	resp, err := s.kv.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", c.Revision)).Then(same).Commit()
	if err != nil {
		return nil, err
	}
	if !resp.Succeeded {
		s.metrics.conflicts.WithLabelValues("head").Inc()
		return nil, ErrConflict
	}
	if resp.Responses[0].GetResponseTxn().GetSucceeded() {
		return c, nil
	}
	return &NodeConfig{Labels: maps.Clone(c.Labels), Drain: c.Drain, Revision: resp.Header.GetRevision()}, nil
}

// DeleteNodeConfig forgets what is set of a node, where its revision is still that one. Errors: [ErrConflict], [ErrNotFound].
func (s *Store) DeleteNodeConfig(ctx context.Context, node string, revision int64) error {
	defer s.observe("delete_node_config")()
	return wrapNode("forget the configuration of", node, s.deleteNodeConfig(ctx, node, revision))
}

func (s *Store) deleteNodeConfig(ctx context.Context, node string, revision int64) error {
	key := s.keys.nodeConfig(node)
	resp, err := s.kv.Txn(ctx).If(
		clientv3.Compare(clientv3.ModRevision(key), "=", revision), clientv3.Compare(clientv3.Version(key), ">", 0),
	).Then(clientv3.OpDelete(key), clientv3.OpPut(s.keys.deleted(), lb.NodeName(node))).Else(clientv3.OpGet(key, clientv3.WithKeysOnly())).Commit()
	switch {
	case err != nil:
		return err
	case resp.Succeeded:
		return nil
	case len(resp.Responses[0].GetResponseRange().GetKvs()) == 0:
		return ErrNotFound
	default:
		return ErrConflict
	}
}

// Limits of a node's report.
const (
	maxReportBytes = 64 << 10
	maxReportItems = 256
)

// bounded gives a report whose lists hold at most 256 items each, and as many fewer as it takes to stay below 64 KiB. The counts
// beside the lists stay what they are.
func bounded(r *storev1.NodeReport) ([]byte, error) {
	short := func(most int) *storev1.NodeReport {
		return &storev1.NodeReport{
			SchemaVersion: SchemaVersion, Node: r.Node, Labels: r.Labels, SoftwareVersion: r.SoftwareVersion,
			Capabilities: r.Capabilities[:min(most, len(r.Capabilities))], Address: r.Address, Controller: r.Controller,
			ConnectedUs: r.ConnectedUs, ReportedUs: r.ReportedUs, Cluster: r.Cluster,
			AckedRevision: r.AckedRevision, AckedDigest: r.AckedDigest,
			Errors: r.Errors[:min(most, len(r.Errors))], ErrorCount: r.ErrorCount,
			Down: r.Down[:min(most, len(r.Down))], DownCount: r.DownCount,
			Listeners: r.Listeners[:min(most, len(r.Listeners))],
			ReadyVips: r.ReadyVips[:min(most, len(r.ReadyVips))], Draining: r.Draining,
		}
	}
	for most := maxReportItems; ; most /= 2 {
		if value := canon.Marshal(short(most)); len(value) <= maxReportBytes {
			return value, nil
		} else if most == 0 {
			return nil, &TooLargeError{Object: "report of " + lb.NodeName(r.Node), Size: len(value), Limit: maxReportBytes}
		}
	}
}

func decodeNodeReport(node string, value []byte) (*storev1.NodeReport, error) {
	m := &storev1.NodeReport{}
	if err := unmarshal(value, m); err != nil {
		return nil, &DecodeError{"report of " + lb.NodeName(node), err}
	}
	return m, nil
}
