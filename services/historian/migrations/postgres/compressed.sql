-- TimescaleDB, community edition only. No unique index stands in the way of late rows.
ALTER TABLE {schema}.value SET (timescaledb.compress,
    timescaledb.compress_segmentby = 'tag_id', timescaledb.compress_orderby = 'time');
ALTER TABLE {schema}.value_text SET (timescaledb.compress,
    timescaledb.compress_segmentby = 'tag_id', timescaledb.compress_orderby = 'time');
SELECT {timescale}.add_compression_policy('{schema}.value', INTERVAL '7 days');
SELECT {timescale}.add_compression_policy('{schema}.value_text', INTERVAL '7 days');
