package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// maxPEMBytes bounds a certificate or key file.
const maxPEMBytes = 1 << 20

var certificateTypes = map[string]fiberlbv1.CertificateType{
	"server":    fiberlbv1.CertificateType_CERTIFICATE_TYPE_SERVER,
	"client_ca": fiberlbv1.CertificateType_CERTIFICATE_TYPE_CLIENT_CA,
	"sni":       fiberlbv1.CertificateType_CERTIFICATE_TYPE_SNI,
}

func (a *app) certificateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "certificate",
		Aliases: []string{"cert"},
		Short:   "List, show and upload certificates",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%q is not something to do with certificates: use list, show or upload", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.certificateListCommand(), a.certificateShowCommand(), a.certificateUploadCommand())
	return cmd
}

func (a *app) certificateListCommand() *cobra.Command {
	o := getOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List certificates",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", o.format, formats...); err != nil {
				return err
			}
			return a.get(cmd.Context(), kindFor(lb.KindCertificate), "", &o)
		},
	}
	a.certificateFlags(cmd, &o.scope)
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", "one of "+strings.Join(formats, ", "))
	return cmd
}

func (a *app) certificateFlags(cmd *cobra.Command, s *scope) {
	cmd.Flags().StringVar(&s.lb, "lb", "", "load balancer that the certificate lies in")
	cmd.Flags().StringVarP(&s.project, "project", "p", "", "project of the load balancer")
	complete(cmd, "lb", func(ctx context.Context) []string { return a.names(ctx, kindFor(lb.KindLoadBalancer), s) })
}

func (a *app) certificateShowCommand() *cobra.Command {
	var s scope
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a certificate; never its private key",
		Args:  justOne("which certificate?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := s.name(kindFor(lb.KindCertificate), args[0])
			if err != nil {
				return err
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd.Context(), callTimeout)
			defer cancel()
			m, err := c.certificates.GetCertificate(ctx, &fiberlbv1.GetRequest{Name: name})
			if err != nil {
				return a.explain(err)
			}
			a.showCertificate(m)
			return nil
		},
	}
	a.certificateFlags(cmd, &s)
	cmd.ValidArgsFunction = a.completeNames(kindFor(lb.KindCertificate), &s)
	return cmd
}

func (a *app) showCertificate(m *fiberlbv1.Certificate) {
	line := func(title, value string) {
		if value != "" {
			a.printf("%-13s %s\n", title+":", clean(value))
		}
	}
	line("name", m.GetFullName())
	line("type", textform.EnumWord(m.GetType()))
	line("subject", m.GetSubject())
	line("names", strings.Join(m.GetDnsNames(), ", "))
	if m.GetNotBefore() != nil {
		line("not before", m.GetNotBefore().AsTime().UTC().Format(time.RFC3339))
	}
	if t := m.GetExpiresAt(); t != nil {
		expiry := a.expiry(m)
		text := t.AsTime().UTC().Format(time.RFC3339)
		if expiry.Paint != nil || strings.Contains(expiry.Text, "EXPIRED") || strings.Contains(expiry.Text, "in ") {
			_, rest, _ := strings.Cut(expiry.Text, " ")
			text += " " + rest
		}
		line("expires", text)
	}
	line("fingerprint", m.GetFingerprintSha256())
	line("description", m.GetDescription())
	a.printf("\n%s\n", strings.TrimSuffix(cleanLines(m.GetCertificate()), "\n"))
}

func (a *app) certificateUploadCommand() *cobra.Command {
	var s scope
	var certificate, key, kind string
	cmd := &cobra.Command{
		Use:     "upload NAME --lb LB --cert FILE --key FILE",
		Short:   "Put a certificate and its private key into a load balancer",
		Long:    "Adds a certificate to a load balancer, or replaces it, as renewals do. The private key cannot be read back.",
		Example: "  fiberctl certificate upload main --lb web --cert main.pem --key main.key",
		Args:    justOne("which certificate?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("type", kind, "server", "client_ca", "sni"); err != nil {
				return err
			}
			if certificate == "" {
				return usagef("give --cert FILE")
			}
			name, err := s.name(kindFor(lb.KindCertificate), args[0])
			if err != nil {
				return err
			}
			m := &fiberlbv1.Certificate{Type: certificateTypes[kind]}
			if m.Certificate, err = readPEM("cert", certificate); err != nil {
				return err
			}
			if key != "" {
				if m.PrivateKey, err = readPEM("key", key); err != nil {
					return err
				}
			}
			return a.upload(cmd, name, m)
		},
	}
	a.certificateFlags(cmd, &s)
	cmd.Flags().StringVar(&certificate, "cert", "", "PEM file of the certificate, leaf first")
	cmd.Flags().StringVar(&key, "key", "", "PEM file of its private key")
	cmd.Flags().StringVar(&kind, "type", "server", "server, sni or client_ca; of a new certificate")
	complete(cmd, "type", func(context.Context) []string { return []string{"server", "sni", "client_ca"} })
	cmd.ValidArgsFunction = a.completeNames(kindFor(lb.KindCertificate), &s)
	return cmd
}

// upload replaces the certificate, or creates it where there is none. What a person sees of the type changes only when told.
func (a *app) upload(cmd *cobra.Command, name string, m *fiberlbv1.Certificate) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd.Context(), callTimeout)
	defer cancel()
	mask := []string{"certificate"}
	if m.GetPrivateKey() != "" {
		mask = append(mask, "private_key")
	}
	if cmd.Flags().Changed("type") {
		mask = append(mask, "type")
	}
	verb := "replaced"
	after, err := c.certificates.UpdateCertificate(ctx, &fiberlbv1.UpdateCertificateRequest{
		Name: name, Certificate: m, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}, RequestId: requestID(),
	})
	if status.Code(err) == codes.NotFound {
		parent, short, _ := strings.Cut(name, "/certificates/")
		m.Name, verb = short, "added"
		after, err = c.certificates.CreateCertificate(ctx, &fiberlbv1.CreateCertificateRequest{Parent: parent, Certificate: m, RequestId: requestID()})
	}
	if err != nil {
		return a.explain(err)
	}
	expires := ""
	if after.GetExpiresAt() != nil {
		expires = "; it expires on " + after.GetExpiresAt().AsTime().UTC().Format(time.DateOnly)
	}
	a.printf("%s certificate %s of %s%s\n", verb, clean(after.GetName()), lbOf(name), expires)
	return nil
}

// readPEM reads a file that a flag names.
func readPEM(flag, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxPEMBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("--%s: %w", flag, err)
	case len(content) > maxPEMBytes:
		return "", fmt.Errorf("--%s: %s is longer than %d bytes", flag, path, maxPEMBytes)
	}
	return string(content), nil
}
