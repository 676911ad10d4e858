#!/usr/bin/env bash
# screenshot.sh PAGE.html OUT.png [WIDTH] [HEIGHT] [dark]: picture of a built page in headless Chromium.
set -euo pipefail
page=$(realpath "$1"); out=$2; width=${3:-1280}; height=${4:-2400}; profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
dark=(); [ "${5:-}" = dark ] && dark=(--blink-settings=preferredColorScheme=0 --force-dark-mode)
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update \
  --disable-sync --hide-scrollbars "${dark[@]}" --user-data-dir="$profile" --virtual-time-budget=20000 --allow-file-access-from-files \
  --window-size="$width,$height" --screenshot="$out" "file://$page" 2>/dev/null
