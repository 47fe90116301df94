// Package fiberlbv1 is the public API of the FiberLB controller, generated from
// resources.proto and services.proto, with the OpenAPI document of its REST form.
package fiberlbv1

import _ "embed"

// OpenAPI is the OpenAPI 2.0 document of the REST form of this API.
//
//go:embed openapi.json
var OpenAPI []byte
