#!/usr/bin/env bash
# Installs the system packages that the tests need: as root on Debian by apt-get, and only what is missing. Elsewhere it names
# what is missing and what that means for the tests, and succeeds, since the others can still run.
set -euo pipefail

# command:package:what the tests use it for
needs=(
	"ip:iproute2:tests in network namespaces"
	"curl:curl:tests that speak to a listener as its users do"
)

# Debian keeps ip where only root's PATH looks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

packages=() missing=()
for need in "${needs[@]}"; do
	IFS=: read -r command package use <<<"$need"
	if ! command -v "$command" >/dev/null; then
		packages+=("$package")
		missing+=("$command (package $package), for $use")
	fi
done
if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi

if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; then
	echo "deps: installing ${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends "${packages[@]}"
	exit 0
fi

echo "=====================================================================" >&2
echo "deps: MISSING, and not installed (that takes root on Debian):" >&2
printf '  %s\n' "${missing[@]}" >&2
echo "deps: the tests that need these are skipped; all others run." >&2
echo "=====================================================================" >&2
