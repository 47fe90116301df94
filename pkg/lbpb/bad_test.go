package lbpb

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

var (
	long64  = strings.Repeat("a", 64)
	long256 = strings.Repeat("a", 256)
)

// TestBadInput changes one text of base, and sees all that is complained about
// and nothing else: "path: problem", one a line.
func TestBadInput(t *testing.T) {
	t.Parallel()
	const (
		apiRule   = `rule_type: L7_RULE_TYPE_PATH compare_type: L7_COMPARE_TYPE_STARTS_WITH value: "/api/"`
		agentRule = `rule_type: L7_RULE_TYPE_HEADER compare_type: L7_COMPARE_TYPE_CONTAINS key: "user-agent" value: "curl"`
		denyRule  = `rule_type: L7_RULE_TYPE_SOURCE_IP compare_type: L7_COMPARE_TYPE_EQUAL_TO value: "192.0.2.0/24"`
	)
	rule := func(kind, compare, rest string) string {
		return "rule_type: L7_RULE_TYPE_" + kind + " compare_type: L7_COMPARE_TYPE_" + compare + " " + rest
	}
	tests := []struct{ old, new, want string }{
		// The load balancer.
		{`name: "web"`, ``, `name: is required`},
		{`name: "web"`, `name: "Web"`, `name: "Web" is not a DNS label`},
		{`name: "web"`, `name: "-web"`, `name: "-web" is not a DNS label`},
		{`name: "web"`, `name: "web-"`, `name: "web-" is not a DNS label`},
		{`name: "web"`, `name: "we.b"`, `name: "we.b" is not a DNS label`},
		{`name: "web"`, `name: "we_b"`, `name: "we_b" is not a DNS label`},
		{`name: "web"`, `name: "wéb"`, `name: "wéb" is not a DNS label`},
		{`name: "web"`, `name: "` + long64 + `"`, `name: "` + long64 + `" is not a DNS label`},
		{`project: "default"`, `project: "a/b"`, `project: "a/b" is not a DNS label`},
		{`description: "shop"`, `description: "` + long256 + `"`, `description: has 256 bytes, more than 255`},
		{`description: "shop"`, `description: "a\000b"`, `description: "a\x00b" is not plain UTF-8 text`},
		{`labels { key: "team" value: "a" }`, `labels { key: "" value: "a" }`, `labels[""]: the key is empty`},
		{`labels { key: "team" value: "a" }`, `labels { key: "team" value: "a\nb" }`, `labels["team"]: "a\nb" has a control character`},
		{`labels { key: "team" value: "a" }`, `labels { key: "team" value: "` + long256 + `" }`, `labels["team"]: "` + long256[:80] + `"... has 256 bytes, more than 255`},
		{`labels { key: "team" value: "a" }`, labels(65), `labels: there are 65, more than 64`},
		{`node_selector { key: "rack" value: "7" }`, `node_selector { key: "rack" value: "\177" }`, `node_selector["rack"]: "\x7f" has a control character`},

		// VIPs.
		{`vips: "203.0.113.10" vips: "2001:db8::10"`, ``, `vips: there is none`},
		{`vips: "203.0.113.10"`, `vips: ""`, `vips[0]: is required`},
		{`vips: "203.0.113.10"`, `vips: "203.0.113"`, `vips[0]: "203.0.113" is not an IP address`},
		{`vips: "203.0.113.10"`, `vips: "203.0.113.010"`, `vips[0]: "203.0.113.010" is not an IP address`},
		{`vips: "203.0.113.10"`, `vips: "203.0.113.10:80"`, `vips[0]: "203.0.113.10:80" is not an IP address; leave the port away: "203.0.113.10"`},
		{`vips: "203.0.113.10"`, `vips: "203.0.113.10/32"`, `vips[0]: "203.0.113.10/32" is not an IP address; leave the prefix length away: "203.0.113.10"`},
		{`vips: "203.0.113.10"`, `vips: "web.example"`, `vips[0]: "web.example" is not an IP address`},
		{`vips: "203.0.113.10"`, `vips: "0.0.0.0"`, `vips[0]: 0.0.0.0 is the unspecified address`},
		{`vips: "203.0.113.10"`, `vips: "::"`, `vips[0]: :: is the unspecified address`},
		{`vips: "203.0.113.10"`, `vips: "224.0.0.1"`, `vips[0]: 224.0.0.1 is a multicast address`},
		{`vips: "203.0.113.10"`, `vips: "ff02::1"`, `vips[0]: ff02::1 is a multicast address`},
		{`vips: "203.0.113.10"`, `vips: "255.255.255.255"`, `vips[0]: 255.255.255.255 is the broadcast address`},
		{`vips: "203.0.113.10"`, `vips: "fe80::1"`, `vips[0]: fe80::1 is a link-local address, which means nothing without an interface`},
		{`vips: "203.0.113.10"`, `vips: "fe80::1%eth0"`, `vips[0]: fe80::1%eth0 has a zone`},
		{`vips: "203.0.113.10"`, `vips: "::ffff:0.0.0.0"`, `vips[0]: 0.0.0.0 is the unspecified address`},
		{`vips: "2001:db8::10"`, `vips: "::ffff:203.0.113.10"`, `vips[1]: 203.0.113.10 is also vips[0]`},
		{`vips: "2001:db8::10"`, `vips: "2001:db8::10" vips: "2001:DB8:0::10"`, `vips[2]: 2001:db8::10 is also vips[1]`},

		// Listeners.
		{`name: "front" port`, `port`, "listeners[0].name: is required\nl7_policies[0].listener_id: there is no listener \"front\"\nl7_policies[1].listener_id: there is no listener \"front\""},
		{`name: "plain" port`, `name: "dns" port`, "listeners[2].name: \"dns\" is also the name of listeners[1]\nl7_policies[2].listener_id: there is no listener \"plain\"\nl7_policies[3].listener_id: there is no listener \"plain\"\nl7_policies[4].listener_id: there is no listener \"plain\""},
		{`port: 443`, ``, `listeners[0].port: 0 is not in 1-65535`},
		{`port: 443`, `port: 99999`, `listeners[0].port: 99999 is not in 1-65535`},
		{`port: 443`, `port: 65979`, `listeners[0].port: 65979 is not in 1-65535`}, // 443 modulo 65536
		{`port: 443`, `port: 80`, `listeners[1].port: tcp port 80 is taken by listeners[0]`},
		{`port: 5432 protocol: LISTENER_PROTOCOL_TCP`, `port: 443 protocol: LISTENER_PROTOCOL_TCP`, `listeners[3].port: tcp port 443 is taken by listeners[0]`},
		{`port: 5432 protocol: LISTENER_PROTOCOL_TCP`, `port: 53 protocol: LISTENER_PROTOCOL_TCP`, ``}, // TCP and UDP on one port are two
		{`protocol: LISTENER_PROTOCOL_TCP`, ``, `listeners[3].protocol: is required; choose one of tcp, udp, http, https, tls, tls_passthrough`},
		{`protocol: LISTENER_PROTOCOL_TCP`, `protocol: 7`, `listeners[3].protocol: 7 is not a known listener protocol; choose one of tcp, udp, http, https, tls, tls_passthrough`},
		{`protocol: LISTENER_PROTOCOL_TCP`, `protocol: -1`, `listeners[3].protocol: -1 is not a known listener protocol`},
		{`protocol: LISTENER_PROTOCOL_TCP`, `protocol: 257`, `listeners[3].protocol: 257 is not a known listener protocol`},
		{`protocol: LISTENER_PROTOCOL_TCP`, `protocol: LISTENER_PROTOCOL_HTTP`, `listeners[3].default_pool_id: pool "rows" speaks tcp, which does not go with a listener of protocol http; use a pool of protocol http, https, h2c, h2`},
		{`default_pool_id: "rows"`, `default_pool_id: "row"`, `listeners[3].default_pool_id: there is no pool "row"; did you mean "rows"?`},
		{`default_pool_id: "rows"`, `default_pool_id: "zzzzz"`, `listeners[3].default_pool_id: there is no pool "zzzzz"; name a pool of this load balancer`},
		{`default_pool_id: "rows"`, ``, ``},
		{`connection_limit: 1000`, `connection_limit: 10000001`, `listeners[0].connection_limit: 10000001 is not in 0-10000000`},
		{`allowed_cidrs: "198.51.100.0/24"`, `allowed_cidrs: "198.51.100.0/33"`, `listeners[0].allowed_cidrs[0]: "198.51.100.0/33" is not a CIDR such as "192.0.2.0/24" or "2001:db8::/32"`},
		{`allowed_cidrs: "198.51.100.0/24"`, `allowed_cidrs: "0.0.0.0/0" allowed_cidrs: "all"`, `listeners[0].allowed_cidrs[1]: "all" is not a CIDR such as`},
		{`allowed_cidrs: "198.51.100.0/24"`, `allowed_cidrs: "fe80::1%eth0"`, `listeners[0].allowed_cidrs[0]: "fe80::1%eth0" is not a CIDR such as`},
		{`allowed_cidrs: "198.51.100.0/24"`, `allowed_cidrs: "198.51.100.7" allowed_cidrs: "2001:db8::7"`, ``},
		{`client { seconds: 50 }`, `client { seconds: 0 }`, `listeners[0].timeouts.client: 0s is not in 1ms-24h`},
		{`client { seconds: 50 }`, `client { seconds: -5 }`, `listeners[0].timeouts.client: -5s is not in 1ms-24h`},
		{`client { seconds: 50 }`, `client { seconds: 86401 }`, `listeners[0].timeouts.client: 24h0m1s is not in 1ms-24h`},
		{`client { seconds: 50 }`, `client { nanos: 999999 }`, `listeners[0].timeouts.client: 999.999µs is not in 1ms-24h`},
		{`client { seconds: 50 }`, `client { seconds: 1 nanos: -1 }`, `listeners[0].timeouts.client: 1s and -1ns is not a duration in 1ms-24h`},
		{`client { seconds: 50 }`, `client { seconds: 315576000000 }`, `listeners[0].timeouts.client: 315576000000s and 0ns is not a duration in 1ms-24h`},
		{`connect { seconds: 5 }`, `connect { seconds: 90000 } backend { seconds: 90000 } idle { seconds: 90000 } tcp_idle { seconds: 90000 }`,
			"listeners[0].timeouts.connect: 25h0m0s is not in 1ms-24h\nlisteners[0].timeouts.backend: 25h0m0s is not in\nlisteners[0].timeouts.idle: 25h0m0s is not in\nlisteners[0].timeouts.tcp_idle: 25h0m0s is not in"},
		{`x_forwarded_for: FORWARDED_FOR_MODE_APPEND`, `x_forwarded_for: 9`, `listeners[0].insert_headers.x_forwarded_for: 9 is not a known X-Forwarded-For mode; choose one of append, preserve, remove`},
		{`port: 53 protocol: LISTENER_PROTOCOL_UDP`, `port: 53 protocol: LISTENER_PROTOCOL_UDP insert_headers { }`, `listeners[2].insert_headers: a listener of protocol udp does not read requests`},

		// TLS.
		{`port: 80 protocol: LISTENER_PROTOCOL_HTTP`, `port: 80 protocol: LISTENER_PROTOCOL_HTTPS`, `listeners[1].tls_config: is required by protocol https; give a tls_config with a certificate_id`},
		{`port: 80 protocol: LISTENER_PROTOCOL_HTTP`, `port: 80 protocol: LISTENER_PROTOCOL_HTTP tls_config { certificate_id: "main" }`, `listeners[1].tls_config: a listener of protocol http does not terminate TLS`},
		{`port: 5432 protocol: LISTENER_PROTOCOL_TCP`, `port: 5432 protocol: LISTENER_PROTOCOL_TLS`, `listeners[3].tls_config: is required by protocol tls`},
		{`port: 5432 protocol: LISTENER_PROTOCOL_TCP`, `port: 5432 protocol: LISTENER_PROTOCOL_TLS_PASSTHROUGH tls_config { certificate_id: "main" }`, `listeners[3].tls_config: a listener of protocol tls_passthrough does not terminate TLS`},
		{`port: 5432 protocol: LISTENER_PROTOCOL_TCP`, `port: 5432 protocol: LISTENER_PROTOCOL_TLS tls_config { certificate_id: "main" alpn_protocols: "imap" hsts { max_age { } } }`, `listeners[3].tls_config.hsts: a listener of protocol tls does not write answers`},
		{`certificate_id: "main"`, ``, `listeners[0].tls_config.certificate_id: is required`},
		{`certificate_id: "main"`, `certificate_id: "mian"`, `listeners[0].tls_config.certificate_id: there is no certificate "mian"; did you mean "main"?`},
		{`certificate_id: "main"`, `certificate_id: "other"`, `listeners[0].tls_config.certificate_id: certificate "other" is of type sni; name one of type server`},
		{`sni_certificate_ids: "other"`, `sni_certificate_ids: "clients"`, `listeners[0].tls_config.sni_certificate_ids[0]: certificate "clients" is of type client_ca; name one of type sni or server`},
		{`sni_certificate_ids: "other"`, `sni_certificate_ids: "other" sni_certificate_ids: "other"`, `listeners[0].tls_config.sni_certificate_ids[1]: "other" is there twice`},
		{`min_version: TLS_VERSION_TLS12`, `min_version: 3`, `listeners[0].tls_config.min_version: 3 is not a known TLS version; choose one of tls12, tls13`},
		{`cipher_suites: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`, `cipher_suites: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265"`, `listeners[0].tls_config.cipher_suites[0]: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265" is not a known cipher suite; did you mean "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"?`},
		{`cipher_suites: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`, `cipher_suites: "TLS_RSA_WITH_RC4_128_SHA"`, `listeners[0].tls_config.cipher_suites[0]: "TLS_RSA_WITH_RC4_128_SHA" is not secure; choose from TLS_ECDHE`},
		{`cipher_suites: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`, `cipher_suites: "TLS_AES_128_GCM_SHA256"`, `listeners[0].tls_config.cipher_suites[0]: "TLS_AES_128_GCM_SHA256" is a suite of TLS 1.3`},
		{`port: 5432 protocol: LISTENER_PROTOCOL_TCP`, `port: 5432 protocol: LISTENER_PROTOCOL_TLS tls_config { certificate_id: "main" alpn_protocols: "a,b" }`, `listeners[3].tls_config.alpn_protocols[0]: "a,b" is not an ALPN protocol id`},
		{`cipher_suites: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`, `cipher_suites: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" cipher_suites: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"`, `listeners[0].tls_config.cipher_suites[1]: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" is there twice`},
		{`alpn_protocols: "h2"`, `alpn_protocols: "h3"`, `listeners[0].tls_config.alpn_protocols[0]: "h3" is not a protocol that https listeners speak; choose from h2, http/1.1`},
		{`alpn_protocols: "h2"`, `alpn_protocols: "h2" alpn_protocols: "h2"`, `listeners[0].tls_config.alpn_protocols[1]: "h2" is there twice`},
		{`client_authentication: CLIENT_AUTHENTICATION_OPTIONAL`, `client_authentication: 4`, `listeners[0].tls_config.client_authentication: 4 is not a known client authentication`},
		{`client_ca_certificate_id: "clients"`, ``, `listeners[0].tls_config.client_ca_certificate_id: is required by client_authentication optional`},
		{`client_ca_certificate_id: "clients"`, `client_ca_certificate_id: "main"`, `listeners[0].tls_config.client_ca_certificate_id: certificate "main" is of type server; name one of type client_ca`},
		{`max_age { seconds: 3600 }`, ``, `listeners[0].tls_config.hsts.max_age: is required`},
		{`max_age { seconds: 3600 }`, `max_age { nanos: 5000000 }`, `listeners[0].tls_config.hsts.max_age: 5ms is not whole seconds`},
		{`max_age { seconds: 3600 }`, `max_age { seconds: 400000000 }`, `listeners[0].tls_config.hsts.max_age: 111111h6m40s is not in 0s-87600h`},

		// Pools.
		{`name: "rows" protocol`, `protocol`, "listeners[3].default_pool_id: there is no pool \"rows\"\npools[2].name: is required"},
		{`name: "rows" protocol`, `name: "app" protocol`, "listeners[3].default_pool_id: there is no pool \"rows\"\npools[2].name: \"app\" is also the name of pools[0]"},
		{`protocol: POOL_PROTOCOL_TCP`, ``, `pools[2].protocol: is required; choose one of tcp, udp, http, https, h2c, h2`},
		{`protocol: POOL_PROTOCOL_TCP`, `protocol: 12`, `pools[2].protocol: 12 is not a known pool protocol`},
		{`protocol: POOL_PROTOCOL_TCP`, `protocol: POOL_PROTOCOL_UDP`, "listeners[3].default_pool_id: pool \"rows\" speaks udp, which does not go with a listener of protocol tcp; use a pool of protocol tcp"},
		{`algorithm: POOL_ALGORITHM_ROUND_ROBIN`, `algorithm: 44`, `pools[0].algorithm: 44 is not a known pool algorithm`},
		{`algorithm: POOL_ALGORITHM_ROUND_ROBIN`, `algorithm: POOL_ALGORITHM_MAGLEV`, `pools[0].slow_start: algorithm maglev has no slow start; remove it, or choose one of round_robin, weighted_round_robin, least_connections, random`},
		{`algorithm: POOL_ALGORITHM_ROUND_ROBIN`, `algorithm: POOL_ALGORITHM_SOURCE_IP`, `pools[0].slow_start: algorithm source_ip has no slow start`},
		{`slow_start { seconds: 30 }`, `slow_start { seconds: 901 }`, `pools[0].slow_start: 15m1s is not in 0s-15m`},
		{`slow_start { seconds: 30 }`, `slow_start { seconds: -1 }`, `pools[0].slow_start: -1s is not in 0s-15m`},
		{`deregistration_delay { seconds: 60 }`, `deregistration_delay { seconds: 3601 }`, `pools[0].deregistration_delay: 1h0m1s is not in 0s-1h`},
		{`deregistration_delay { seconds: 60 }`, `deregistration_delay { }`, ``},
		{`deregistration_delay { seconds: 60 }`, `deregistration_delay { nanos: 2000000000 }`, `pools[0].deregistration_delay: 0s and 2000000000ns is not a duration in 0s-1h`},
		{`deregistration_delay { seconds: 60 }`, `fail_open_below: 65536`, `pools[0].fail_open_below: 65536 is not in 0-65535`},

		// Persistence.
		{`type: PERSISTENCE_TYPE_COOKIE`, ``, `pools[0].persistence.type: is required; choose one of source_ip, cookie, app_cookie`},
		{`type: PERSISTENCE_TYPE_COOKIE`, `type: 8`, `pools[0].persistence.type: 8 is not a known persistence type`},
		{`type: PERSISTENCE_TYPE_COOKIE`, `type: PERSISTENCE_TYPE_SOURCE_IP`, `pools[0].persistence.timeout_seconds: a timeout does not go with persistence of type source_ip`},
		{`type: PERSISTENCE_TYPE_COOKIE timeout_seconds: 3600`, `type: PERSISTENCE_TYPE_SOURCE_IP cookie_name: "x"`, `pools[0].persistence.cookie_name: "x" does not go with persistence of type source_ip`},
		{`type: PERSISTENCE_TYPE_COOKIE timeout_seconds: 3600`, `type: PERSISTENCE_TYPE_APP_COOKIE`, `pools[0].persistence.cookie_name: is required by persistence of type app_cookie`},
		{`type: PERSISTENCE_TYPE_COOKIE`, `type: PERSISTENCE_TYPE_COOKIE cookie_name: "a b"`, `pools[0].persistence.cookie_name: "a b" is not the name of a cookie`},
		{`type: PERSISTENCE_TYPE_COOKIE`, `type: PERSISTENCE_TYPE_COOKIE cookie_name: "a;b"`, `pools[0].persistence.cookie_name: "a;b" is not the name of a cookie`},
		{`timeout_seconds: 3600`, `timeout_seconds: 31536001`, `pools[0].persistence.timeout_seconds: 31536001 is not in 0-31536000`},
		{`protocol: POOL_PROTOCOL_TCP`, `protocol: POOL_PROTOCOL_TCP persistence { type: PERSISTENCE_TYPE_COOKIE }`, `pools[2].persistence.type: cookie does not go with a pool of protocol tcp; choose source_ip, or a pool of protocol http, https, h2c, h2`},

		// Health checks.
		{`health_check { type: HEALTH_CHECK_TYPE_TCP }`, `health_check { }`, `pools[2].health_check.type: is required; choose one of http, https, tcp, tls_hello, udp_connect, grpc`},
		{`health_check { type: HEALTH_CHECK_TYPE_TCP }`, `health_check { type: 7 }`, `pools[2].health_check.type: 7 is not a known health check type`},
		{`health_check { type: HEALTH_CHECK_TYPE_TCP }`, `health_check { type: HEALTH_CHECK_TYPE_UDP_CONNECT }`, `pools[2].health_check.type: udp_connect does not go with a pool of protocol tcp; choose one of http, https, tcp, tls_hello, grpc`},
		{`health_check { type: HEALTH_CHECK_TYPE_TCP }`, `health_check { type: HEALTH_CHECK_TYPE_TCP http { } }`, `pools[2].health_check.http: does not go with a health check of type tcp`},
		{`health_check { type: HEALTH_CHECK_TYPE_TCP }`, `health_check { type: HEALTH_CHECK_TYPE_TCP name: "A" }`, `pools[2].health_check.name: "A" is not a DNS label`},
		{`interval { seconds: 5 }`, `interval { nanos: 99000000 }`, `pools[0].health_check.interval: 99ms is not in 100ms-1h`},
		{`interval { seconds: 5 }`, `interval { seconds: 3601 }`, `pools[0].health_check.interval: 1h0m1s is not in 100ms-1h`},
		{`interval { seconds: 5 }`, `interval { seconds: -5 }`, `pools[0].health_check.interval: -5s is not in 100ms-1h`},
		{`timeout { seconds: 2 }`, `timeout { seconds: 5 }`, `pools[0].health_check.timeout: 5s is not below the interval, 5s; choose a timeout below the interval`},
		{`timeout { seconds: 2 }`, `timeout { seconds: 3601 }`, `pools[0].health_check.timeout: 1h0m1s is not in 1ms-1h`},
		{`timeout { seconds: 2 }`, `timeout { }`, `pools[0].health_check.timeout: 0s is not in 1ms-1h`},
		{` healthy_threshold: 2`, ` healthy_threshold: 11`, `pools[0].health_check.healthy_threshold: 11 is not in 1-10`},
		{` healthy_threshold: 2`, ` healthy_threshold: 258`, `pools[0].health_check.healthy_threshold: 258 is not in 1-10`},
		{`unhealthy_threshold: 3`, `unhealthy_threshold: 300`, `pools[0].health_check.unhealthy_threshold: 300 is not in 1-10`},
		{`method: "GET"`, `method: "get"`, `pools[0].health_check.http.method: "get" is not a method for health checks; write GET`},
		{`method: "GET"`, `method: "CONNECT"`, `pools[0].health_check.http.method: "CONNECT" is not a method for health checks; choose one of GET, HEAD, POST, PUT, OPTIONS, DELETE, PATCH`},
		{`url_path: "/healthz"`, `url_path: "healthz"`, `pools[0].health_check.http.url_path: "healthz" is not a path`},
		{`url_path: "/healthz"`, `url_path: "http://a/healthz"`, `pools[0].health_check.http.url_path: "http://a/healthz" is not a path`},
		{`url_path: "/healthz"`, `url_path: "//host/healthz"`, `pools[0].health_check.http.url_path: "//host/healthz" is not a path`},
		{`url_path: "/healthz"`, `url_path: "/health z"`, `pools[0].health_check.http.url_path: "/health z" has white space`},
		{`url_path: "/healthz"`, `url_path: "/a\r\nX: y"`, `pools[0].health_check.http.url_path: "/a\r\nX: y" has white space`},
		{`url_path: "/healthz"`, `url_path: "/a#b"`, `pools[0].health_check.http.url_path: "/a#b" has white space, a fragment`},
		{`url_path: "/healthz"`, `url_path: "/` + long256 + `"`, `pools[0].health_check.http.url_path: "/` + long256[:79] + `"... has 257 bytes, more than 255`},
		{`expected_codes: "200,204"`, `expected_codes: "2xx"`, `pools[0].health_check.http.expected_codes: "2xx" is not a list of status codes: "2xx" is not one of 100-599 or a range of them; write a list with ranges`},
		{`expected_codes: "200,204"`, `expected_codes: "200,"`, `pools[0].health_check.http.expected_codes: "200," is not a list of status codes: "" is not one`},
		{`expected_codes: "200,204"`, `expected_codes: "299-200"`, `pools[0].health_check.http.expected_codes: "299-200" is not a list`},
		{`expected_codes: "200,204"`, `expected_codes: "200-600"`, `pools[0].health_check.http.expected_codes: "200-600" is not a list`},
		{`expected_codes: "200,204"`, `expected_codes: "+200"`, `pools[0].health_check.http.expected_codes: "+200" is not a list`},
		{`expected_codes: "200,204"`, `expected_codes: "0200"`, `pools[0].health_check.http.expected_codes: "0200" is not a list`},
		{`host_header: "app.example"`, `host_header: "app.example/x"`, `pools[0].health_check.http.host_header: "app.example/x" is not a Host header`},
		{`host_header: "app.example"`, `host_header: "app.example:99999"`, `pools[0].health_check.http.host_header: "app.example:99999" is not a Host header`},
		{`host_header: "app.example"`, `host_header: "a\r\nb"`, `pools[0].health_check.http.host_header: "a\r\nb" is not a Host header`},
		{`host_header: "app.example"`, `host_header: "[::1]:80"`, ``},

		// Backends.
		{`name: "b2" address`, `address`, `pools[0].backends[1].name: is required`},
		{`name: "b2" address`, `name: "b1" address`, `pools[0].backends[1].name: "b1" is also the name of pools[0].backends[0]`},
		{`address: "10.0.0.12"`, ``, `pools[0].backends[1].address: is required`},
		{`address: "10.0.0.12"`, `address: "b2.example"`, `pools[0].backends[1].address: "b2.example" is not an IP address`},
		{`address: "10.0.0.12"`, `address: "10.0.0.11"`, `pools[0].backends[1].address: 10.0.0.11:8080 is also pools[0].backends[0]`},
		{`address: "10.0.0.12"`, `address: "::ffff:10.0.0.11"`, `pools[0].backends[1].address: 10.0.0.11:8080 is also pools[0].backends[0]`},
		{`address: "10.0.0.12" port: 8080`, `address: "10.0.0.11" port: 8081`, ``},
		{`address: "10.0.0.12"`, `address: "0.0.0.0"`, `pools[0].backends[1].address: 0.0.0.0 is the unspecified address`},
		{`address: "10.0.0.12"`, `address: "fe80::2%eth0"`, `pools[0].backends[1].address: fe80::2%eth0 has a zone`},
		{`address: "10.0.0.12" port: 8080`, `address: "10.0.0.12"`, `pools[0].backends[1].port: 0 is not in 1-65535`},
		{`address: "10.0.0.12" port: 8080`, `address: "10.0.0.12" port: 65536`, `pools[0].backends[1].port: 65536 is not in 1-65535`},
		{`weight: 2`, `weight: 257`, `pools[0].backends[1].weight: 257 is not in 0-256`},
		{`weight: 2`, `weight: 65538`, `pools[0].backends[1].weight: 65538 is not in 0-256`},
		{`weight: 2`, `weight: 0`, ``},
		{`monitor_address: "10.0.1.12"`, `monitor_address: "x"`, `pools[0].backends[1].monitor_address: "x" is not an IP address`},
		{`monitor_address: "10.0.1.12"`, `monitor_address: "224.1.1.1"`, `pools[0].backends[1].monitor_address: 224.1.1.1 is a multicast address`},
		{`monitor_port: 9000`, `monitor_port: 70000`, `pools[0].backends[1].monitor_port: 70000 is not in 0-65535`},
		{`name: "b2" address`, `name: "b2" description: "` + long256 + `" address`, `pools[0].backends[1].description: has 256 bytes, more than 255`},

		// Policies.
		{`name: "api" listener_id`, `listener_id`, `l7_policies[0].name: is required`},
		{`name: "old" listener_id`, `name: "api" listener_id`, `l7_policies[1].name: "api" is also the name of l7_policies[0] on the same listener`},
		{`name: "moved" listener_id`, `name: "api" listener_id`, ``}, // another listener
		{`listener_id: "front" position: 10`, `position: 10`, `l7_policies[0].listener_id: is required`},
		{`listener_id: "front" position: 10`, `listener_id: "fornt" position: 10`, `l7_policies[0].listener_id: there is no listener "fornt"; did you mean "front"?`},
		{`listener_id: "front" position: 10`, `listener_id: "db" position: 10`, `l7_policies[0].listener_id: listener "db" is of protocol tcp; policies need a listener of protocol http or https`},
		{`position: 20`, `position: 10`, `l7_policies[1].position: 10 is also the position of l7_policies[0]`},
		{`position: 20`, `position: 2147483648`, `l7_policies[1].position: 2147483648 is not in 1-2147483647`},
		{`name: "moved" listener_id: "plain"`, `name: "moved" listener_id: "plain" position: 2147483647`, "l7_policies[3].position: 2147483648 is not in 1-2147483647\nl7_policies[4].position: 2147483649 is not in 1-2147483647"},
		{`action: L7_POLICY_ACTION_REDIRECT_TO_POOL`, ``, `l7_policies[0].action: is required; choose one of redirect_to_pool, redirect_to_url, redirect_prefix, reject, fixed_response`},
		{`action: L7_POLICY_ACTION_REDIRECT_TO_POOL`, `action: 6`, `l7_policies[0].action: 6 is not a known policy action`},
		{`redirect_pool_id: "app"`, ``, `l7_policies[0].redirect_pool_id: is required by action redirect_to_pool`},
		{`redirect_pool_id: "app"`, `redirect_pool_id: "ap"`, `l7_policies[0].redirect_pool_id: there is no pool "ap"; did you mean "app"?`},
		{`redirect_pool_id: "app"`, `redirect_pool_id: "rows"`, `l7_policies[0].redirect_pool_id: pool "rows" speaks tcp, which does not go with a listener of protocol https`},
		{`redirect_pool_id: "app"`, `redirect_pool_id: "app" redirect_pools { pool_id: "app" }`, `l7_policies[0].redirect_pools: there is also redirect_pool_id "app"; give redirect_pool_id or redirect_pools, not both`},
		{`redirect_pool_id: "app"`, `redirect_pools { pool_id: "ap" }`, `l7_policies[0].redirect_pools[0].pool_id: there is no pool "ap"; did you mean "app"?`},
		{`redirect_pool_id: "app"`, `redirect_pools { pool_id: "app" weight: 3 } redirect_pools { weight: 4 }`, `l7_policies[0].redirect_pools[1].pool_id: is required`},
		{`redirect_pool_id: "app"`, `redirect_pools { pool_id: "app" weight: 3 } redirect_pools { pool_id: "app" }`, `l7_policies[0].redirect_pools[1].pool_id: pool "app" is there twice`},
		{`redirect_pool_id: "app"`, `redirect_pools { pool_id: "app" weight: 0 }`, `l7_policies[0].redirect_pools: all weights are 0`},
		{`redirect_pool_id: "app"`, `redirect_pools { pool_id: "app" weight: 257 }`, `l7_policies[0].redirect_pools[0].weight: 257 is not in 0-256`},
		{`redirect_pool_id: "app"`, `redirect_pool_id: "app" redirect_http_status_code: 302`, `l7_policies[0].redirect_http_status_code: 302 does not go with action redirect_to_pool`},
		{`redirect_pool_id: "app"`, `redirect_pool_id: "app" redirect_url: "/x" redirect_prefix: "/y" fixed_response { status_code: 200 }`,
			"l7_policies[0].redirect_url: does not go with action redirect_to_pool\nl7_policies[0].redirect_prefix: does not go with action redirect_to_pool\nl7_policies[0].fixed_response: does not go with action redirect_to_pool"},
		{`redirect_url: "https://#{host}/new"`, ``, `l7_policies[1].redirect_url: is required by action redirect_to_url`},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "shop.example/new"`, `l7_policies[1].redirect_url: "shop.example/new" is not a URL to redirect to; write "https://host/path" or "/path"`},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "//evil.example/"`, `l7_policies[1].redirect_url: "//evil.example/" is not a URL to redirect to`},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "javascript://x"`, `l7_policies[1].redirect_url: "javascript://x" is not a URL to redirect to`},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "https://"`, `l7_policies[1].redirect_url: "https://" is not a URL to redirect to`},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "https://a/#{user}"`, `l7_policies[1].redirect_url: "https://a/#{user}" has an unknown token`},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "https://a/\r\nX: y"`, `l7_policies[1].redirect_url: "https://a/\r\nX: y" has white space`},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "#{protocol}://#{host}:#{port}/x/#{path}?#{query}"`, ``},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "https://#{host}:8443/x"`, ``},
		{`redirect_url: "https://#{host}/new"`, `redirect_url: "/` + strings.Repeat("a", 2048) + `"`, `l7_policies[1].redirect_url: "/` + long256[:79] + `"... has 2049 bytes, more than 2048`},
		{`redirect_http_status_code: 301`, `redirect_http_status_code: 300`, `l7_policies[1].redirect_http_status_code: 300 is not a redirect; choose one of 301, 302, 303, 307, 308`},
		{`redirect_http_status_code: 301`, `redirect_http_status_code: 65837`, `l7_policies[1].redirect_http_status_code: 65837 is not in 0-599`}, // 301 modulo 65536
		{`redirect_prefix: "https://shop.example"`, `redirect_prefix: "shop.example"`, `l7_policies[2].redirect_prefix: "shop.example" is not a prefix of a URL; write "https://host" or "/path"`},
		{`redirect_prefix: "https://shop.example"`, `redirect_prefix: "https://shop.example/?a"`, `l7_policies[2].redirect_prefix: "https://shop.example/?a" has a query`},
		{`redirect_prefix: "https://shop.example"`, `redirect_prefix: "/` + strings.Repeat("a", 2048) + `"`, `l7_policies[2].redirect_prefix: "/` + long256[:79] + `"... has 2049 bytes, more than 2048`},
		{`redirect_prefix: "https://shop.example"`, `redirect_prefix: "https://#{host}"`, `l7_policies[2].redirect_prefix: "https://#{host}" has a query, a fragment or a token`},
		{`action: L7_POLICY_ACTION_REJECT`, `action: L7_POLICY_ACTION_REJECT redirect_http_status_code: 200`, `l7_policies[3].redirect_http_status_code: 200 is not in 400-599`},
		{`action: L7_POLICY_ACTION_REJECT`, `action: L7_POLICY_ACTION_REJECT redirect_pool_id: "app"`, `l7_policies[3].redirect_pool_id: does not go with action reject`},
		{`fixed_response { status_code: 418 body: "short and stout" }`, ``, `l7_policies[4].fixed_response: is required by action fixed_response`},
		{`status_code: 418`, ``, `l7_policies[4].fixed_response.status_code: 0 is not in 200-599`},
		{`status_code: 418`, `status_code: 199`, `l7_policies[4].fixed_response.status_code: 199 is not in 200-599`},
		{`status_code: 418`, `status_code: 204`, `l7_policies[4].fixed_response.body: an answer 204 has no body`},
		{`status_code: 418`, `status_code: 418 content_type: "text"`, `l7_policies[4].fixed_response.content_type: "text" is not a media type`},
		{`status_code: 418`, `status_code: 418 content_type: "text/html\r\nX: y"`, `l7_policies[4].fixed_response.content_type: "text/html\r\nX: y" is not a media type`},
		{`status_code: 418`, `status_code: 418 content_type: "text/html; charset=utf-8"`, ``},
		{`body: "short and stout"`, `body: "` + strings.Repeat("a", 1025) + `"`, `l7_policies[4].fixed_response.body: has 1025 bytes, more than 1024`},

		// Rules.
		{apiRule, ``, "l7_policies[0].rules[0].rule_type: is required\nl7_policies[0].rules[0].compare_type: is required\nl7_policies[0].rules[0].value: is required"},
		{apiRule, `rule_type: 13 compare_type: 6 value: "x"`, "l7_policies[0].rules[0].rule_type: 13 is not a known rule type; choose one of host_name, path\nl7_policies[0].rules[0].compare_type: 6 is not a known compare type; choose one of equal_to, regex, starts_with, ends_with, contains"},
		{`name: "agent"`, `name: "Agent"`, `l7_policies[1].rules[0].name: "Agent" is not a DNS label`},
		{`rules { ` + apiRule + ` }`, `rules { name: "a" ` + apiRule + ` } rules { name: "a" ` + apiRule + ` }`, `l7_policies[0].rules[1].name: "a" is also the name of l7_policies[0].rules[0]`},
		{`rules { ` + apiRule + ` }`, strings.Repeat(`rules { `+apiRule+` }`, 50), ``},
		{`rules { ` + apiRule + ` }`, strings.Repeat(`rules { `+apiRule+` }`, 51), `l7_policies[0].rules: there are 51, more than 50; split the policy`},
		{`value: "/api/"`, `value: ""`, `l7_policies[0].rules[0].value: is required`},
		{`value: "/api/"`, `value: "/` + long256 + `"`, `l7_policies[0].rules[0].value: "/` + long256[:79] + `"... has 257 bytes, more than 255; shorten it to 255 bytes`},
		{`vips: "203.0.113.10"`, `vips: @MAINKEY `, `vips[0]: [private key] is not an IP address`},
		{`value: "/api/"`, `value: "/a\r\n"`, `l7_policies[0].rules[0].value: "/a\r\n" has a control character`},
		{`value: "/api/"`, `value: "/a\000"`, `l7_policies[0].rules[0].value: "/a\x00" has a control character`},
		{`value: "/api/"`, `value: "api/"`, `l7_policies[0].rules[0].value: "api/" does not begin with "/", as every path does; write "/api/"`},
		{`value: "/api/"`, `value: "/api?x=1"`, `l7_policies[0].rules[0].value: "/api?x=1" has "?" or "#", which no path has`},
		{`value: "/api/"`, `value: "/api/" key: "x"`, `l7_policies[0].rules[0].key: "x" does not go with rule type path, which has no key`},
		{apiRule, rule("PATH", "REGEX", `value: "(unclosed"`), "l7_policies[0].rules[0].value: \"(unclosed\" does not compile: missing closing ): `(unclosed`; write RE2 syntax"},
		{apiRule, rule("PATH", "REGEX", `value: "(?=look)"`), "l7_policies[0].rules[0].value: \"(?=look)\" does not compile: invalid or unsupported Perl syntax"},
		{apiRule, rule("PATH", "REGEX", `value: "(a)\\1"`), "l7_policies[0].rules[0].value: \"(a)\\\\1\" does not compile: invalid escape sequence"},
		{apiRule, rule("PATH", "REGEX", `value: "a{1001}"`), "l7_policies[0].rules[0].value: \"a{1001}\" does not compile: invalid repeat count"},
		{apiRule, rule("PATH", "REGEX", `value: "`+strings.Repeat("x{999}", 20)+`"`), "l7_policies[0].rules[0].value: \"" + strings.Repeat("x{999}", 14)[:80] + "\"... compiles to 19982 instructions, more than 10000"},
		{apiRule, rule("PATH", "REGEX", `value: "\\.(js|css)$"`), ``},
		{apiRule, rule("PATH", "ENDS_WITH", `value: "api"`), ``},
		{apiRule, rule("HOST_NAME", "EQUAL_TO", `value: "a.example:80"`), `l7_policies[0].rules[0].value: "a.example:80" has a port; leave the port away`},
		{apiRule, rule("HOST_NAME", "EQUAL_TO", `value: "*.a.example"`), `l7_policies[0].rules[0].value: "*.a.example" is not a host name; for all hosts of a domain compare ends_with ".a.example"`},
		{apiRule, rule("HOST_NAME", "EQUAL_TO", `value: "http://a"`), `l7_policies[0].rules[0].value: "http://a" is not a host name`},
		{apiRule, rule("HOST_NAME", "CONTAINS", `value: "a/"`), `l7_policies[0].rules[0].value: "a/" is no part of a host name`},
		{apiRule, rule("HOST_NAME", "EQUAL_TO", `value: "[2001:db8::1]"`), ``},
		{apiRule, rule("FILE_TYPE", "EQUAL_TO", `value: ".jpg"`), `l7_policies[0].rules[0].value: ".jpg" is not a bare extension; write it without "."`},
		{apiRule, rule("FILE_TYPE", "STARTS_WITH", `value: "jp"`), `l7_policies[0].rules[0].compare_type: starts_with does not go with rule type file_type; choose equal_to, regex`},
		{apiRule, rule("HEADER", "EQUAL_TO", `value: "x"`), `l7_policies[0].rules[0].key: is required by rule type header`},
		{apiRule, rule("HEADER", "EQUAL_TO", `value: "x" key: "a b"`), `l7_policies[0].rules[0].key: "a b" is not the name of a header`},
		{apiRule, rule("HEADER", "EQUAL_TO", `value: "x" key: "a\n"`), `l7_policies[0].rules[0].key: "a\n" has a control character`},
		{apiRule, rule("COOKIE", "EQUAL_TO", `value: "x"`), `l7_policies[0].rules[0].key: is required by rule type cookie`},
		{apiRule, rule("COOKIE", "EQUAL_TO", `value: "x" key: "a=b"`), `l7_policies[0].rules[0].key: "a=b" is not the name of a cookie`},
		{apiRule, rule("QUERY", "EQUAL_TO", `value: "x"`), `l7_policies[0].rules[0].key: is required by rule type query`},
		{apiRule, rule("QUERY", "EQUAL_TO", `value: "x" key: "utm source"`), ``},
		{apiRule, rule("METHOD", "EQUAL_TO", `value: "get"`), `l7_policies[0].rules[0].value: "get" is not the method meant: methods are case-sensitive; write GET`},
		{apiRule, rule("METHOD", "EQUAL_TO", `value: "G T"`), `l7_policies[0].rules[0].value: "G T" is not a method`},
		{apiRule, rule("METHOD", "CONTAINS", `value: "GET"`), `l7_policies[0].rules[0].compare_type: contains does not go with rule type method; choose equal_to, regex`},
		{apiRule, rule("SSL_CONN_SNI", "EQUAL_TO", `value: "a.example"`), ``},
		{apiRule, rule("SSL_CONN_HAS_CERT", "EQUAL_TO", `value: "True"`), ``},
		{apiRule, rule("SSL_CONN_HAS_CERT", "EQUAL_TO", `value: "false"`), `l7_policies[0].rules[0].value: "false" is not "true"; use invert for the opposite`},
		{apiRule, rule("SSL_VERIFY_RESULT", "EQUAL_TO", `value: "ok"`), `l7_policies[0].rules[0].value: "ok" is not a verification result`},
		{apiRule, rule("SSL_VERIFY_RESULT", "EQUAL_TO", `value: "007"`), `l7_policies[0].rules[0].value: "007" is not a verification result`},
		{apiRule, rule("SSL_DN_FIELD", "EQUAL_TO", `value: "x"`), `l7_policies[0].rules[0].key: is required by rule type ssl_dn_field`},
		{apiRule, rule("SSL_DN_FIELD", "EQUAL_TO", `value: "x" key: "C-N"`), `l7_policies[0].rules[0].key: "C-N" is not a field of a distinguished name`},
		{denyRule, rule("SSL_CONN_SNI", "EQUAL_TO", `value: "x"`), `l7_policies[3].rules[0].rule_type: ssl_conn_sni does not go with a listener of protocol http; use it on a listener of protocol https`},
		{denyRule, rule("SOURCE_IP", "STARTS_WITH", `value: "192.0.2.0/24"`), `l7_policies[3].rules[0].compare_type: starts_with does not go with rule type source_ip; choose equal_to`},
		{`value: "192.0.2.0/24"`, `value: "192.0.2.0-9"`, `l7_policies[3].rules[0].value: "192.0.2.0-9" is not a CIDR`},
		{`value: "192.0.2.0/24"`, `value: "192.0.2.7"`, ``},
		{agentRule, agentRule + ` labels { key: "a" value: "\n" }`, `l7_policies[1].rules[0].labels["a"]: "\n" has a control character`},

		// Certificates.
		{`name: "main" type`, `type`, "listeners[0].tls_config.certificate_id: there is no certificate \"main\"\ncertificates[0].name: is required"},
		{`name: "other" type`, `name: "main" type`, "listeners[0].tls_config.sni_certificate_ids[0]: there is no certificate \"other\"\ncertificates[1].name: \"main\" is also the name of certificates[0]"},
		{`type: CERTIFICATE_TYPE_SERVER`, ``, `certificates[0].type: is required; choose one of server, client_ca, sni`},
		{`type: CERTIFICATE_TYPE_SERVER`, `type: 4`, `certificates[0].type: 4 is not a known certificate type`},
		{`certificate: @MAIN `, ``, `certificates[0].certificate: is required`},
		{`certificate: @MAIN `, `certificate: "main.pem" `, `certificates[0].certificate: is not a chain of PEM certificates`},
		{`certificate: @MAIN `, `certificate: @CUT `, `certificates[0].certificate: is not a chain of PEM certificates`},
		{`certificate: @MAIN `, `certificate: @BROKEN `, `certificates[0].certificate: block 1 is not a certificate: x509: malformed certificate`},
		{`certificate: @MAIN `, `certificate: @BOTH `, `certificates[0].certificate: holds a private key; move the key to private_key`},
		{`certificate: @MAIN `, `certificate: @REQUEST `, `certificates[0].certificate: holds a block of type "CERTIFICATE REQUEST"`},
		{`certificate: @MAIN `, `certificate: @HUGE `, `certificates[0].certificate: has 307200 bytes, more than 262144`},
		{`certificate: @MAIN `, `certificate: @LONGCHAIN `, `certificates[0].certificate: there are 11 certificates, more than 10`},
		{`certificate: @MAIN `, `certificate: @NEXT `, `certificates[0].private_key: does not belong to the certificate "CN=shop"; give the key that belongs to the first certificate`},
		{`certificate: @MAIN `, `certificate: @SWAPPED `, `certificates[0].private_key: does not belong to the certificate "CN=shop"; put certificate 2 first: the leaf leads the chain`},
		{`certificate: @MAIN private_key: @MAINKEY`, `certificate: @P224 private_key: @P224KEY`, `certificates[0].certificate: an ECDSA key on curve P-224 is not supported; use RSA of 2048 to 8192 bits`},
		{`certificate: @MAIN private_key: @MAINKEY`, `certificate: @SHORT private_key: @SHORTKEY`, `certificates[0].certificate: an RSA key of 1024 bits is too short`},
		{`certificate: @MAIN private_key: @MAINKEY`, `certificate: @NEXT private_key: @NEXTKEY`, ``},
		{`private_key: @MAINKEY`, ``, `certificates[0].private_key: is required, since no key is stored for this certificate`},
		{`private_key: @MAINKEY`, `private_key: "hunter2"`, `certificates[0].private_key: is not PEM; give the private key as PEM`},
		{`private_key: @MAINKEY`, `private_key: @SECRET`, `certificates[0].private_key: is not a private key in PKCS #8, PKCS #1 or SEC 1 form`},
		{`private_key: @MAINKEY`, `private_key: @LOCKED`, `certificates[0].private_key: is encrypted; decrypt it first`},
		{`private_key: @MAINKEY`, `private_key: @MAIN`, `certificates[0].private_key: holds no private key`},
		{`private_key: @MAINKEY`, `private_key: @HUGE`, `certificates[0].private_key: has 307200 bytes, more than 16384`},
		{`private_key: @MAINKEY`, `private_key: @SEC1`, ``},
		{`private_key: @MAINKEY`, `private_key: @BOTH`, ``},
		{`certificate: @OTHER private_key`, `certificate: @NONAMES private_key`, `certificates[1].certificate: "CN=shop" has no DNS name that SNI could choose it by`},
		{`certificate: @CA `, `certificate: @BACKWARDS `, `certificates[2].certificate: certificate 2, "CN=shop", is not that of an authority`},
		{`certificate: @CA `, `certificate: @CA private_key: @MAINKEY `, `certificates[2].private_key: does not go with a certificate of type client_ca`},
	}
	for _, tt := range tests {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			m := parse(t, with(t, tt.old, tt.new))
			before := proto.Clone(m)
			l, violations := FromConfig(m)
			if !proto.Equal(m, before) {
				t.Error("the message was changed")
			}
			compareViolations(t, tt.new, violations, tt.want)
			if (l == nil) != (len(violations) > 0) {
				t.Error("not exactly one of the two results is nil")
			}
		})
	}
}

// compareViolations wants each line of want to begin one violation, in order.
func compareViolations(t *testing.T, input string, got lb.Violations, want string) {
	t.Helper()
	var lines []string
	if want != "" {
		lines = strings.Split(want, "\n")
	}
	ok := len(got) == len(lines)
	for i := range lines {
		ok = ok && strings.HasPrefix(got[i].String(), lines[i])
	}
	if text := got.Error(); !ok {
		t.Errorf("%.200s\ngot\n%s\nwant\n%s", input, text, want)
	} else if strings.Contains(text, "hunter2") || strings.Contains(text, "c2VjcmV0") {
		t.Errorf("a private key is quoted: %s", text)
	}
}

func labels(n int) string {
	var out strings.Builder
	for i := range n {
		out.WriteString(`labels { key: "k` + strings.Repeat("x", i) + `" value: "v" } `)
	}
	return out.String()
}

// TestEverythingAtOnce: faults in all corners come in one list, in the order
// of the message.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer(
		`name: "web"`, `name: "Web"`,
		`port: 443`, `port: 99999`,
		`default_pool_id: "names"`, `default_pool_id: "name"`,
		`weight: 2`, `weight: 999`,
		`address: "fd00::5"`, `address: "fd00::g"`,
		`position: 20`, `position: 10`,
		`value: "/api/"`, `value: "api"`,
		`private_key: @OTHERKEY`, ``,
	).Replace(base)
	_, violations := FromConfig(parse(t, text))
	compareViolations(t, "", violations, `name: "Web" is not a DNS label; use a DNS label such as "web-1": up to 63 of a-z, 0-9 and "-", with a letter or digit at both ends
listeners[0].port: 99999 is not in 1-65535
listeners[2].default_pool_id: there is no pool "name"; did you mean "names"?
pools[0].backends[1].weight: 999 is not in 0-256
pools[2].backends[0].address: "fd00::g" is not an IP address; write an IPv4 or IPv6 address, such as "203.0.113.10" or "2001:db8::10"
l7_policies[0].rules[0].value: "api" does not begin with "/", as every path does; write "/api"
l7_policies[1].position: 10 is also the position of l7_policies[0]; choose a position of its own, or leave it out to come last
certificates[1].private_key: is required, since no key is stored for this certificate; give the private key as PEM`)
}
