#!/bin/sh
# Makes the role and the database of towline in a new PostgreSQL: what compose.postgres.yaml has the image run at its first
# start. The role owns its database and nothing else. Whoever administers the server is its own user in its own container.
set -eu

psql --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres --quiet <<'SQL'
\getenv password PGPASSWORD
CREATE ROLE towline LOGIN PASSWORD :'password';
CREATE DATABASE towline OWNER towline;
REVOKE ALL ON DATABASE towline FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
SQL

cat >"$PGDATA/pg_hba.conf" <<'HBA'
# TYPE  DATABASE  USER      METHOD
local   all       postgres  peer
local   towline   towline   scram-sha-256
HBA
