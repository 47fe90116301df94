package etcdserver

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap/zapcore"
)

// bridge hands etcd's log on to hclog, a level lower than etcd has it: what etcd informs about is noise to whoever runs FiberLB,
// and most of its warnings are for clusters.
type bridge struct {
	log    hclog.Logger
	fields []zapcore.Field
}

var levels = map[zapcore.Level]hclog.Level{
	zapcore.DebugLevel: hclog.Trace, zapcore.InfoLevel: hclog.Debug, zapcore.WarnLevel: hclog.Info, zapcore.ErrorLevel: hclog.Error,
	zapcore.DPanicLevel: hclog.Error, zapcore.PanicLevel: hclog.Error, zapcore.FatalLevel: hclog.Error,
}

// Enabled implements zapcore.Core. What ends the process is always enabled, since its hook runs only then.
func (b bridge) Enabled(l zapcore.Level) bool {
	return l >= zapcore.DPanicLevel || levels[l] >= b.log.GetLevel()
}

// With implements zapcore.Core.
func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{b.log, slices.Concat(b.fields, fields)}
}

// Check implements zapcore.Core.
func (b bridge) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return checked.AddCore(e, b)
	}
	return checked
}

// harmless is what etcd complains of although it is meant to be so: we serve without etcd's HTTP face, and without its users; and a
// single member of a new cluster is elected before the first check of its storage has anything to check.
var harmless = []string{
	"Running http and grpc server on single port. This is not recommended for production.",
	"simple token is not cryptographically signed",
	"Failed to detect schema version",
	"failed to update storage version",
}

// Write implements zapcore.Core.
func (b bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := levels[e.Level]
	if slices.Contains(harmless, e.Message) {
		level = hclog.Debug
	}
	values := encodeFields(slices.Concat(b.fields, fields))
	pairs := make([]any, 0, 2*len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		pairs = append(pairs, key, values[key])
	}
	b.log.Log(level, e.Message, pairs...)
	return nil
}

// Sync implements zapcore.Core.
func (b bridge) Sync() error { return nil }

func encodeFields(fields []zapcore.Field) map[string]any {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(encoder)
	}
	return encoder.Fields
}

// fatal turns etcd's way of ending the process into a panic. At the start that becomes an error; later it ends the process with
// the reason in sight, since an etcd that cannot write must not go on.
type fatal struct{}

// OnWrite implements zapcore.CheckWriteHook.
func (fatal) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	values := encodeFields(fields)
	if reason, ok := values["error"]; ok {
		panic(fmt.Sprintf("%s: %v", e.Message, reason))
	}
	panic(e.Message)
}
