package store

import (
	"context"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// ReportBatch is a step in what nodes report. Steps whose receiver is slow are joined into one.
type ReportBatch struct {
	// Reset tells that Reports is everything there is.
	Reset   bool
	Reports map[string]*storev1.NodeReport // by node; nil: gone, as when the controller that wrote it died
}

// WatchReports follows what nodes report until ctx ends, when the channel is closed. The first batch holds everything.
func (s *Store) WatchReports(ctx context.Context) <-chan ReportBatch {
	in, out := make(chan ReportBatch), make(chan ReportBatch)
	v := &reports{store: s, told: make(map[string]int64), emit: func(b ReportBatch) {
		select {
		case in <- b:
		case <-ctx.Done():
		}
	}}
	from := s.keys.nodeReports()
	f := &follower{store: s, name: "reports", from: from, end: clientv3.GetPrefixRangeEnd(from), view: v}
	go func() {
		defer close(in)
		f.run(ctx)
	}()
	var known map[string]bool
	go relay(ctx, in, out, func(older, newer ReportBatch) ReportBatch {
		if newer.Reset {
			return newer
		}
		return ReportBatch{Reset: older.Reset, Reports: joinMaps(older.Reports, newer.Reports, func(node string) bool {
			return !older.Reset && known[node]
		})}
	}, func(b ReportBatch) { known = enter(known, b.Reports, b.Reset) })
	return out
}

// reports is the view behind WatchReports. It belongs to the follower's goroutine.
type reports struct {
	store   *Store
	emit    func(ReportBatch)
	started bool
	told    map[string]int64 // node -> ModRevision of what was told
}

func (v *reports) replace(content []*mvccpb.KeyValue, _ string) {
	step := make(map[string]*storev1.NodeReport)
	there := make(map[string]bool, len(content))
	for _, kv := range content {
		there[v.node(kv)] = true
		v.put(kv, step)
	}
	for node := range v.told {
		if !there[node] {
			v.drop(node, step)
		}
	}
	reset := !v.started
	v.started = true
	if reset || len(step) > 0 {
		v.emit(ReportBatch{Reset: reset, Reports: step})
	}
}

func (v *reports) apply(events []*clientv3.Event) {
	step := make(map[string]*storev1.NodeReport)
	for _, e := range events {
		if e.Type == clientv3.EventTypePut {
			v.put(e.Kv, step)
		} else {
			v.drop(v.node(e.Kv), step)
		}
	}
	if len(step) > 0 {
		v.emit(ReportBatch{Reports: step})
	}
}

func (v *reports) node(kv *mvccpb.KeyValue) string {
	return strings.TrimPrefix(string(kv.Key), v.store.keys.nodeReports())
}

func (v *reports) put(kv *mvccpb.KeyValue, step map[string]*storev1.NodeReport) {
	node := v.node(kv)
	if v.told[node] == kv.ModRevision {
		return
	}
	report, err := decodeNodeReport(node, kv.Value)
	if err != nil {
		v.store.log.Warn("report of a node is unreadable, the one before stays", "node", lb.NodeName(node), "error", err)
		return
	}
	v.told[node] = kv.ModRevision
	step[node] = report
}

func (v *reports) drop(node string, step map[string]*storev1.NodeReport) {
	if _, ok := v.told[node]; ok {
		delete(v.told, node)
		step[node] = nil
	} else {
		delete(step, node)
	}
}
