package sysnotify

import (
	"crypto/rand"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestAbstractSocket(t *testing.T) {
	t.Parallel()
	name := "@fiberlb-sysnotify-" + rand.Text()
	conn := supervisor(t, name)
	FromEnv(environ(map[string]string{"NOTIFY_SOCKET": name}), hclog.NewNullLogger()).Ready("")
	if got := next(t, conn); got != "READY=1" {
		t.Errorf("sent %q", got)
	}
}
