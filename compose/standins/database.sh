#!/bin/sh
# Does what the entry point of the PostgreSQL images does: makes the data directory, runs the
# scripts of /docker-entrypoint-initdb.d once on the socket alone, and then serves.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" > /tmp/password
    initdb -D "$PGDATA" --username postgres --pwfile /tmp/password --encoding UTF8 --no-locale \
        --auth-local trust --auth-host scram-sha-256 --no-sync
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
    for script in /docker-entrypoint-initdb.d/*; do
        "$script"
    done
    pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec postgres -D "$PGDATA" -c "listen_addresses=*"
