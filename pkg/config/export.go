package config

import (
	"fmt"
	"io"

	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// assigned are the fields, in objects of any kind, that people do not write, and the one that nobody may read.
var assigned = map[protoreflect.Name]bool{
	"uid": true, "etag": true, "created_at": true, "updated_at": true, "full_name": true, "status": true,
	"not_before": true, "expires_at": true, "subject": true, "dns_names": true, "fingerprint_sha256": true,
	"private_key": true,
}

// Export writes YAML documents that [Load] reads again (with Options.KeysMayBeStored where there are server certificates): what
// people wrote, with defaults, without what the server assigned. Private keys are left out.
func Export(w io.Writer, configs []*fiberlbv1.LoadBalancerConfig) error {
	for i, config := range configs {
		text, err := textform.MarshalYAML(Written(config))
		if err != nil {
			return fmt.Errorf("config: export load balancer %q: %w", config.GetName(), err)
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return fmt.Errorf("config: export load balancer %q: %w", config.GetName(), err)
		}
	}
	return nil
}

// Written is a copy of m without what the server assigned and without private keys.
func Written[M proto.Message](m M) M {
	c := proto.CloneOf(m)
	clearAssigned(c.ProtoReflect())
	return c
}

func clearAssigned(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case assigned[fd.Name()]:
			m.Clear(fd)
		case fd.Message() == nil || fd.IsMap():
		case fd.IsList():
			for i := range v.List().Len() {
				clearAssigned(v.List().Get(i).Message())
			}
		default:
			clearAssigned(v.Message())
		}
		return true
	})
}
