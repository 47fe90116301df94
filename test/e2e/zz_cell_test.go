package e2e

import (
	"testing"

	"github.com/fiberlb/fiberlb/test/harness"
)

type cell struct {
	controller *harness.Controller
	node       *harness.Node
}

func TestZZ(t *testing.T) {
	c := harness.StartController(t, harness.ControllerConfig{Args: []string{"--key-file", harness.KeyFile(t), "--vip-cidrs", "203.0.113.0/24"}})
	n := harness.StartNode(t, harness.NodeConfig{Controllers: []*harness.Controller{c}})
	t.Run("rest", func(t *testing.T) { testREST(t, &cell{c, n}) })
}
