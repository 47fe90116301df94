package publish

import (
	"context"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdtest"
	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// From a write to etcd over the watch to a node, and from the node's answer back into etcd.
func TestWithTheStore(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	s := store.New(etcdtest.Start(t), store.Config{})
	lease := s.HoldReports()
	defer func() {
		if err := lease.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	p := New(Config{
		Controller: "controller-1", Sink: lease, ReportDelay: time.Millisecond,
		Authorize: func(context.Context, string) error { return nil },
	})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(running, s.WatchConfig(running)) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	reports := s.WatchReports(running)

	a := newAgent(t, "node", nil, compile.DataPlane())
	a.acks = make(chan snapshot.Version, 16)
	a.connect(p)
	defer func() { _ = a.end() }()
	until := func(revision int64) {
		t.Helper()
		for {
			select {
			case v := <-a.acks:
				if v.Revision >= revision {
					return
				}
			case <-ctx.Done():
				t.Fatalf("revision %d did not reach the node", revision)
			}
		}
	}
	<-a.acks // nothing is there, and the node knows
	if set, _, _ := a.state(); set.Len() != 0 {
		t.Fatalf("the node has %d resources of nothing", set.Len())
	}

	e, err := s.Create(ctx, balancer(t, "a", 1), store.Request{})
	if err != nil {
		t.Fatal(err)
	}
	until(e.Revision)
	if set, version, _ := a.state(); set.Digest() != snapshot.NewSet(compile.Compile(e.LB, a.caps).Resources).Digest() || version.Cluster == "" {
		t.Errorf("the node runs %v of cluster %q", version, version.Cluster)
	}
	var report *storev1.NodeReport
	for report.GetAckedRevision() < e.Revision {
		select {
		case b := <-reports:
			if r := b.Reports["node"]; r != nil {
				report = r
			}
		case <-ctx.Done():
			t.Fatalf("the answer did not reach the store, last is %v", report)
		}
	}
	if err := s.Delete(ctx, e, store.Request{}); err != nil {
		t.Fatal(err)
	}
	until(e.Revision + 1)
	if set, _, _ := a.state(); set.Len() != 0 {
		t.Errorf("the node still has %d resources", set.Len())
	}
}
