package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// orphans are the children that the last sweep found listed by no head.
type orphans struct {
	mu   sync.Mutex
	seen map[string]int64 // key -> ModRevision; guarded by mu
}

// Sweep removes the children that interrupted writes left behind: those that no head lists, in this sweep and in the one before,
// and that were not written again in between. A write under way is not harmed, whatever its speed: the guard tells it. Sweep gives
// the number of children removed.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	defer s.observe("sweep")()
	s.orphans.mu.Lock()
	defer s.orphans.mu.Unlock()
	found := make(map[string]int64)
	removed := 0
	var open Key
	var children map[string]int64 // key -> ModRevision
	flush := func() error {
		if len(children) == 0 {
			return nil
		}
		n, err := s.sweepOne(ctx, open, children, found)
		removed += n
		return err
	}
	from := s.keys.lbs()
	_, err := s.scan(ctx, from, clientv3.GetPrefixRangeEnd(from), 0, func(kv *mvccpb.KeyValue) error {
		key, suffix, ok := s.keys.split(string(kv.Key))
		if !ok {
			return nil
		}
		if key != open {
			if err := flush(); err != nil {
				return err
			}
			open, children = key, make(map[string]int64)
		}
		if suffix != headName {
			children[string(kv.Key)] = kv.ModRevision
		}
		return nil
	}, clientv3.WithKeysOnly())
	if err == nil {
		err = flush()
	}
	if removed > 0 {
		s.metrics.swept.Add(float64(removed))
		s.log.Info("removed what interrupted writes left behind", "children", removed)
	}
	if err != nil {
		return removed, fmt.Errorf("store: sweep: %w", clean(err))
	}
	s.orphans.seen = found
	return removed, nil
}

// sweepOne looks at the children of one load balancer, adds those that no head lists to found, and removes those which the
// sweep before saw too.
func (s *Store) sweepOne(ctx context.Context, key Key, children, found map[string]int64) (int, error) {
	resp, err := s.kv.Get(ctx, s.keys.head(key))
	if err != nil {
		return 0, err
	}
	head := &storev1.Head{}
	revision := int64(0)
	if len(resp.Kvs) > 0 {
		revision = resp.Kvs[0].ModRevision
		if proto.Unmarshal(resp.Kvs[0].Value, head) != nil || head.SchemaVersion > SchemaVersion {
			return 0, nil // who knows what it lists
		}
	}
	for _, ref := range head.Children {
		id, err := idOf(ref)
		if err != nil {
			return 0, nil
		}
		delete(children, s.keys.child(key, id))
	}
	var gone []string
	for child, modified := range children {
		if before, ok := s.orphans.seen[child]; ok && before == modified {
			gone = append(gone, child)
		} else {
			found[child] = modified
		}
	}
	slices.Sort(gone)
	removed := 0
	for chunk := range slices.Chunk(gone, s.limits.chunkOps) {
		compares := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(s.keys.head(key)), "=", revision)}
		ops := []clientv3.Op{clientv3.OpPut(s.keys.swept(), key.String())}
		for _, child := range chunk {
			compares = append(compares, clientv3.Compare(clientv3.ModRevision(child), "=", children[child]))
			ops = append(ops, clientv3.OpDelete(child))
		}
		resp, err := s.kv.Txn(ctx).If(compares...).Then(ops...).Commit()
		if err != nil {
			return removed, err
		}
		if !resp.Succeeded {
			// Somebody writes here: the next sweep looks again.
			maps.DeleteFunc(found, func(child string, _ int64) bool { _, ours := children[child]; return ours })
			return removed, nil
		}
		removed += len(chunk)
	}
	return removed, nil
}

// RunSweeper sweeps at an interval until ctx ends. One for each controller is plenty.
func (s *Store) RunSweeper(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if _, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("sweep was cut short", "error", err)
			}
		}
	}
}
