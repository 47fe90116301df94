package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	for _, test := range []struct {
		err   error
		code  codes.Code
		words string
	}{
		{&store.VIPTakenError{VIP: "203.0.113.1", Owner: "projects/a/loadBalancers/b"}, codes.FailedPrecondition, "VIP 203.0.113.1 is taken: it belongs to projects/a/loadBalancers/b"},
		{&store.TooLargeError{Object: "x", Size: 9, Limit: 8}, codes.ResourceExhausted, "9 bytes"},
		{store.ErrNotFound, codes.NotFound, "not found"},
		{store.ErrExists, codes.AlreadyExists, "already exists"},
		{store.ErrConflict, codes.Aborted, "changed"},
		{store.ErrRequestReused, codes.InvalidArgument, "request_id"},
		{store.ErrNoSealer, codes.FailedPrecondition, "--key-file"},
		{store.ErrCompacted, codes.OutOfRange, "start again"},
		{store.ErrUnavailable, codes.Unavailable, "etcd"},
		{&store.DecodeError{Object: "x", Err: errors.New("junk")}, codes.DataLoss, "unreadable"},
		{context.Canceled, codes.Canceled, ""},
		{context.DeadlineExceeded, codes.DeadlineExceeded, ""},
		{errors.New("surprise"), codes.Internal, "surprise"},
	} {
		got := s.answer(fmt.Errorf("store: do: %w", test.err))
		if status.Code(got) != test.code || !strings.Contains(got.Error(), test.words) {
			t.Errorf("%v: %v, want %s with %q", test.err, got, test.code, test.words)
		}
	}
	refusal := notFound("pool", "x")
	if s.answer(refusal) != refusal || s.answer(nil) != nil {
		t.Error("an answer is changed")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if got := rulePattern.String(); got != "projects/PROJECT/loadBalancers/LOAD_BALANCER/listeners/LISTENER/l7Policies/L7_POLICY/rules/RULE" {
		t.Errorf("form %s", got)
	}
	names, err := poolPattern.parse("projects/-/loadBalancers/a/pools/-", true)
	if err != nil || poolPattern.format(names) != "projects/-/loadBalancers/a/pools/-" {
		t.Errorf("names %q, %v", names, err)
	}
	if !names.matches(ids{"x", "a", "y"}) || names.matches(ids{"x", "b", "y"}) || !names.hasWildcard(1) {
		t.Error("wildcards do not match")
	}
	if _, err := nodePattern.parse("nodes/rack7.node-1", false); err != nil {
		t.Errorf("node: %v", err)
	}
}

// The path of a violation names objects where the caller knows no index.
func TestViolationPaths(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	entry, err := e.st.Get(e.ctx, "default", "web")
	if err != nil {
		t.Fatal(err)
	}
	at := &edit{config: lbpb.ToConfig(entry.LB)}
	at.name("pools[0]", "pool")
	for path, want := range map[string]string{
		"pools[0].backends[1].port":     "pool.backends[1].port",
		"pools[0]":                      "pool",
		"pools[1].protocol":             "pools[spare].protocol",
		"l7_policies[0].rules[0].value": "l7_policies[api].rules[r1].value",
		"l7_policies[7].rules[0].value": "l7_policies[7].rules[0].value",
		"vips[0]":                       "vips[0]",
		"listeners[0].timeouts.idle":    "listeners[front].timeouts.idle",
		"listeners[0].labels":           "listeners[front].labels",
		"":                              "",
		"nonsense[":                     "nonsense[",
	} {
		if got := at.translate(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
