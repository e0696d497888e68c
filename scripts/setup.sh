#!/usr/bin/env bash
# Checks that the tests' dependencies are installed. Go and Node are required;
# Chromium, nginx, Redis, PHP, Laravel, Python's Socket.IO client and PyJWT, and mkfs are
# installed from the distribution if missing.
set -u

die() {
	echo "setup: $*" >&2
	exit 1
}

command -v go >/dev/null || die "Go is missing: install Go 1.26 or newer (https://go.dev/dl)"
command -v node >/dev/null || die "Node is missing: install Node 20 or newer with npm"
command -v npm >/dev/null || die "npm is missing: install it beside Node"
node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' || die "Node $(node --version) is too old: 20 or newer is needed"
command -v gcc >/dev/null || command -v clang >/dev/null || needed="gcc libc6-dev"
command -v curl >/dev/null || needed="${needed-} curl"
command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || needed="${needed-} chromium-headless-shell"
command -v redis-server >/dev/null && command -v redis-sentinel >/dev/null || needed="${needed-} redis-server redis-sentinel"
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || needed="${needed-} nginx-light"
php -r 'exit(stream_resolve_include_path("Illuminate/Foundation/Application.php") && extension_loaded("curl") ? 0 : 1);' 2>/dev/null ||
	needed="${needed-} php-cli php-curl php-laravel-framework"
[ -x /usr/sbin/mkfs.ext4 ] || needed="${needed-} e2fsprogs"
[ -x /usr/sbin/mkfs.xfs ] || needed="${needed-} xfsprogs"
# Another python3 would not find the distribution's packages.
/usr/bin/python3 -c 'import socketio, aiohttp, requests, websocket, jwt' 2>/dev/null ||
	needed="${needed-} python3-socketio python3-aiohttp python3-requests python3-websocket python3-jwt"
[ -n "${needed-}" ] || exit 0

command -v apt-get >/dev/null || die "missing: $needed. There is no apt-get here, so please install it by hand"
as_root=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || die "missing: $needed. Run 'apt-get install $needed' as root"
	as_root=sudo
fi
echo "setup: installing $needed"
# shellcheck disable=SC2086 # word splitting is intended
$as_root apt-get update -q && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $needed ||
	die "could not install: $needed"
