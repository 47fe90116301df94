package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"github.com/fiberlb/fiberlb/test/harness"
)

// replica is a controller and a connection to its API.
type replica struct {
	*harness.Controller
	lbs   fiberlbv1.LoadBalancerServiceClient
	nodes fiberlbv1.NodeServiceClient
}

func newReplica(t *testing.T, c *harness.Controller) *replica {
	t.Helper()
	conn := c.Dial(t, nil)
	return &replica{c, fiberlbv1.NewLoadBalancerServiceClient(conn), fiberlbv1.NewNodeServiceClient(conn)}
}

func (r *replica) loadBalancer(t *testing.T, name string) *fiberlbv1.LoadBalancer {
	t.Helper()
	lb, err := r.lbs.GetLoadBalancer(t.Context(), &fiberlbv1.GetRequest{Name: "projects/default/loadBalancers/" + name})
	if err != nil {
		t.Fatal(err)
	}
	return lb
}

// sameStatus waits until two replicas say the same of a load balancer and of the node, and returns that.
func sameStatus(t *testing.T, a, b *replica, name string) (*fiberlbv1.LoadBalancer, *fiberlbv1.Node) {
	t.Helper()
	var (
		lb   *fiberlbv1.LoadBalancer
		node *fiberlbv1.Node
	)
	harness.Until(t, "both replicas say the same", func() error {
		lb = a.loadBalancer(t, name)
		if other := b.loadBalancer(t, name); !proto.Equal(lb, other) {
			return fmt.Errorf("the load balancer is %v and %v", lb, other)
		}
		if lb.GetStatus().GetProvisioningStatus() != fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ACTIVE ||
			lb.GetStatus().GetRollout().GetAcked() != 1 {
			return fmt.Errorf("the load balancer is %v", lb.GetStatus())
		}
		var err error
		if node, err = a.nodes.GetNode(t.Context(), &fiberlbv1.GetRequest{Name: "nodes/n1"}); err != nil {
			return err
		}
		other, err := b.nodes.GetNode(t.Context(), &fiberlbv1.GetRequest{Name: "nodes/n1"})
		if err != nil {
			return err
		}
		if node.GetVersion() != other.GetVersion() || node.GetController() != other.GetController() || node.GetConnected() != other.GetConnected() {
			return fmt.Errorf("the node is %v and %v", node, other)
		}
		if !node.GetConnected() {
			return errors.New("the node is not connected")
		}
		return nil
	})
	return lb, node
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	etcd := []string{harness.StartEtcd(t, nil)}
	a := newReplica(t, harness.StartController(t, harness.ControllerConfig{Name: "controller-a", Etcd: etcd}))
	b := newReplica(t, harness.StartController(t, harness.ControllerConfig{Name: "controller-b", Etcd: etcd}))
	node := harness.StartNode(t, harness.NodeConfig{Controllers: []*harness.Controller{a.Controller, b.Controller}})
	servers := backends(t, "x", 2)
	web := service{name: "web", listener: harness.Endpoint(t), pool: servers[:1], check: quickCheck}
	a.Ctl().Apply(t, web.yaml())
	harness.Serves(t, web.listener)
	before, nodeBefore := sameStatus(t, a, b, "web")

	// The node's stream moves from one replica to the other, with an unchanged configuration.
	holder, other := a, b
	if streams := b.Metrics(t).Must(t, "fiberlb_controlplane_streams"); streams == 1 {
		holder, other = b, a
	}
	load := harness.StartLoad(t, web.listener, 1, 2)
	quiet := node.Mark()
	bytes := other.Metrics(t).Must(t, "fiberlb_controlplane_delta_bytes_total")
	began := time.Now()
	holder.Stop(t)
	harness.Until(t, "the node streams from the other replica", func() error {
		if err := expectMetric(other.Metrics(t), 1, "fiberlb_controlplane_streams"); err != nil {
			return err
		}
		return expectMetric(node.Metrics(t), 1, "fiberlb_dataplane_stream_connected")
	})
	t.Logf("the node streamed from the other replica %s after its own was told to stop", time.Since(began).Round(time.Millisecond))
	holder.Restart(t)
	after, nodeAfter := sameStatus(t, holder, other, "web")
	if !proto.Equal(before, after) {
		t.Errorf("the load balancer was %v and is %v", before, after)
	}
	if nodeBefore.GetVersion() != nodeAfter.GetVersion() {
		t.Errorf("the node ran %s and runs %s, and nothing was written", nodeBefore.GetVersion(), nodeAfter.GetVersion())
	}
	if nodeBefore.GetController() == nodeAfter.GetController() {
		t.Errorf("the node's stream is said to be held by %s as before", nodeAfter.GetController())
	}
	// A delta that holds a version and no resource is what a reconnect takes.
	const emptyDelta = 128
	if got := other.Metrics(t).Must(t, "fiberlb_controlplane_delta_bytes_total") - bytes; got > emptyDelta {
		t.Errorf("the reconnect with an unchanged configuration took deltas of %g bytes", got)
	}
	if strings.Contains(node.Output()[quiet:], `"configuration in force"`) {
		t.Error("the node put a configuration in force though nothing was written")
	}

	// A write through one replica shows at the other, and each refuses what contradicts the other's writes.
	web.pool = servers
	holder.Ctl().Apply(t, web.yaml())
	if lb, _ := sameStatus(t, holder, other, "web"); lb.GetEtag() == after.GetEtag() {
		t.Error("a write left the etag as it was")
	}
	stale := &fiberlbv1.UpdateLoadBalancerRequest{
		Name: after.GetFullName(), Etag: after.GetEtag(), LoadBalancer: &fiberlbv1.LoadBalancer{Description: "late"},
	}
	if _, err := other.lbs.UpdateLoadBalancer(t.Context(), stale); status.Code(err) != codes.Aborted {
		t.Errorf("a write with an etag from before the other replica's write: %v, want ABORTED", err)
	}
	if out := other.Ctl().Run(t, service{name: "thief", listener: web.listener, pool: servers}.yaml(), "apply", "-f", "-"); out.Code != 1 ||
		!containsAll(out.Stderr, web.listener.Addr().String(), "web") {
		t.Errorf("another load balancer with the same VIP, through the other replica: exit code %d\n%s", out.Code, out.Stderr)
	}
	load.MustStop(t)
}
