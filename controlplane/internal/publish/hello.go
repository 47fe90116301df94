package publish

import (
	"fmt"
	"maps"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// Bounds of what an agent may tell of itself.
const (
	maxTextBytes    = 255 // of a label's key and value, of the software version
	maxCapabilities = 256
	maxWordBytes    = 64
)

// hello is what an agent told of itself, checked.
type hello struct {
	node    string
	labels  map[string]string // never nil
	caps    compile.Capabilities
	version snapshot.Version // that the agent runs; zero: none
	held    map[snapshot.Ref]snapshot.Hash
}

// readHello checks the first message of a stream. The error is a gRPC status that says what to do.
func readHello(message *agentv1.AgentMessage) (*hello, error) {
	m := message.GetHello()
	if m == nil {
		return nil, status.Error(codes.InvalidArgument, "the first message of a stream must be a hello")
	}
	if err := lb.ValidNodeName(m.Node); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "node name: %v", err)
	}
	if m.SchemaVersion < snapshot.SchemaVersion {
		return nil, status.Errorf(codes.FailedPrecondition,
			"the data plane of node %s (version %.64q) reads resources up to schema %d, this controller writes schema %d: upgrade the data plane",
			m.Node, m.SoftwareVersion, m.SchemaVersion, snapshot.SchemaVersion)
	}
	if err := checkBounds(m); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "hello of node %s: %v", m.Node, err)
	}
	version, err := snapshot.VersionFromProto(m.Version)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "hello of node %s: %v", m.Node, err)
	}
	held, err := snapshot.HeldFromProto(m.Held)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "hello of node %s: %v", m.Node, err)
	}
	h := &hello{
		node: m.Node, labels: maps.Clone(m.Labels), version: version, held: held,
		caps: compile.NewCapabilities(m.SoftwareVersion, m.Capabilities),
	}
	if h.labels == nil {
		h.labels = make(map[string]string)
	}
	return h, nil
}

func checkBounds(m *agentv1.Hello) error {
	if len(m.Labels) > lb.MaxLabels {
		return fmt.Errorf("%d labels are more than %d", len(m.Labels), lb.MaxLabels)
	}
	for key, value := range m.Labels {
		if key == "" || len(key) > maxTextBytes || len(value) > maxTextBytes {
			return fmt.Errorf("label %.80q has a key or value that is empty or longer than %d bytes", key, maxTextBytes)
		}
	}
	if len(m.SoftwareVersion) > maxTextBytes {
		return fmt.Errorf("software version of %d bytes is longer than %d", len(m.SoftwareVersion), maxTextBytes)
	}
	if len(m.Capabilities) > maxCapabilities {
		return fmt.Errorf("%d capabilities are more than %d", len(m.Capabilities), maxCapabilities)
	}
	for _, word := range m.Capabilities {
		if word == "" || len(word) > maxWordBytes {
			return fmt.Errorf("capability %.80q is empty or longer than %d bytes", word, maxWordBytes)
		}
	}
	return nil
}
