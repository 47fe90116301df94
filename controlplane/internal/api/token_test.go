package api

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func TestPageToken(t *testing.T) {
	t.Parallel()
	token := pageToken{revision: 42, key: ids{"p", "l", "x"}}
	text := token.encode("scope")
	back, err := decodePageToken(text, "scope")
	if err != nil || back.revision != 42 || !slices.Equal(back.key, token.key) {
		t.Errorf("back %v, %v", back, err)
	}
	if _, err := decodePageToken(text, "another scope"); err == nil {
		t.Error("good for another list")
	}
	for i := range text {
		for _, c := range []byte("AB_") {
			if c == text[i] {
				continue
			}
			if _, err := decodePageToken(text[:i]+string(c)+text[i+1:], "scope"); err == nil {
				t.Errorf("changed at %d, and still good", i)
			}
		}
		if _, err := decodePageToken(text[:i], "scope"); err == nil && i > 0 {
			t.Errorf("cut at %d, and still good", i)
		}
	}
}

func FuzzPageToken(f *testing.F) {
	f.Add("", "x")
	f.Add(pageToken{revision: 7, key: ids{"default", "web"}}.encode("x"), "x")
	f.Fuzz(func(t *testing.T, text, scope string) {
		token, err := decodePageToken(text, scope)
		if err != nil || text == "" {
			return
		}
		if token.encode(scope) != text {
			// Varints can be written in longer ways; what they say must be the same.
			again, err := decodePageToken(token.encode(scope), scope)
			if err != nil || again.revision != token.revision || !slices.Equal(again.key, token.key) {
				t.Errorf("token %q: %v, then %v, %v", text, token, again, err)
			}
		}
		if token.within(poolPattern, ids{wildcard, wildcard}) {
			_ = before(token.key) // must not panic
		}
	})
}

func TestFieldMasks(t *testing.T) {
	t.Parallel()
	const present = `{name: x, port: 80, protocol: http, default_pool_id: a, labels: {a: "1", b: "2"}, timeouts: {idle: 1s, client: 2s}, allowed_cidrs: [10.0.0.0/8]}`
	for _, test := range []struct{ mask, source, want string }{
		{"", `{port: 81}`, `{name: x, port: 81, protocol: http, default_pool_id: a, labels: {a: "1", b: "2"}, timeouts: {idle: 1s, client: 2s}, allowed_cidrs: [10.0.0.0/8]}`},
		{"", `{name: x, uid: other, timeouts: {idle: 9s}, labels: {c: "3"}}`, `{name: x, port: 80, protocol: http, default_pool_id: a, labels: {c: "3"}, timeouts: {idle: 9s, client: 2s}, allowed_cidrs: [10.0.0.0/8]}`},
		{"*", `{port: 81, protocol: tcp}`, `{name: x, port: 81, protocol: tcp}`},
		{"default_pool_id,allowed_cidrs", `{}`, `{name: x, port: 80, protocol: http, labels: {a: "1", b: "2"}, timeouts: {idle: 1s, client: 2s}}`},
		{"labels.a,labels.c.d", `{labels: {a: "9", c.d: "8"}}`, `{name: x, port: 80, protocol: http, default_pool_id: a, labels: {a: "9", b: "2", c.d: "8"}, timeouts: {idle: 1s, client: 2s}, allowed_cidrs: [10.0.0.0/8]}`},
		{"labels.`a`,timeouts.idle", `{}`, `{name: x, port: 80, protocol: http, default_pool_id: a, labels: {b: "2"}, timeouts: {client: 2s}, allowed_cidrs: [10.0.0.0/8]}`},
		{"timeouts", `{timeouts: {tcp_idle: 3s}}`, `{name: x, port: 80, protocol: http, default_pool_id: a, labels: {a: "1", b: "2"}, timeouts: {tcp_idle: 3s}, allowed_cidrs: [10.0.0.0/8]}`},
		{"tls_config.hsts.preload", `{tls_config: {hsts: {preload: true}}}`, `{name: x, port: 80, protocol: http, default_pool_id: a, labels: {a: "1", b: "2"}, timeouts: {idle: 1s, client: 2s}, allowed_cidrs: [10.0.0.0/8], tls_config: {hsts: {preload: true}}}`},
		{"tls_config.hsts.preload", `{}`, present},
		{"defaultPoolId", `{default_pool_id: b}`, strings.Replace(present, "default_pool_id: a", "default_pool_id: b", 1)},
	} {
		target, source, want := &fiberlbv1.Listener{}, &fiberlbv1.Listener{}, &fiberlbv1.Listener{}
		for text, m := range map[string]proto.Message{present: target, test.source: source, test.want: want} {
			if err := textform.UnmarshalYAML([]byte(text), m); err != nil {
				t.Fatal(err)
			}
		}
		if test.source == present || test.want == present {
			proto.Reset(target)
			proto.Reset(want)
			if textform.UnmarshalYAML([]byte(present), target) != nil || textform.UnmarshalYAML([]byte(test.want), want) != nil {
				t.Fatal("unreadable")
			}
		}
		mask := &fieldmaskpb.FieldMask{}
		if test.mask != "" {
			mask.Paths = strings.Split(test.mask, ",")
		}
		asked := proto.CloneOf(source)
		u := update{target: target.ProtoReflect(), source: source.ProtoReflect(), noun: "listener", field: "listener", immutable: listenerKind.immutable}
		if violations := u.apply(mask); len(violations) > 0 || !proto.Equal(target, want) {
			t.Errorf("mask %q with %s:\n%v\nwant\n%v\n%v", test.mask, test.source, target, want, violations)
		}
		if !proto.Equal(source, asked) {
			t.Errorf("mask %q changed the request", test.mask)
		}
	}
}

func FuzzFieldMask(f *testing.F) {
	f.Add("timeouts.idle,labels.x", true)
	f.Add("*", false)
	f.Add("health_check.http.url_path,backends", true)
	f.Fuzz(func(t *testing.T, paths string, derived bool) {
		source := &fiberlbv1.Pool{Name: "x", Labels: map[string]string{"a": "b"}, HealthCheck: &fiberlbv1.HealthCheck{Http: &fiberlbv1.HttpCheck{UrlPath: "/x"}}}
		target := &fiberlbv1.Pool{Name: "x", Uid: "u", Etag: "e", Backends: []*fiberlbv1.Backend{{Name: "b"}}}
		asked := proto.CloneOf(source)
		u := update{target: target.ProtoReflect(), source: source.ProtoReflect(), noun: "pool", field: "pool", immutable: poolKind.immutable, derived: derived}
		u.apply(&fieldmaskpb.FieldMask{Paths: strings.Split(paths, ",")})
		if target.GetName() != "x" || target.GetUid() != "u" || target.GetEtag() != "e" {
			t.Errorf("mask %q wrote what nobody may: %v", paths, target)
		}
		if !proto.Equal(source, asked) {
			t.Errorf("mask %q changed the request", paths)
		}
		// Nothing is shared with the request.
		proto.Reset(target)
		if !proto.Equal(source, asked) {
			t.Errorf("mask %q shares", paths)
		}
	})
}
