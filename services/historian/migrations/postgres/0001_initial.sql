-- `time` is in microseconds; `ns_rem` is what a time has below that.
-- NULL means: ns_rem 0, quality good, sub 0.
-- {schema} and {by_time} are replaced before this runs; {by_time} is empty under TimescaleDB.

CREATE TABLE {schema}.writer_offset (
    stream      text NOT NULL,
    part        int4 NOT NULL,
    epoch       int8 NOT NULL,
    next_offset int8 NOT NULL,
    PRIMARY KEY (stream, part)
);

-- (src, seq, sub) is the identity of a row: record `seq` of the origin `src`, sample `sub` in it.
CREATE TABLE {schema}.origin (
    src         int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hub         text NOT NULL,
    incarnation text NOT NULL,
    lane        text NOT NULL,
    UNIQUE (hub, incarnation, lane)
);

-- A tag that changes its kind goes on under another tag_id. A topic may be longer than what a
-- B-tree takes, therefore it is unique by its digest and found by its hash.
CREATE TABLE {schema}.tag (
    tag_id int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    topic  text NOT NULL,
    key    text NOT NULL,
    kind   text NOT NULL CHECK (kind IN ('number', 'bool', 'text', 'wave', 'message'))
);
CREATE INDEX tag_topic ON {schema}.tag USING hash (topic);

-- value_int: only what a float can't hold exactly; original: what neither can (NaN, u64).
-- Rows arrive nearly in the order of their sequence, so a BRIN finds a range of it for nothing.
CREATE TABLE {schema}.value (
    time      timestamptz NOT NULL,
    value     float8,
    seq       int8 NOT NULL,
    tag_id    int4 NOT NULL,
    src       int4 NOT NULL,
    quality   int8,
    value_int int8,
    sub       int4,
    ns_rem    int2,
    original  text
) {by_time};
CREATE INDEX value_tag ON {schema}.value (tag_id, time DESC);
CREATE INDEX value_src ON {schema}.value USING brin (src, seq) WITH (autosummarize);

CREATE TABLE {schema}.value_text (
    time    timestamptz NOT NULL,
    seq     int8 NOT NULL,
    tag_id  int4 NOT NULL,
    src     int4 NOT NULL,
    quality int8,
    sub     int4,
    ns_rem  int2,
    value   text NOT NULL
) {by_time};
CREATE INDEX value_text_tag ON {schema}.value_text (tag_id, time DESC);
CREATE INDEX value_text_src ON {schema}.value_text USING brin (src, seq) WITH (autosummarize);

-- Physical value = sample × scale + value_offset; samples are little endian.
-- sample_type: 1 i16, 2 i32, 3 f32, 4 f64.
CREATE TABLE {schema}.wave (
    time         timestamptz NOT NULL,
    seq          int8 NOT NULL,
    first_sample int8 NOT NULL,
    rate_num     int8 NOT NULL,
    rate_den     int8 NOT NULL,
    scale        float8 NOT NULL,
    value_offset float8 NOT NULL,
    count        int8 NOT NULL,
    tag_id       int4 NOT NULL,
    src          int4 NOT NULL,
    quality      int8,
    sub          int4,
    ns_rem       int2,
    sample_type  int2 NOT NULL,
    unit         text NOT NULL,
    samples      bytea NOT NULL
) {by_time};
CREATE INDEX wave_tag ON {schema}.wave (tag_id, time DESC);
CREATE INDEX wave_src ON {schema}.wave USING brin (src, seq) WITH (autosummarize);

-- What has no values of its own; problem: why it has none although its topic promised some.
CREATE TABLE {schema}.message (
    time    timestamptz NOT NULL,
    seq     int8 NOT NULL,
    tag_id  int4 NOT NULL,
    src     int4 NOT NULL,
    sub     int4,
    ns_rem  int2,
    payload bytea NOT NULL,
    problem text
) {by_time};
CREATE INDEX message_tag ON {schema}.message (tag_id, time DESC);
CREATE INDEX message_src ON {schema}.message USING brin (src, seq) WITH (autosummarize);

-- What the database or the batch codec refused: the original bytes and the reason.
-- count: how many records it stands for, from seq on.
CREATE TABLE {schema}.dead_letter (
    time       timestamptz NOT NULL,
    seq        int8 NOT NULL,
    log_offset int8 NOT NULL,
    count      int8 NOT NULL,
    src        int4 NOT NULL,
    sub        int4,
    ns_rem     int2,
    topic      text NOT NULL,
    key        text NOT NULL,
    sqlstate   text,
    reason     text NOT NULL,
    payload    bytea NOT NULL
);
CREATE INDEX dead_letter_src ON {schema}.dead_letter (src, seq);
