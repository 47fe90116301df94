package tlsid

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
)

func TestServerCredentials(t *testing.T) {
	t.Parallel()
	files := tlsidtest.NewCA(t).Server(t)
	all := Flags{Cert: files.Cert, Key: files.Key, CA: files.CA}
	tests := []struct {
		name  string
		flags Flags
		addr  string
		want  string // part of the error; empty: accepted
	}{
		{"TLS anywhere", all, "0.0.0.0:7400", ""},
		{"TLS on loopback", all, "127.0.0.1:7400", ""},
		{"asked for plaintext on loopback", Flags{InsecureLoopback: true}, "127.0.0.1:7400", ""},
		{"on another loopback address", Flags{InsecureLoopback: true}, "127.9.9.9:7400", ""},
		{"on IPv6 loopback", Flags{InsecureLoopback: true}, "[::1]:7400", ""},
		{"on localhost", Flags{InsecureLoopback: true}, "localhost:7400", ""},
		{"on a unix socket", Flags{InsecureLoopback: true}, "unix:/run/fiberlb.sock", ""},
		{"plaintext not asked for", Flags{}, "127.0.0.1:7400", "--insecure-loopback"},
		{"on all addresses", Flags{InsecureLoopback: true}, "0.0.0.0:7400", "not loopback: give --tls-cert"},
		{"on an empty host", Flags{InsecureLoopback: true}, ":7400", "not loopback: give --tls-cert"},
		{"on the IPv6 wildcard", Flags{InsecureLoopback: true}, "[::]:7400", "not loopback: give --tls-cert"},
		{"on a name", Flags{InsecureLoopback: true}, "localhost.example:7400", "not loopback: give --tls-cert"},
		{"neither", Flags{}, "192.0.2.1:7400", "not loopback: give --tls-cert"},
		{"one file", Flags{Cert: files.Cert}, "127.0.0.1:7400", "--tls-key and --tls-ca missing"},
		{"no authorities", Flags{Cert: files.Cert, Key: files.Key, InsecureLoopback: true}, "127.0.0.1:7400", "--tls-ca missing"},
		{"both", Flags{Cert: all.Cert, Key: all.Key, CA: all.CA, InsecureLoopback: true}, "127.0.0.1:7400", "contradicts"},
		{"absent file", Flags{Cert: files.Cert + "x", Key: files.Key, CA: files.CA}, "127.0.0.1:7400", "no such file"},
		{"swapped files", Flags{Cert: files.Key, Key: files.Cert, CA: files.CA}, "127.0.0.1:7400", "--tls-cert"},
		{"authorities without a certificate", Flags{Cert: files.Cert, Key: files.Key, CA: files.Key}, "127.0.0.1:7400", "--tls-ca"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			creds, err := test.flags.ServerCredentials(test.addr)
			check(t, err, test.want)
			if (err == nil) != (creds != nil) {
				t.Errorf("credentials %v with error %v", creds, err)
			}
		})
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	files := tlsidtest.NewCA(t).Client(t, "alice")
	all := Flags{Cert: files.Cert, Key: files.Key, CA: files.CA}
	tests := []struct {
		name    string
		flags   Flags
		targets string // comma-separated
		want    string
	}{
		{"TLS", all, "controller.example:7400,192.0.2.1:7400", ""},
		{"plaintext to loopback", Flags{}, "127.0.0.1:7400,[::1]:7400,localhost:7400", ""},
		{"plaintext to a socket", Flags{}, "unix:/run/x.sock,unix:///run/x.sock,unix-abstract:x", ""},
		{"gRPC schemes", Flags{}, "dns:///127.0.0.1:7400,passthrough:///[::1]:7400,dns:localhost:7400", ""},
		{"no port", Flags{}, "127.0.0.1,::1,[::1]", ""},
		{"one of two off the machine", Flags{}, "127.0.0.1:7400,192.0.2.1:7400", "192.0.2.1:7400, which is not loopback: give --tls-cert"},
		{"a name", Flags{}, "controller.example:7400", "controller.example:7400, which is not loopback"},
		{"a name behind a scheme", Flags{}, "dns:///controller.example:7400", "not loopback"},
		{"a DNS server off the machine", Flags{}, "dns://192.0.2.53/localhost:7400", "not loopback"},
		{"an address in a name", Flags{}, "127.0.0.1.example:7400", "not loopback"},
		{"part of the files", Flags{CA: files.CA}, "127.0.0.1:7400", "--tls-cert and --tls-key missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := test.flags.ClientCredentials(strings.Split(test.targets, ","))
			check(t, err, test.want)
		})
	}
	_, err := (&Flags{}).ClientCredentials(nil)
	check(t, err, "no server to connect to")
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want an error with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want it to say %q", err, want)
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	args := []string{"--tls-cert=c", "--tls-key=k", "--tls-ca=a"}

	var client Flags
	fs := pflag.NewFlagSet("client", pflag.ContinueOnError)
	client.RegisterClient(fs)
	if err := fs.Parse(args); err != nil || client != (Flags{Cert: "c", Key: "k", CA: "a"}) {
		t.Errorf("client flags %+v, error %v", client, err)
	}
	if fs.Lookup("insecure-loopback") != nil {
		t.Error("a client has --insecure-loopback")
	}

	var server Flags
	fs = pflag.NewFlagSet("server", pflag.ContinueOnError)
	server.RegisterServer(fs)
	if err := fs.Parse(append(args, "--insecure-loopback")); err != nil || server != (Flags{Cert: "c", Key: "k", CA: "a", InsecureLoopback: true}) {
		t.Errorf("server flags %+v, error %v", server, err)
	}
}
