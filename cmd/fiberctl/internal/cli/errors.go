package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/pkg/config"
	"github.com/fiberlb/fiberlb/pkg/lb"
)

// explain turns an error of a call into words for a person. Errors that are none of gRPC stay.
func (a *app) explain(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			return a.timedOut()
		}
		return err
	}
	message := retried.ReplaceAllString(cleanLines(st.Message()), "")
	switch st.Code() {
	case codes.InvalidArgument:
		if lines := violations(st); len(lines) > 0 {
			return errors.New(lb.Violations(lines).Error())
		}
		return errors.New(message)
	case codes.Unavailable:
		return a.unavailable(message)
	case codes.DeadlineExceeded:
		return a.timedOut()
	case codes.Unimplemented:
		return fmt.Errorf("the controller does not know this request: it is older than this fiberctl (%s)", message)
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("the controller refuses you: %s", message)
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return fmt.Errorf("the controller ran into a fault of its own: %s", message)
	}
	return errors.New(message)
}

// violations are the field violations that come with an error.
func violations(st *status.Status) []lb.Violation {
	var found []lb.Violation
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				found = append(found, lb.Violation{Path: clean(v.GetField()), Problem: clean(v.GetDescription())})
			}
		}
	}
	return found
}

// explainDocument is explain for a document: what the server has against it points at its lines.
func (a *app) explainDocument(err error, d *config.Document) error {
	st, ok := status.FromError(err)
	if !ok {
		return a.explain(err)
	}
	switch st.Code() {
	case codes.InvalidArgument:
		var placed config.Errors
		for _, v := range violations(st) {
			v.Path = strings.TrimPrefix(strings.TrimPrefix(v.Path, "config."), "config")
			placed = append(placed, d.Fault(v))
		}
		if len(placed) > 0 {
			return &placedError{placed}
		}
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unauthenticated, codes.PermissionDenied:
		return a.explain(err)
	}
	return &placedError{d.Fault(lb.Violation{Problem: a.explain(err).Error()})}
}

// retried is what gRPC puts before the last error of a call that it repeated.
var retried = regexp.MustCompile(`^max retries exhausted: failed after \d+ attempts: rpc error: code = \w+ desc = `)

// transport takes the words that matter out of gRPC's account of a connection that failed.
var transport = regexp.MustCompile(`^.*desc = "(?:transport: )?(?:Error while dialing: )?(?:dial \w+ \S+?: )?(?:connect: )?(.*)"$`)

func (a *app) unavailable(message string) error {
	servers := strings.Join(a.client.servers, ", ")
	if cause := transport.FindStringSubmatch(message); cause != nil {
		remedy := "Is it running? Name another with --server or $FIBERLB_SERVER."
		if strings.Contains(cause[1], "tls:") || strings.Contains(cause[1], "x509:") || strings.Contains(cause[1], "handshake") {
			remedy = "Look at --tls-cert, --tls-key and --tls-ca; the controller's must be signed by the same authority."
		} else if strings.Contains(cause[1], "reading server preface") {
			remedy = "Perhaps it wants TLS: give --tls-cert, --tls-key and --tls-ca."
		}
		return &hintError{fmt.Sprintf("no controller answers at %s: %s", servers, cause[1]), remedy}
	}
	if strings.HasPrefix(message, "error reading from server") || strings.HasPrefix(message, "closing transport") || strings.Contains(message, "broken pipe") {
		problem := fmt.Sprintf("the controller at %s went away in the middle of the call", servers)
		if a.tls.Cert != "" {
			// A server that refuses our certificate says so after the handshake, and the words may get lost.
			return &hintError{problem, "If it does so every time: is the certificate of --tls-cert signed by an authority that the controller trusts?"}
		}
		return errors.New(problem)
	}
	return fmt.Errorf("the controller at %s cannot serve this now: %s", servers, message)
}

func (a *app) timedOut() error {
	servers := defaultServer
	if a.client != nil {
		servers = strings.Join(a.client.servers, ", ")
	}
	return &hintError{fmt.Sprintf("no answer from %s in time", servers), "Give it longer with --timeout, or name another with --server or $FIBERLB_SERVER."}
}

// cleanLines cleans text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = clean(line)
	}
	return strings.Join(lines, "\n")
}
