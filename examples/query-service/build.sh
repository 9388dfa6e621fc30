#!/bin/sh
# Builds the query service's image without asking any image registry:   build.sh TAG [VERSION]
#
# On Linux the image is made from this machine's own Python (see make_root.py). Elsewhere (Docker Desktop on a Mac), or
# with FROM_REGISTRY=1, it is the ordinary `docker build` of the Dockerfile beside this script.
set -eu
tag=${1:?usage: build.sh TAG [VERSION]}
version=${2:-1}
here=$(cd "$(dirname "$0")" && pwd)

if [ "$(uname -s)" != Linux ] || [ -n "${FROM_REGISTRY:-}" ]; then
    exec docker build --quiet --tag "$tag" --build-arg "VERSION=$version" "$here"
fi

static_busybox() {
    for candidate in /bin/busybox /usr/bin/busybox; do
        if [ -x "$candidate" ] && ! ldd "$candidate" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}
busybox=$(static_busybox)
if [ -z "$busybox" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends busybox-static >/dev/null
        busybox=$(static_busybox)
    fi
    if [ -z "$busybox" ]; then
        echo "build.sh needs a static busybox for the image's shell: sudo apt-get install busybox-static" >&2
        exit 1
    fi
fi

python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3)
root=$(mktemp)
trap 'rm -f "$root"' EXIT
"$python" -I -S -B "$here/make_root.py" "$here/app.py" "$busybox" > "$root"
docker import \
    --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' \
    --change "ENV VERSION=$version" \
    --change 'EXPOSE 8000' \
    --change 'WORKDIR /app' \
    --change 'CMD ["/usr/bin/python3", "-S", "-B", "/app/app.py"]' \
    --message "query service $version" \
    "$root" "$tag"
