package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/backoff"
)

// view is a picture of a range of keys that is kept up to date.
type view interface {
	// replace sets the view to the whole content of the range at a revision of a cluster.
	replace(content []*mvccpb.KeyValue, cluster string)
	// apply brings the view forward by events, in their order, of whole revisions.
	apply(events []*clientv3.Event)
}

// errRelist tells that the watch cannot go on from where it was.
var errRelist = errors.New("the range has to be read as a whole")

// follower keeps a view up to date: it reads the range at a revision, and watches from the next one.
type follower struct {
	store     *Store
	name      string // of the watch, in logs and metrics
	from, end string
	view      view

	cluster  uint64
	revision int64 // the view holds everything up to here; 0: it holds nothing
}

// run follows until ctx ends. Whatever fails is tried again; nothing that fails changes the view.
func (f *follower) run(ctx context.Context) {
	pause := backoff.Backoff{}
	listed := false
	for ctx.Err() == nil {
		var err error
		if f.revision == 0 {
			if err = f.list(ctx); err == nil && listed {
				f.store.metrics.relists.WithLabelValues(f.name).Inc()
			}
			listed = listed || err == nil
		}
		if err == nil {
			before := f.revision
			err = f.watch(ctx)
			if f.revision > before {
				pause.Reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		f.store.metrics.restarts.WithLabelValues(f.name).Inc()
		if errors.Is(err, errRelist) {
			f.store.log.Warn("reading everything again", "watch", f.name, "revision", f.revision, "reason", err)
			f.revision = 0
		} else {
			f.store.log.Warn("watch was interrupted, what is known stays in force", "watch", f.name, "revision", f.revision, "error", clean(err))
		}
		if pause.Wait(ctx) != nil {
			return
		}
	}
}

// list reads the whole range.
func (f *follower) list(ctx context.Context) error {
	var content []*mvccpb.KeyValue
	// The cluster is asked first: a read that follows cannot come from an older one.
	head, err := f.store.kv.Get(ctx, f.from, clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	revision, err := f.store.scan(ctx, f.from, f.end, 0, func(kv *mvccpb.KeyValue) error {
		content = append(content, kv)
		return nil
	})
	if err != nil {
		return err
	}
	f.cluster, f.revision = head.Header.GetClusterId(), revision
	f.view.replace(content, clusterID(f.cluster))
	return nil
}

// watch applies events until the watch ends. It always gives an error.
func (f *follower) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	events := f.store.client.Watch(ctx, f.from, clientv3.WithRange(f.end), clientv3.WithRev(f.revision+1), clientv3.WithProgressNotify())
	for resp := range events {
		if err := resp.Err(); err != nil {
			if resp.CompactRevision != 0 || errors.Is(err, rpctypes.ErrCompacted) {
				return fmt.Errorf("%w: %w", errRelist, ErrCompacted)
			}
			return err
		}
		if got := resp.Header.GetClusterId(); got != 0 && got != f.cluster {
			return fmt.Errorf("%w: another etcd cluster answers, %s instead of %s", errRelist, clusterID(got), clusterID(f.cluster))
		}
		revision := resp.Header.GetRevision()
		// A restored or damaged etcd may lie behind what was seen of it; a watch from a revision to come would wait in silence.
		if revision != 0 && revision < f.revision && len(resp.Events) == 0 {
			if err := f.wentBack(ctx); err != nil {
				return err
			}
		}
		if len(resp.Events) > 0 {
			f.view.apply(resp.Events)
			revision = resp.Events[len(resp.Events)-1].Kv.ModRevision
		} else if !resp.IsProgressNotify() {
			continue // only these say that there was nothing before their revision
		}
		f.revision = max(f.revision, revision)
	}
	return ErrUnavailable
}

// wentBack tells an etcd that lost its latest revisions, which gives [errRelist], from a member that is merely late.
func (f *follower) wentBack(ctx context.Context) error {
	resp, err := f.store.kv.Get(ctx, f.from, clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	if now := resp.Header.GetRevision(); now < f.revision {
		return fmt.Errorf("%w: etcd went back from revision %d to %d", errRelist, f.revision, now)
	}
	return nil
}
