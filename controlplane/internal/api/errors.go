package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

// isStatus tells whether err already is an answer for the client.
func isStatus(err error) bool {
	_, ok := status.FromError(err)
	return ok
}

// contextError is the status of a call that its client left or that ran out of time; nil when err is neither.
func contextError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return nil
}
