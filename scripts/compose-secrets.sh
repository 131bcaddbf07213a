#!/usr/bin/env bash
# Makes what compose.yaml mounts: a certificate authority, a certificate, users and their tokens, in operations/secrets,
# which Git does not see. Leaves what is there as it is.
#
#   scripts/compose-secrets.sh [COMMAND…]     COMMAND runs tally; without it, the image: docker run …
#
# TALLY_SECRETS names another folder, for tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${TALLY_SECRETS:-operations/secrets}
if [[ -e $folder/users.toml ]]; then echo "$folder is there already"; exit; fi
command -v openssl >/dev/null || { echo 'openssl is missing' >&2; exit 1; }
umask 077
mkdir -p "$folder"

tally=("$@")
if [[ ${#tally[@]} == 0 ]]; then
  docker image inspect tally:0.1.0 >/dev/null 2>&1 || docker compose build ingest
  tally=(docker run --rm -i --user "$(id -u):$(id -g)" --volume "$PWD/$folder:/secrets" --env TALLY_AUTH__USERS_FILE=/secrets/users.toml tally:0.1.0)
else
  TALLY_AUTH__USERS_FILE=$(realpath "$folder")/users.toml
  export TALLY_AUTH__USERS_FILE
fi

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=Tally compose CA' \
  -keyout "$folder/ca.key" -out "$folder/ca.crt" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=tally -keyout "$folder/tls.key" \
  -out "$folder/tls.csr" 2>/dev/null
openssl x509 -req -in "$folder/tls.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -days 825 \
  -extfile <(echo 'subjectAltName=DNS:localhost,DNS:ingest,DNS:aggregate,DNS:query,IP:127.0.0.1') \
  -out "$folder/tls.crt" 2>/dev/null
rm "$folder/tls.csr" "$folder/ca.srl"

openssl rand -hex 16 | tr -d '\n' >"$folder/grafana.password"
# Grafana reads money too, so it is finance; Prometheus only watches.
"${tally[@]}" user add grafana --role finance <"$folder/grafana.password"
for name_role in prometheus:operator gateway:gateway auditor:auditor; do
  "${tally[@]}" user add "${name_role%:*}" --role "${name_role#*:}" --token >"$folder/${name_role%:*}.out"
  grep -o 'tally_[A-Za-z0-9_-]*' "$folder/${name_role%:*}.out" | tail -n 1 | tr -d '\n' >"$folder/${name_role%:*}.token"
  rm "$folder/${name_role%:*}.out"
done
# Containers run as whoever made the files.
if [[ $folder == operations/secrets ]]; then echo "TALLY_USER=$(id -u):$(id -g)" >.env; fi
echo "$folder has a certificate and its authority, users, and tokens of prometheus, gateway and auditor"
