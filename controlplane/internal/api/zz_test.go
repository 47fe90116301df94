package api

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	e := newEnv(t, 1)
	var b strings.Builder
	b.WriteString("config:\n  name: web\n  vips: [203.0.113.10]\n  pools:\n  - name: main\n    protocol: tcp\n    backends:\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "    - {name: b%d, address: 10.%d.%d.1, port: 80}\n", i, i/250, i%250)
	}
	e.must("ConfigService/Apply", b.String())
	began := time.Now()
	for i := range 40 {
		e.must("BackendService/UpdateBackend", fmt.Sprintf("name: %s/pools/main/backends/b7\nbackend: {weight: %d}", web, i+2))
	}
	t.Log(time.Since(began) / 40)
	began = time.Now()
	for range 40 {
		e.must("BackendService/GetBackend", fmt.Sprintf("name: %s/pools/main/backends/b7", web))
	}
	t.Log(time.Since(began) / 40)
}
