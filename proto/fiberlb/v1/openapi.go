package fiberlbv1

import _ "embed"

// OpenAPI is the OpenAPI 2.0 document of the REST form of this API.
//
//go:embed openapi.json
var OpenAPI []byte
