#!/usr/bin/env bash
# Every secret of one installation, made once: secrets.sh FOLDER [ENV_FILE]. What exists is never changed. ENV_FILE is
# told whose containers can read them. Needs OpenSSL ≥ 1.1.1.
set -euo pipefail
umask 077
folder=${1:?the folder to write to}
env_file=$(realpath "${2:-/dev/null}")
mkdir -p "$folder"
cd "$folder"

keep() { # keep NAME CONTENT: write the file unless it is there; it appears whole
  [ -e "$1" ] || { printf '%s' "$2" > "$1.new" && mv "$1.new" "$1"; }
}
password() { openssl rand -hex 24; }

for service in gateway runner vault; do
  [ -e "$service.key" ] || { openssl genpkey -algorithm ed25519 -out "$service.key.new" && mv "$service.key.new" "$service.key"; }
  openssl pkey -in "$service.key" -pubout -out "$service.pub"
done
keep master-key "$(openssl rand -base64 32)"
keep admin-token "$(password)"
for service in gateway vault; do
  keep "$service-database-password" "$(password)"
  keep "$service-database-url" "postgresql+asyncpg://$service:$(cat "$service-database-password")@postgres:5432/$service"
done
for name in postgres clickhouse grafana; do
  keep "$name-password" "$(password)"
done
keep clickhouse-dsn "http://tallyrun:$(cat clickhouse-password)@clickhouse:8123"
keep clickhouse-users.xml "<clickhouse>
  <users>
    <default remove=\"remove\"/>
    <tallyrun>
      <password_sha256_hex>$(openssl dgst -sha256 -r clickhouse-password | cut -d ' ' -f 1)</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </tallyrun>
  </users>
</clickhouse>"

user=$(id -u):$(id -g)
if [ "$user" = 0:0 ]; then # no container of ours runs as root
  user=10001:10001
  chown -R "$user" .
fi
[ -s "$env_file" ] || echo "TALLYRUN_USER=$user" > "$env_file"
echo "secrets: $PWD (mode 600). Back up master-key: without it no stored key can be opened."
