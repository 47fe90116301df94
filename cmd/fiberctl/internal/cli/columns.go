package cli

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fiberlb/fiberlb/cmd/fiberctl/internal/table"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func col(title string, shrink int) column {
	return column{Column: table.Column{Title: title, Shrink: shrink}}
}
func wide(title string, shrink int) column {
	return column{Column: table.Column{Title: title, Shrink: shrink}, wide: true}
}
func num(title string) column { return column{Column: table.Column{Title: title, Right: true}} }

// The columns of every kind, in the order of its row's cells.
var (
	loadBalancerColumns = []column{col("NAME", 1), col("VIPS", 4), col("PROVISIONING", 0), col("OPERATING", 0), col("NODES", 0), col("AGE", 2),
		col("REASON", 5), wide("REVISION", 2), wide("SELECTOR", 3), wide("LABELS", 6), wide("DESCRIPTION", 7)}
	listenerColumns = []column{col("NAME", 1), col("LB", 2), num("PORT"), col("PROTOCOL", 0), col("POOL", 3), col("STATUS", 0), col("REASON", 5),
		wide("CERTIFICATE", 3), wide("LIMIT", 3), wide("CIDRS", 4), wide("AGE", 2)}
	poolColumns = []column{col("NAME", 1), col("LB", 2), col("PROTOCOL", 0), col("ALGORITHM", 3), num("BACKENDS"), col("CHECK", 2), col("STATUS", 0),
		col("REASON", 5), wide("PERSISTENCE", 3), wide("DRAIN", 3), wide("AGE", 2)}
	backendColumns = []column{col("NAME", 1), col("LB", 2), col("POOL", 2), col("ADDRESS", 1), num("WEIGHT"), col("STATUS", 0), col("REASON", 5),
		wide("MONITOR", 3), wide("BACKUP", 3), wide("AGE", 2)}
	healthCheckColumns = []column{col("NAME", 1), col("LB", 2), col("POOL", 1), col("TYPE", 0), col("INTERVAL", 0), col("TIMEOUT", 0), col("UP/DOWN", 0),
		col("REQUEST", 5), wide("AGE", 2)}
	policyColumns = []column{col("NAME", 1), col("LB", 2), col("LISTENER", 2), num("POSITION"), col("ACTION", 0), col("TARGET", 3), num("RULES"),
		col("STATUS", 0), wide("REASON", 5), wide("AGE", 2)}
	ruleColumns        = []column{col("NAME", 2), col("LB", 4), col("LISTENER", 4), col("POLICY", 3), col("MATCHES", 1), wide("AGE", 2)}
	certificateColumns = []column{col("NAME", 1), col("LB", 2), col("TYPE", 0), col("NAMES", 3), col("EXPIRES", 0), col("SUBJECT", 4),
		wide("FINGERPRINT", 5), wide("AGE", 2)}
	nodeColumns = []column{col("NAME", 1), col("STATE", 0), num("REVISION"), col("SEEN", 2), num("ERRORS"), num("DOWN"), col("LABELS", 4), col("VERSION", 5),
		wide("ADDRESS", 3), wide("CONTROLLER", 3), wide("CAPABILITIES", 6)}
)

func cell(text string) table.Cell { return table.Cell{Text: text} }

// loadBalancerView is what a load balancer and a whole configuration have in common.
type loadBalancerView interface {
	GetProject() string
	GetName() string
	GetVips() []string
	GetEnabled() bool
	GetStatus() *fiberlbv1.Status
	GetCreatedAt() *timestamppb.Timestamp
	GetNodeSelector() map[string]string
	GetLabels() map[string]string
	GetDescription() string
}

func (a *app) loadBalancerRow(m loadBalancerView) []table.Cell {
	status := m.GetStatus()
	rollout := status.GetRollout()
	return []table.Cell{
		cell(shortName(m.GetProject(), m.GetName())), cell(strings.Join(m.GetVips(), ",")), a.provisioning(status), a.operating(status, m.GetEnabled()),
		cell(fmt.Sprintf("%d/%d", rollout.GetAcked(), rollout.GetNodes())), a.age(m.GetCreatedAt()), cell(reason(status)),
		cell(strconv.FormatInt(rollout.GetRevision(), 10)), cell(pairs(m.GetNodeSelector())), cell(pairs(m.GetLabels())), cell(m.GetDescription()),
	}
}

func (a *app) listenerRow(m *fiberlbv1.Listener) []table.Cell {
	limit := ""
	if m.GetConnectionLimit() > 0 {
		limit = number(m.GetConnectionLimit())
	}
	return []table.Cell{
		cell(m.GetName()), cell(lbOf(m.GetFullName())), cell(number(m.GetPort())), cell(textform.EnumWord(m.GetProtocol())), cell(m.GetDefaultPoolId()),
		a.operating(m.GetStatus(), m.GetEnabled()), cell(reason(m.GetStatus())),
		cell(m.GetTlsConfig().GetCertificateId()), cell(limit), cell(strings.Join(m.GetAllowedCidrs(), ",")), a.age(m.GetCreatedAt()),
	}
}

func (a *app) poolRow(m *fiberlbv1.Pool) []table.Cell {
	check, persistence := "", ""
	if m.GetHealthCheck() != nil {
		check = textform.EnumWord(m.GetHealthCheck().GetType())
	}
	if m.GetPersistence() != nil {
		persistence = textform.EnumWord(m.GetPersistence().GetType())
	}
	return []table.Cell{
		cell(m.GetName()), cell(lbOf(m.GetFullName())), cell(textform.EnumWord(m.GetProtocol())), cell(textform.EnumWord(m.GetAlgorithm())),
		cell(strconv.Itoa(len(m.GetBackends()))), cell(check), a.operating(m.GetStatus(), m.GetEnabled()), cell(reason(m.GetStatus())),
		cell(persistence), cell(duration(m.GetDeregistrationDelay())), a.age(m.GetCreatedAt()),
	}
}

func (a *app) backendRow(m *fiberlbv1.Backend) []table.Cell {
	p, _ := lb.ParseName(m.GetFullName())
	monitor, backup := "", ""
	if m.GetMonitorAddress() != "" || m.GetMonitorPort() != 0 {
		monitor = hostPort(or(m.GetMonitorAddress(), m.GetAddress()), or32(m.GetMonitorPort(), m.GetPort()))
	}
	if m.GetBackup() {
		backup = "yes"
	}
	return []table.Cell{
		cell(m.GetName()), cell(lbOf(m.GetFullName())), cell(p.Pool), cell(hostPort(m.GetAddress(), m.GetPort())), cell(number(m.GetWeight())),
		a.operating(m.GetStatus(), m.GetEnabled()), cell(reason(m.GetStatus())), cell(monitor), cell(backup), a.age(m.GetCreatedAt()),
	}
}

func (a *app) healthCheckRow(m *fiberlbv1.HealthCheck) []table.Cell {
	p, _ := lb.ParseName(m.GetFullName())
	request := ""
	if h := m.GetHttp(); h != nil {
		request = strings.TrimSpace(fmt.Sprintf("%s %s%s for %s", h.GetMethod(), h.GetHostHeader(), h.GetUrlPath(), h.GetExpectedCodes()))
	}
	return []table.Cell{
		cell(m.GetName()), cell(lbOf(m.GetFullName())), cell(p.Pool), cell(textform.EnumWord(m.GetType())), cell(duration(m.GetInterval())), cell(duration(m.GetTimeout())),
		cell(fmt.Sprintf("%d/%d", m.GetHealthyThreshold(), m.GetUnhealthyThreshold())), cell(request), a.age(m.GetCreatedAt()),
	}
}

func (a *app) policyRow(m *fiberlbv1.L7Policy) []table.Cell {
	return []table.Cell{
		cell(m.GetName()), cell(lbOf(m.GetFullName())), cell(m.GetListenerId()), cell(number(m.GetPosition())), cell(textform.EnumWord(m.GetAction())), cell(target(m)),
		cell(strconv.Itoa(len(m.GetRules()))), a.operating(m.GetStatus(), m.GetEnabled()), cell(reason(m.GetStatus())), a.age(m.GetCreatedAt()),
	}
}

// target is where a policy leads.
func target(m *fiberlbv1.L7Policy) string {
	if r := m.GetFixedResponse(); r != nil {
		return number(r.GetStatusCode())
	}
	var pools []string
	for _, p := range m.GetRedirectPools() {
		pools = append(pools, fmt.Sprintf("%s=%d", p.GetPoolId(), p.GetWeight()))
	}
	switch {
	case m.GetRedirectPoolId() != "":
		return m.GetRedirectPoolId()
	case len(pools) > 0:
		return strings.Join(pools, ",")
	}
	return strings.TrimSpace(number(m.GetRedirectHttpStatusCode()) + " " + m.GetRedirectUrl() + m.GetRedirectPrefix())
}

func (a *app) ruleRow(m *fiberlbv1.L7Rule) []table.Cell {
	p, _ := lb.ParseName(m.GetFullName())
	not := ""
	if m.GetInvert() {
		not = "not "
	}
	key := m.GetKey()
	if key != "" {
		key = " " + key
	}
	matches := fmt.Sprintf("%s%s%s %s %q", not, textform.EnumWord(m.GetRuleType()), key, textform.EnumWord(m.GetCompareType()), m.GetValue())
	return []table.Cell{cell(m.GetName()), cell(lbOf(m.GetFullName())), cell(p.Listener), cell(p.Policy), cell(matches), a.age(m.GetCreatedAt())}
}

func (a *app) certificateRow(m *fiberlbv1.Certificate) []table.Cell {
	return []table.Cell{
		cell(m.GetName()), cell(lbOf(m.GetFullName())), cell(textform.EnumWord(m.GetType())), cell(strings.Join(m.GetDnsNames(), ",")), a.expiry(m),
		cell(m.GetSubject()), cell(m.GetFingerprintSha256()), a.age(m.GetCreatedAt()),
	}
}

// expiry is loud about certificates that are, or soon will be, of no use.
func (a *app) expiry(m *fiberlbv1.Certificate) table.Cell {
	if m.GetExpiresAt() == nil {
		return table.Cell{}
	}
	left := m.GetExpiresAt().AsTime().Sub(a.now())
	date := m.GetExpiresAt().AsTime().UTC().Format(time.DateOnly)
	switch {
	case left <= 0:
		return table.Cell{Text: date + " EXPIRED", Paint: a.terminal.paint(alarm)}
	case left < 14*24*time.Hour:
		return table.Cell{Text: date + " (in " + span(left) + ")", Paint: a.terminal.paint(yellow)}
	}
	return cell(date)
}

func (a *app) nodeRow(m *fiberlbv1.Node) []table.Cell {
	labels := maps.Clone(m.GetReportedLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, m.GetLabels())
	return []table.Cell{
		cell(m.GetName()), a.nodeState(m), cell(strconv.FormatInt(m.GetRevision(), 10)), a.age(m.GetLastSeen()), a.count(len(m.GetErrors())), a.count(int(m.GetDownCount())),
		cell(pairs(labels)), cell(m.GetSoftwareVersion()), cell(m.GetAddress()), cell(m.GetController()), cell(strings.Join(m.GetCapabilities(), ",")),
	}
}

func (a *app) nodeState(m *fiberlbv1.Node) table.Cell {
	switch {
	case !m.GetConnected():
		return table.Cell{Text: "GONE", Paint: a.terminal.paint(alarm)}
	case m.GetDrain():
		return table.Cell{Text: "draining", Paint: a.terminal.paint(yellow)}
	case len(m.GetErrors()) > 0:
		return table.Cell{Text: "ERRORS", Paint: a.terminal.paint(alarm)}
	}
	return table.Cell{Text: "ready", Paint: a.terminal.paint(green)}
}

// count paints what should be zero.
func (a *app) count(n int) table.Cell {
	c := cell(strconv.Itoa(n))
	if n > 0 {
		c.Paint = a.terminal.paint(red)
	}
	return c
}

func (a *app) provisioning(s *fiberlbv1.Status) table.Cell {
	c := cell(textform.EnumWord(s.GetProvisioningStatus()))
	switch s.GetProvisioningStatus() {
	case fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ACTIVE:
		c.Paint = a.terminal.paint(green)
	case fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_PENDING:
		c.Paint = a.terminal.paint(yellow)
	case fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ERROR:
		c.Paint = a.terminal.paint(alarm)
		c.Text = strings.ToUpper(c.Text)
	case fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_UNSPECIFIED:
		c.Text = "-"
	}
	return c
}

func (a *app) operating(s *fiberlbv1.Status, enabled bool) table.Cell {
	if !enabled {
		return table.Cell{Text: "disabled", Paint: a.terminal.paint(faint)}
	}
	c := cell(textform.EnumWord(s.GetOperatingStatus()))
	switch s.GetOperatingStatus() {
	case fiberlbv1.OperatingStatus_OPERATING_STATUS_ONLINE:
		c.Paint = a.terminal.paint(green)
	case fiberlbv1.OperatingStatus_OPERATING_STATUS_DEGRADED, fiberlbv1.OperatingStatus_OPERATING_STATUS_DRAINING:
		c.Paint = a.terminal.paint(yellow)
	case fiberlbv1.OperatingStatus_OPERATING_STATUS_ERROR:
		c.Paint = a.terminal.paint(alarm)
		c.Text = strings.ToUpper(c.Text)
	case fiberlbv1.OperatingStatus_OPERATING_STATUS_OFFLINE:
		c.Paint = a.terminal.paint(red)
	case fiberlbv1.OperatingStatus_OPERATING_STATUS_UNSPECIFIED:
		c.Text = "-"
	}
	return c
}

// reason is why an object stands as it does, or what a node says against it.
func reason(s *fiberlbv1.Status) string { return or(s.GetReason(), s.GetRollout().GetLastError()) }

func (a *app) age(t *timestamppb.Timestamp) table.Cell {
	if t == nil {
		return cell("-")
	}
	return cell(span(a.now().Sub(t.AsTime())))
}

// span is a time in its largest unit or two, as ages are read: "3d", "5h12m", "40s".
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= 10*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// shortName is a load balancer for people: the default project goes without saying.
func shortName(project, name string) string {
	if project == "" || project == lb.DefaultProject {
		return name
	}
	return project + "/" + name
}

// lbOf is the load balancer that a full name lies in.
func lbOf(full string) string {
	p, err := lb.ParseName(full)
	if err != nil {
		return ""
	}
	if p.Kind == lb.KindLoadBalancer {
		return shortName(p.Project, p.Name)
	}
	return shortName(p.Project, p.LB)
}

// inLB is a full name without project and load balancer: "listener front".
func inLB(full string) string {
	p, err := lb.ParseName(full)
	if err != nil {
		return clean(full)
	}
	name := p.Name
	if p.Kind == lb.KindBackend || p.Kind == lb.KindHealthCheck {
		name = p.Pool + "/" + name
	}
	if p.Kind == lb.KindPolicy {
		name = p.Listener + "/" + name
	}
	if p.Kind == lb.KindRule {
		name = p.Listener + "/" + p.Policy + "/" + name
	}
	return p.Kind.String() + " " + name
}

func pairs(m map[string]string) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		words = append(words, key+"="+m[key])
	}
	return strings.Join(words, ",")
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func or32(n, otherwise uint32) uint32 {
	if n == 0 {
		return otherwise
	}
	return n
}

func hostPort(address string, port uint32) string { return net.JoinHostPort(address, number(port)) }

func duration(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return lb.FormatDuration(d.AsDuration())
}
