-- TimescaleDB, any edition. {timescale} is the schema that the extension is installed in.
SELECT {timescale}.create_hypertable('{schema}.value', 'time',
    chunk_time_interval => INTERVAL '7 days', create_default_indexes => FALSE);
SELECT {timescale}.create_hypertable('{schema}.value_text', 'time',
    chunk_time_interval => INTERVAL '7 days', create_default_indexes => FALSE);
SELECT {timescale}.create_hypertable('{schema}.wave', 'time',
    chunk_time_interval => INTERVAL '7 days', create_default_indexes => FALSE);
SELECT {timescale}.create_hypertable('{schema}.message', 'time',
    chunk_time_interval => INTERVAL '7 days', create_default_indexes => FALSE);
