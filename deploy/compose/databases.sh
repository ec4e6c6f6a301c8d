#!/usr/bin/env bash
# Run by the Postgres image when its volume is new: a database and a role for each service, closed to the other one.
set -euo pipefail
for service in gateway vault; do
  psql --username postgres --set ON_ERROR_STOP=1 --set service="$service" \
    --set password="$(cat "/run/secrets/$service-database-password")" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE CONNECT ON DATABASE :"service" FROM PUBLIC;
SQL
done
