#!/usr/bin/env bash
# The whole story: deploy, verify, monitor, update, scale, clean up.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
set -e
"$here/deploy.sh"
"$here/verify.sh"
"$here/monitor.sh"
"$here/update.sh" 2
"$here/scale.sh" 4
"$here/verify.sh"
"$here/clean.sh"
