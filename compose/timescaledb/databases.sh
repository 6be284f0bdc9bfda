#!/bin/sh
# Runs once, when the server's data directory is made: a database for each hub that writes one, the
# account that owns them, and Grafana's, which may read what the other makes.
set -eu
psql --username postgres --set ON_ERROR_STOP=1 \
    --set updraft="$DATABASE_PASSWORD" --set grafana="$GRAFANA_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE updraft LOGIN PASSWORD :'updraft';
CREATE ROLE grafana LOGIN PASSWORD :'grafana';
CREATE DATABASE site OWNER updraft;
CREATE DATABASE enterprise OWNER updraft;
SQL
for database in site enterprise; do
    psql --username postgres --dbname "$database" --set ON_ERROR_STOP=1 <<'SQL'
ALTER DEFAULT PRIVILEGES FOR ROLE updraft GRANT USAGE ON SCHEMAS TO grafana;
ALTER DEFAULT PRIVILEGES FOR ROLE updraft GRANT SELECT ON TABLES TO grafana;
SQL
done
