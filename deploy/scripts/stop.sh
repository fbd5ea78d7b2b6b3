#!/bin/sh
# Stop what start.sh started. Videos, jobs and keys stay, unless --purge deletes them, after asking:
#   deploy/scripts/stop.sh [--purge [--yes]] [--env-file FILE]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
env_file=$here/.env
purge=
yes=

fail() { printf 'stop.sh: %s\n' "$*" >&2; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --purge) purge=1 ;;
    --yes) yes=1 ;;
    --env-file) [ $# -gt 1 ] || fail "--env-file needs a file"; env_file=$2; shift ;;
    *) fail "unknown option $1; there are --purge, --yes and --env-file FILE" ;;
  esac
  shift
done
[ -f "$env_file" ] || fail "there is no $env_file, so nothing was started"

if [ -n "$purge" ] && [ -z "$yes" ]; then
  printf 'This deletes all videos, jobs and keys of this installation. Type "purge" to go on: '
  read -r answer || answer=
  [ "$answer" = purge ] || fail "nothing was deleted, nothing was stopped"
fi
command -v docker >/dev/null || fail "docker isn't installed"

compose() { docker compose --env-file "$env_file" -f "$here/compose.yaml" --profile monitoring "$@"; }

# Workers first: they hand back what they can't finish, and the rest is still there to take it.
compose stop worker
if [ -n "$purge" ]; then
  compose down --volumes
  rm -f "${env_file%.env}.api.key"
  echo "Reelmill is stopped, and its volumes are deleted."
else
  compose down
  echo "Reelmill is stopped. Its volumes are kept; start.sh goes on where it stopped."
fi
