package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
)

// fieldError is INVALID_ARGUMENT about one field of the request.
func fieldError(path, format string, args ...any) error {
	return violationsError(lb.Violations{{Path: path, Problem: fmt.Sprintf(format, args...)}})
}

// violationsError is INVALID_ARGUMENT with every violation both in the message and as google.rpc.BadRequest. Nil when there are none.
func violationsError(violations lb.Violations) error {
	if len(violations) == 0 {
		return nil
	}
	detail := &errdetails.BadRequest{}
	lines := make([]string, 0, len(violations))
	for _, v := range violations {
		text := v.Problem
		if v.Remedy != "" {
			text += "; " + v.Remedy
		}
		detail.FieldViolations = append(detail.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: v.Path, Description: text,
		})
		if v.Path != "" {
			text = v.Path + ": " + text
		}
		lines = append(lines, text)
	}
	st := status.New(codes.InvalidArgument, strings.Join(lines, "\n"))
	if detailed, err := st.WithDetails(detail); err == nil {
		st = detailed
	}
	return st.Err()
}

func notFound(noun, full string) error {
	return status.Errorf(codes.NotFound, "%s %q: not found", noun, full)
}

func alreadyExists(noun, full string) error {
	return status.Errorf(codes.AlreadyExists, "%s %q: already exists", noun, full)
}

// etagMismatch is ABORTED: somebody else wrote since the caller read.
func etagMismatch(noun, full, given, present string) error {
	return status.Errorf(codes.Aborted,
		"%s %q: changed since it was read: etag is %s, not %s; read it again and repeat the change", noun, full, present, given)
}

// precondition is FAILED_PRECONDITION: the request is right in itself, but not as things stand.
func precondition(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

// missingParent is NOT_FOUND about the object that a child is to be in.
func missingParent(form pattern, parent ids) error {
	return status.Errorf(codes.NotFound, "parent %q: not found", form.format(parent))
}

// answer turns an error of the store, or of anything else on the way, into one for the client.
func (s *Server) answer(err error) error {
	if err == nil {
		return nil
	}
	// Not status.FromError, which would also find etcd's own errors inside of the store's.
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return err
	}
	var (
		taken      *store.VIPTakenError
		large      *store.TooLargeError
		unreadable *store.DecodeError
	)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.As(err, &taken):
		return precondition("VIP %s is taken: it belongs to %s; an address belongs to one load balancer", taken.VIP, taken.Owner)
	case errors.As(err, &large):
		return status.Error(codes.ResourceExhausted, large.Error())
	case errors.Is(err, store.ErrNotFound):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, store.ErrExists):
		return status.Error(codes.AlreadyExists, err.Error())
	case errors.Is(err, store.ErrConflict):
		return status.Error(codes.Aborted, err.Error())
	case errors.Is(err, store.ErrRequestReused):
		return fieldError("request_id", "was used before for another request; choose a new one for each")
	case errors.Is(err, store.ErrNoSealer):
		return precondition("%v", store.ErrNoSealer)
	case errors.Is(err, store.ErrCompacted):
		return status.Error(codes.OutOfRange, "the list has changed since its first page and its old state is no longer kept: start again without page_token")
	case errors.Is(err, store.ErrUnavailable):
		return status.Error(codes.Unavailable, err.Error())
	case errors.As(err, &unreadable):
		return status.Error(codes.DataLoss, err.Error())
	}
	s.log.Error("request failed for a reason that is not the client's", "error", err)
	return status.Error(codes.Internal, err.Error())
}
