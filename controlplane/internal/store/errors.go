package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// clean translates etcd's errors, so that nobody else needs to know them. A context's end stays what it is.
func clean(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	code := status.Code(err)
	var etcd rpctypes.EtcdError
	if errors.As(err, &etcd) {
		code = etcd.Code()
	}
	switch {
	case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return ErrCompacted
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("etcd's database is full (%w): compact and defragment it, raise its quota, then disarm the alarm", err)
	case code == codes.Canceled:
		return fmt.Errorf("%w: %w", context.Canceled, err)
	case code == codes.DeadlineExceeded, code == codes.Unavailable:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// wrap puts operation and object in front of an error.
func wrap(operation string, key Key, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s load balancer %q: %w", operation, key.Project+"/"+key.LB, clean(err))
}
