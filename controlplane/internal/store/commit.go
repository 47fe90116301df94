package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// child is one version of one child with its value.
type child struct {
	childID
	value []byte
}

// write is one change of one load balancer, ready to be carried out.
type write struct {
	key      Key
	expect   int64 // ModRevision of the head that it replaces; 0: there is none
	head     []byte
	puts     []child   // children that the old head does not list
	drops    []childID // children that the new head does not list
	claims   []netip.Addr
	releases []netip.Addr
	request  Request

	// held are claims of this very load balancer that lie there although no head lists the address, with their ModRevision:
	// nothing of this program leaves such, but they would lock their owner out of its own address.
	held map[netip.Addr]int64
}

// guards are the ModRevisions of the two keys that are written whenever children vanish outside of their head's own swap.
type guards struct{ swept, deleted int64 }

// Outcomes of a swap that are handled here.
var (
	errRepeated = errors.New("carried out before")
	errGuard    = errors.New("children may have been removed")
)

// guardAttempts bounds how often a large write checks its children again because somebody else removed some of their own.
const guardAttempts = 50

// commit carries w out and gives the revision of the new head.
func (s *Store) commit(ctx context.Context, w *write) (int64, error) {
	if err := s.checkSizes(w); err != nil {
		return 0, err
	}
	ops, rest := s.headOps(w), s.childOps(w)
	drops := s.dropOps(w.key, w.drops)
	if len(ops)+len(rest)+len(drops) <= s.limits.txnOps && size(ops)+size(rest)+size(drops) <= s.limits.txnBytes {
		return s.swap(ctx, w, slices.Concat(rest, ops, drops), nil)
	}
	// The guards are read before the first child is written: whatever is removed from now on changes one of them.
	g, err := s.readGuards(ctx)
	if err != nil {
		return 0, err
	}
	if err := s.putChildren(ctx, w, w.puts); err != nil {
		return 0, err
	}
	withHead := len(ops)+len(drops) <= s.limits.txnOps && size(ops)+size(drops) <= s.limits.txnBytes
	if withHead {
		ops = append(ops, drops...)
	}
	for range guardAttempts {
		revision, err := s.swap(ctx, w, ops, &g)
		if errors.Is(err, errGuard) {
			if err := s.restore(ctx, w); err != nil {
				return 0, err
			}
			continue
		}
		if err == nil && !withHead {
			s.collect(ctx, w.key, revision, w.drops)
		}
		return revision, err
	}
	return 0, ErrConflict
}

func (s *Store) checkSizes(w *write) error {
	if len(w.head) > s.limits.value {
		return &TooLargeError{Object: w.key.String(), Size: len(w.head), Limit: s.limits.value}
	}
	for _, c := range w.puts {
		if len(c.value) > s.limits.value {
			return &TooLargeError{Object: objectName(w.key, c.childID), Size: len(c.value), Limit: s.limits.value}
		}
	}
	// All claims are compared in the transaction that swaps the head, and comparisons cannot be spread over nested ones;
	// lb.MaxVIPs keeps below that, unless etcd's limit is configured lower.
	if most := s.limits.txnOps - 8; len(w.claims) > most {
		return fmt.Errorf("%d addresses are new, at most %d can be added in one change", len(w.claims), most)
	}
	return nil
}

func (s *Store) headOps(w *write) []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpPut(s.keys.head(w.key), string(w.head))}
	for _, a := range w.claims {
		ops = append(ops, clientv3.OpPut(s.keys.vip(a), w.key.String()))
	}
	for _, a := range w.releases {
		ops = append(ops, clientv3.OpDelete(s.keys.vip(a)))
	}
	return ops
}

func (s *Store) childOps(w *write) []clientv3.Op {
	ops := make([]clientv3.Op, len(w.puts))
	for i, c := range w.puts {
		ops[i] = clientv3.OpPut(s.keys.child(w.key, c.childID), string(c.value))
	}
	return ops
}

func (s *Store) dropOps(key Key, ids []childID) []clientv3.Op {
	ops := make([]clientv3.Op, len(ids))
	for i, id := range ids {
		ops[i] = clientv3.OpDelete(s.keys.child(key, id))
	}
	return ops
}

// opOverhead is what an operation's framing adds to key and value, generously.
const opOverhead = 32

func size(ops []clientv3.Op) int {
	n := 0
	for _, op := range ops {
		n += len(op.KeyBytes()) + len(op.ValueBytes()) + opOverhead
	}
	return n
}

// swap tries the one transaction that makes w visible. With guards, it compares them too, and refreshes them when it fails by
// one of them.
func (s *Store) swap(ctx context.Context, w *write, ops []clientv3.Op, g *guards) (int64, error) {
	for {
		compares := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(s.keys.head(w.key)), "=", w.expect)}
		otherwise := []clientv3.Op{clientv3.OpGet(s.keys.head(w.key))}
		for _, a := range w.claims {
			compares = append(compares, clientv3.Compare(clientv3.ModRevision(s.keys.vip(a)), "=", w.held[a]))
			otherwise = append(otherwise, clientv3.OpGet(s.keys.vip(a)))
		}
		if g != nil {
			compares = append(compares,
				clientv3.Compare(clientv3.ModRevision(s.keys.swept()), "=", g.swept),
				clientv3.Compare(clientv3.ModRevision(s.keys.deleted()), "=", g.deleted))
			otherwise = append(otherwise, clientv3.OpGet(s.keys.swept()), clientv3.OpGet(s.keys.deleted()))
		}
		then := s.pack(ops, max(len(compares), len(otherwise)))
		resp, err := s.kv.Txn(ctx).If(compares...).Then(then...).Else(otherwise...).Commit()
		if err != nil {
			return 0, err
		}
		if resp.Succeeded {
			return resp.Header.GetRevision(), nil
		}
		found := make([]*mvccpb.KeyValue, len(otherwise))
		for i, r := range resp.Responses {
			if kvs := r.GetResponseRange().GetKvs(); len(kvs) > 0 {
				found[i] = kvs[0]
			}
		}
		if err := s.headRefusal(w, found[0]); err != nil {
			return 0, err
		}
		again, err := s.claimRefusal(w, found[1:1+len(w.claims)])
		if err != nil {
			return 0, err
		}
		if g != nil {
			if now := (guards{modRevision(found[1+len(w.claims)]), modRevision(found[2+len(w.claims)])}); now != *g {
				*g = now
				s.metrics.conflicts.WithLabelValues("guard").Inc()
				return 0, errGuard
			}
		}
		if !again {
			return 0, ErrConflict
		}
	}
}

// pack puts operations that are too many for one transaction into nested ones, which are carried out as one with it. etcd grants
// a nested transaction as many operations as the outer one leaves over: the most of its comparisons, operations and alternatives.
func (s *Store) pack(ops []clientv3.Op, busy int) []clientv3.Op {
	if len(ops) <= s.limits.txnOps {
		return ops
	}
	const nested = 16
	var packed []clientv3.Op
	for group := range slices.Chunk(ops, s.limits.txnOps-max(busy, nested)) {
		packed = append(packed, clientv3.OpTxn(nil, group, nil))
	}
	return packed
}

func modRevision(kv *mvccpb.KeyValue) int64 { return kv.GetModRevision() }

// headRefusal tells why the head did not compare equal; nil when it did.
func (s *Store) headRefusal(w *write, head *mvccpb.KeyValue) error {
	if modRevision(head) == w.expect {
		return nil
	}
	if head == nil {
		s.metrics.conflicts.WithLabelValues("head").Inc()
		return ErrNotFound
	}
	// The answer to an earlier try of this request may have got lost.
	stored := &storev1.Head{}
	if w.request.ID != "" && proto.Unmarshal(head.Value, stored) == nil {
		if repeated, err := findRequest(stored, w.request); err != nil {
			return err
		} else if repeated {
			return errRepeated
		}
	}
	if w.expect == 0 {
		s.metrics.conflicts.WithLabelValues("exists").Inc()
		return ErrExists
	}
	s.metrics.conflicts.WithLabelValues("head").Inc()
	return ErrConflict
}

// claimRefusal tells whose an address is; again is true where a claim was our own.
func (s *Store) claimRefusal(w *write, claims []*mvccpb.KeyValue) (again bool, err error) {
	for i, kv := range claims {
		address := w.claims[i]
		if modRevision(kv) == w.held[address] {
			continue
		}
		if kv != nil && string(kv.Value) != w.key.String() {
			s.metrics.conflicts.WithLabelValues("vip").Inc()
			return false, &VIPTakenError{VIP: address.String(), Owner: string(kv.Value)}
		}
		if w.held == nil {
			w.held = make(map[netip.Addr]int64)
		}
		w.held[address] = modRevision(kv)
		again = true
	}
	return again, nil
}

func (s *Store) readGuards(ctx context.Context) (guards, error) {
	resp, err := s.kv.Txn(ctx).Then(clientv3.OpGet(s.keys.swept()), clientv3.OpGet(s.keys.deleted())).Commit()
	if err != nil {
		return guards{}, err
	}
	var revisions [2]int64
	for i, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().GetKvs() {
			revisions[i] = kv.ModRevision
		}
	}
	return guards{revisions[0], revisions[1]}, nil
}

// putChildren writes children in several transactions, each only while the head is still the expected one, so that a write
// which will not succeed stops early.
func (s *Store) putChildren(ctx context.Context, w *write, children []child) error {
	for len(children) > 0 {
		var ops []clientv3.Op
		bytes := 0
		for len(children) > 0 && len(ops) < s.limits.chunkOps {
			op := clientv3.OpPut(s.keys.child(w.key, children[0].childID), string(children[0].value))
			if bytes += size([]clientv3.Op{op}); bytes > s.limits.txnBytes && len(ops) > 0 {
				break
			}
			ops = append(ops, op)
			children = children[1:]
		}
		head := s.keys.head(w.key)
		resp, err := s.kv.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(head), "=", w.expect)).Then(ops...).Else(clientv3.OpGet(head)).Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			var found *mvccpb.KeyValue
			for _, kv := range resp.Responses[0].GetResponseRange().GetKvs() {
				found = kv
			}
			if err := s.headRefusal(w, found); err != nil {
				return err
			}
			return ErrConflict
		}
	}
	return nil
}

// restore writes again those children of w that are gone. What the old head lists cannot be gone while that is the head.
func (s *Store) restore(ctx context.Context, w *write) error {
	prefix := s.keys.lb(w.key)
	resp, err := s.kv.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		there[string(kv.Key)] = true
	}
	var gone []child
	for _, c := range w.puts {
		if !there[s.keys.child(w.key, c.childID)] {
			gone = append(gone, c)
		}
	}
	return s.putChildren(ctx, w, gone)
}

// collect removes children that the head of that revision no longer lists. It is no harm when that does not succeed: the sweep
// finds them. The guard is written with each removal, since another writer may just have put the same child for its own head.
func (s *Store) collect(ctx context.Context, key Key, revision int64, ids []childID) {
	for chunk := range slices.Chunk(ids, s.limits.chunkOps) {
		ops := append(s.dropOps(key, chunk), clientv3.OpPut(s.keys.swept(), key.String()))
		resp, err := s.kv.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(s.keys.head(key)), "=", revision)).Then(ops...).Commit()
		if err != nil {
			s.log.Debug("replaced children stay until the next sweep", "load_balancer", key.String(), "error", err)
			return
		}
		if !resp.Succeeded {
			return
		}
	}
}
