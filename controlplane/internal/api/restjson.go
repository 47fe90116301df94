package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/textform"
)

// textMarshaler speaks FiberLB's text form to grpc-gateway: single answers are indented, those of a stream are a line each.
type textMarshaler struct{}

func (textMarshaler) ContentType(any) string { return "application/json" }

func (textMarshaler) StreamContentType(any) string { return "application/x-ndjson" }

func (m textMarshaler) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case *spb.Status:
		return errorBody(status.FromProto(v)), nil
	case proto.Message:
		b, err := textform.MarshalJSON(v, textform.Options{Indent: "  "})
		return append(b, '\n'), err
	case map[string]any: // an answer of a stream
		return streamLine(v)
	case map[string]proto.Message: // a stream's last words
		line := make(map[string]any, len(v))
		for key, message := range v {
			line[key] = message
		}
		return streamLine(line)
	}
	return nil, fmt.Errorf("%T is no message", v)
}

// streamLine gives {"result": …} or {"error": …} on one line.
func streamLine(values map[string]any) ([]byte, error) {
	parts := make(map[string]json.RawMessage, len(values))
	for key, value := range values {
		var err error
		switch value := value.(type) {
		case *spb.Status:
			parts[key] = errorBody(status.FromProto(value))
		case proto.Message:
			parts[key], err = textform.MarshalJSON(value, textform.Options{})
		default:
			err = fmt.Errorf("%T is no message", value)
		}
		if err != nil {
			return nil, err
		}
	}
	return json.Marshal(parts)
}

func (m textMarshaler) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		b, err := m.Marshal(v)
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	})
}

func (m textMarshaler) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(b)) == 0 {
			return io.EOF
		}
		return m.Unmarshal(b, v)
	})
}

// Unmarshal reads into a message, or into a pointer to one that it makes.
func (textMarshaler) Unmarshal(data []byte, v any) error {
	message, ok := v.(proto.Message)
	if !ok {
		pointer := reflect.ValueOf(v)
		if pointer.Kind() != reflect.Pointer || pointer.Elem().Kind() != reflect.Pointer {
			return fmt.Errorf("%T is no message", v)
		}
		if pointer.Elem().IsNil() {
			pointer.Elem().Set(reflect.New(pointer.Elem().Type().Elem()))
		}
		if message, ok = pointer.Elem().Interface().(proto.Message); !ok {
			return fmt.Errorf("%T is no message", v)
		}
	}
	err := textform.UnmarshalJSON(data, message)
	var violations lb.Violations
	var syntax *textform.SyntaxError
	switch {
	case errors.As(err, &violations):
		return faultyBody(underRequest(message.ProtoReflect().Descriptor(), violations))
	case errors.As(err, &syntax):
		return faultyBody{{Problem: "the body is not JSON: " + syntax.Error()}}
	}
	return err
}

// bodyFields are the fields of requests that hold the body.
var bodyFields = map[protoreflect.Name]string{
	"LoadBalancer": "load_balancer", "Listener": "listener", "Pool": "pool", "Backend": "backend", "HealthCheck": "health_check",
	"L7Policy": "l7_policy", "L7Rule": "l7_rule", "Certificate": "certificate", "Node": "node",
}

// underRequest gives paths in the body the form that the services give them: in the request or, of whole configurations, in those.
func underRequest(body protoreflect.MessageDescriptor, violations lb.Violations) lb.Violations {
	field := bodyFields[body.Name()]
	for i, v := range violations {
		switch {
		case field != "" && v.Path != "":
			violations[i].Path = field + "." + v.Path
		case field != "":
			violations[i].Path = field
		default:
			violations[i].Path = strings.TrimPrefix(v.Path, "config.")
		}
	}
	return violations
}

// faultyBody carries violations through grpc-gateway, which keeps nothing of an error but its text.
type faultyBody lb.Violations

const faultyBodyMark = "faulty body: "

func (f faultyBody) Error() string {
	b, err := json.Marshal(f)
	if err != nil {
		return err.Error()
	}
	return faultyBodyMark + string(b)
}

// writeError answers with an error, as grpc-gateway calls for it.
func writeError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	code := 0
	var routing *runtime.HTTPStatusError
	if errors.As(err, &routing) {
		code, err = routing.HTTPStatus, routing.Err
	}
	st := status.Convert(err)
	if text, ok := strings.CutPrefix(st.Message(), faultyBodyMark); ok {
		var violations lb.Violations
		if json.Unmarshal([]byte(text), &violations) == nil {
			st = status.Convert(violationsError(violations))
		}
	}
	if strings.HasSuffix(st.Message(), (&http.MaxBytesError{}).Error()) {
		st, code = status.Newf(codes.ResourceExhausted, "the body has more than %d bytes", MaxMessage), http.StatusRequestEntityTooLarge
	}
	writeStatus(w, st, code)
}

// writeRoutingError answers where no call fits the method and path.
func writeRoutingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, req *http.Request, code int) {
	st := status.Newf(codes.NotFound, "the API has no path %s; /openapi.json lists all", req.URL.Path)
	switch code {
	case http.StatusMethodNotAllowed:
		st = status.Newf(codes.Unimplemented, "the API has no %s on %s; /openapi.json lists all calls", req.Method, req.URL.Path)
	case http.StatusBadRequest:
		st = status.Newf(codes.InvalidArgument, "path %s is malformed", req.URL.Path)
	}
	writeStatus(w, st, code)
}

// writeStatus writes an error; code 0 is the one that belongs to the gRPC code.
func writeStatus(w http.ResponseWriter, st *status.Status, code int) {
	if code == 0 {
		code = runtime.HTTPStatusFromCode(st.Code())
	}
	w.Header().Del("Transfer-Encoding")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(errorBody(st), '\n')) // a client that left needs no answer
}

// errorBody is the JSON of an error: google.rpc.Status with the code in words beside its number.
func errorBody(st *status.Status) []byte {
	body := struct {
		Code    codes.Code        `json:"code"`
		Status  string            `json:"status"`
		Message string            `json:"message"`
		Details []json.RawMessage `json:"details,omitempty"`
	}{Code: st.Code(), Status: codeWord(st.Code()), Message: st.Message()}
	for _, detail := range st.Proto().GetDetails() {
		if b, err := (protojson.MarshalOptions{UseProtoNames: true}).Marshal(detail); err == nil {
			body.Details = append(body.Details, b)
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return []byte(`{"code":13,"status":"INTERNAL","message":"the error has no text"}`)
	}
	return bytes.TrimSpace(out.Bytes())
}

// codeWord is a code as the protocol spells it: "INVALID_ARGUMENT".
func codeWord(code codes.Code) string {
	var word strings.Builder
	for i, r := range code.String() {
		if i > 0 && 'A' <= r && r <= 'Z' && code != codes.OK {
			word.WriteByte('_')
		}
		word.WriteRune(r)
	}
	return strings.ToUpper(word.String())
}
