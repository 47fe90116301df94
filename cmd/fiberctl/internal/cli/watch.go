package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/cmd/fiberctl/internal/table"
	"github.com/fiberlb/fiberlb/pkg/backoff"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// watcher prints load balancers as they change. It belongs to one goroutine.
type watcher struct {
	a      *app
	k      *kind
	format string
	name   string // of what is watched

	started   bool                                     // what there is was printed
	connected bool                                     // this stream has told all there is
	known     map[string]*fiberlbv1.LoadBalancerConfig // by full name, as last told
	widths    []int                                    // of the table as it stands; nil before its head is printed
}

func (a *app) watch(ctx context.Context, k *kind, name string, o *getOptions) error {
	if k.of != lb.KindLoadBalancer {
		return usagef("--watch works for load balancers only")
	}
	if err := o.check(k); err != nil {
		return err
	}
	var err error
	if name != "" {
		name, err = o.name(k, name)
	} else {
		name, err = o.parent(k)
	}
	if err != nil {
		return err
	}
	c, err := a.dial()
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(ctx, 0)
	defer cancel()
	w := &watcher{a: a, k: k, format: o.format, name: name, known: map[string]*fiberlbv1.LoadBalancerConfig{}}
	var pause backoff.Backoff
	lost := false
	for {
		w.connected = false
		err := w.follow(ctx, c)
		if w.started && a.timeout > 0 && (errors.Is(ctx.Err(), context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded) {
			return nil // as long as was asked for
		}
		if w.started && ctx.Err() != nil {
			return nil // whoever looked has seen enough
		}
		// A controller that stops, or that answers again, is no reason to stop looking; one that never answered is.
		if code := status.Code(err); ctx.Err() != nil || code != codes.Unavailable && code != codes.OutOfRange || !w.started {
			return a.explain(err)
		}
		if w.connected {
			lost = false
			pause.Reset()
		}
		if !lost {
			fmt.Fprintln(a.err, "fiberctl: the connection was lost; looking for a controller")
		}
		lost = true
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
}

// follow reads one stream to its end. It starts with all there is; what was told before is not told again.
func (w *watcher) follow(ctx context.Context, c *client) error {
	stream, err := c.config.Watch(ctx, &fiberlbv1.WatchRequest{Name: w.name})
	if err != nil {
		return err
	}
	present := map[string]*fiberlbv1.LoadBalancerConfig{}
	complete := false
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return status.Error(codes.Unavailable, "the controller ended the stream")
		}
		if err != nil {
			return err
		}
		switch event.GetType() {
		case fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_BOOKMARK:
			if !complete {
				complete, w.connected = true, true
				err = w.first(present)
			}
		case fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_DELETED:
			delete(present, event.GetConfig().GetFullName())
			if complete {
				err = w.gone(event.GetConfig())
			}
		default:
			present[event.GetConfig().GetFullName()] = event.GetConfig()
			if complete {
				err = w.tell(event.GetConfig())
			}
		}
		if err != nil {
			return err
		}
	}
}

// first prints all that there is at the beginning of a stream.
func (w *watcher) first(present map[string]*fiberlbv1.LoadBalancerConfig) error {
	for full, config := range w.known {
		if present[full] == nil {
			if err := w.gone(config); err != nil {
				return err
			}
		}
	}
	var configs []*fiberlbv1.LoadBalancerConfig
	for _, config := range present {
		configs = append(configs, config)
	}
	slices.SortFunc(configs, func(a, b *fiberlbv1.LoadBalancerConfig) int { return strings.Compare(a.GetFullName(), b.GetFullName()) })
	if !w.started {
		w.started = true
		if w.isTable() && len(configs) > 0 {
			for _, config := range configs {
				w.known[config.GetFullName()] = config
			}
			w.align()
			for _, config := range configs {
				w.printRow(config, false)
			}
			return nil
		}
	}
	for _, config := range configs {
		if err := w.tell(config); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) isTable() bool { return w.format == "table" || w.format == "wide" }

// tell prints a load balancer unless it was told so already.
func (w *watcher) tell(config *fiberlbv1.LoadBalancerConfig) error {
	if proto.Equal(w.known[config.GetFullName()], config) {
		return nil
	}
	w.known[config.GetFullName()] = config
	return w.print(config, false)
}

func (w *watcher) gone(config *fiberlbv1.LoadBalancerConfig) error {
	delete(w.known, config.GetFullName())
	return w.print(config, true)
}

func (w *watcher) print(config *fiberlbv1.LoadBalancerConfig, gone bool) error {
	switch w.format {
	case "json":
		text, err := textform.MarshalJSON(config, textform.Options{})
		if err != nil {
			return err
		}
		w.a.printf("{\"deleted\":%t,\"load_balancer\":%s}\n", gone, text)
	case "yaml":
		text, err := textform.MarshalYAML(config)
		if err != nil {
			return err
		}
		if gone {
			text = []byte("# deleted: " + clean(config.GetFullName()) + "\n")
		}
		w.a.printf("---\n%s", text)
	case "name":
		w.a.printf("%s\n", clean(config.GetFullName()))
	default:
		w.printRow(config, gone)
	}
	return nil
}

// align makes the columns wide enough for all that is known, and prints the head again where they have moved.
func (w *watcher) align() {
	head, places := w.k.head(w.format == "wide")
	var rows [][]table.Cell
	for _, config := range w.known {
		rows = append(rows, pick(w.a.loadBalancerRow(config), places))
	}
	widths := table.Widths(head, rows, w.a.terminal.columns)
	last := len(widths) - 1
	fits := w.widths != nil
	for i := range last {
		fits = fits && widths[i] <= w.widths[i]
	}
	if fits {
		return
	}
	// The last column takes all the room that is left: what comes later may be longer.
	widths[last] = max(widths[last], w.a.terminal.columns-table.Total(widths[:last]))
	if w.a.terminal.columns == 0 {
		widths[last] = math.MaxInt16
	}
	w.widths = widths
	titles := make([]table.Cell, len(head))
	for i, c := range head {
		titles[i].Text = c.Title
	}
	w.a.printf("%s\n", table.Line(head, titles, widths))
}

// printRow prints a line of the table.
func (w *watcher) printRow(config *fiberlbv1.LoadBalancerConfig, gone bool) {
	w.align()
	head, places := w.k.head(w.format == "wide")
	row := pick(w.a.loadBalancerRow(config), places)
	if gone {
		row = []table.Cell{row[0], {Text: "deleted"}}
	}
	w.a.printf("%s\n", table.Line(head, row, w.widths))
}
