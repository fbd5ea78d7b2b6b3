#!/bin/sh
# Start Reelmill with Docker Compose, in order, and see that each part answers:
#   deploy/scripts/start.sh [--monitoring] [--env-file FILE]
# It may be run again at any time: what runs and is up to date stays as it is.
set -eu
umask 077
here=$(cd "$(dirname "$0")/.." && pwd)
env_file=$here/.env
profile=

fail() { printf 'start.sh: %s\n' "$*" >&2; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --monitoring) profile="--profile monitoring" ;;
    --env-file) [ $# -gt 1 ] || fail "--env-file needs a file"; env_file=$2; shift ;;
    *) fail "unknown option $1; there are --monitoring and --env-file FILE" ;;
  esac
  shift
done
case $env_file in *.env) ;; *) fail "the name of $env_file must end in .env: such files are never committed" ;; esac
key_file=${env_file%.env}.api.key

# Settings, made once; every empty secret gets a random value.
[ -f "$env_file" ] || cp "$here/.env.example" "$env_file"
for name in POSTGRES_PASSWORD VALKEY_PASSWORD STORAGE_ACCESS_KEY STORAGE_SECRET_KEY STORAGE_SEAL_KEY GRAFANA_PASSWORD; do
  if grep -q "^$name=\$" "$env_file"; then
    secret=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    sed "s/^$name=\$/$name=$secret/" "$env_file" > "$env_file.new"
    mv "$env_file.new" "$env_file"
  fi
done
chmod 600 "$env_file"

command -v docker >/dev/null || fail "docker isn't installed; docs/how-to/deploy.md tells how"
docker compose version >/dev/null 2>&1 || fail "docker has no 'compose' (2.24 or later is needed)"
docker info >/dev/null 2>&1 || fail "the Docker engine doesn't answer; start it, or join the group 'docker'"

compose() {
  # shellcheck disable=SC2086 # no profile is no word
  docker compose --env-file "$env_file" -f "$here/compose.yaml" $profile "$@"
}

# Try a command again and again for so many seconds.
within() {
  left=$1; shift
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 1
  done
}

ping_valkey() { [ "$(compose exec -T valkey valkey-cli ping)" = PONG ]; }
is_ready() {
  compose exec -T api python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz')"
}

echo "Building the image …"
compose build --quiet api

echo "Starting Valkey …"
compose up -d valkey
within 60 ping_valkey || fail "Valkey doesn't answer PING: docker compose -f $here/compose.yaml logs valkey"
echo "Valkey says PONG."

echo "Bringing the database up to date …"
compose run --rm -T setup

if [ ! -s "$key_file" ]; then
  compose run --rm -T --no-deps api keys create first --scope upload --scope jobs:read --scope jobs:write \
    --scope admin --quiet > "$key_file.new"
  mv "$key_file.new" "$key_file"
fi

# In an upgrade, too: the database, the API, the workers.
echo "Starting storage and API …"
compose up -d api
within 180 is_ready || fail "the API isn't ready: docker compose -f $here/compose.yaml logs api"
echo "Starting workers …"
compose up -d --remove-orphans

url=$(sed -n 's/^PUBLIC_URL=//p' "$env_file")
cat <<END
Reelmill is ready: ${url:-http://localhost:8000}
The first API key is in $key_file. Next:
  curl -H "Authorization: Bearer \$(cat "$key_file")" ${url:-http://localhost:8000}/api/v1/jobs
END
