#!/usr/bin/env bash
# Generates the Go code and the OpenAPI document of the protocol definitions,
# and the digest of their inputs that the tests compare. Needs protoc.
set -euo pipefail
cd "$(dirname "$0")"
command -v protoc >/dev/null || { echo "generate: protoc is missing; on Debian: apt-get install protobuf-compiler" >&2; exit 1; }

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
for plugin in google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc \
	github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2; do
	go build -o "$bin/" "$plugin"
done
export PATH="$bin:$PATH"

protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative \
	fiberlb/v1/resources.proto fiberlb/v1/services.proto fiberlb/agent/v1/agent.proto fiberlb/store/v1/store.proto
protoc -I . --grpc-gateway_out="$bin" \
	--grpc-gateway_opt=paths=source_relative,standalone=true,grpc_api_configuration=fiberlb/v1/http.yaml fiberlb/v1/services.proto
mkdir -p fiberlb/v1/gateway
sed -e 's/^package fiberlbv1$/package gateway/' "$bin/fiberlb/v1/services.pb.gw.go" >fiberlb/v1/gateway/services.pb.gw.go
protoc -I . --openapiv2_out=. \
	--openapiv2_opt=grpc_api_configuration=fiberlb/v1/http.yaml,json_names_for_fields=false,allow_merge=true,merge_file_name=fiberlb/v1/fiberlb,disable_default_errors=true \
	fiberlb/v1/resources.proto fiberlb/v1/services.proto
go run ./internal/openapi fiberlb/v1/fiberlb.swagger.json fiberlb/v1/openapi.json
rm fiberlb/v1/fiberlb.swagger.json
find fiberlb -name '*.proto' -o -name '*.yaml' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1 >digest.txt
