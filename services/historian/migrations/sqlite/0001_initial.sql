-- Times are nanoseconds since the Unix epoch, UTC. NULL means: quality good, sub 0.

CREATE TABLE writer_offset (
    stream      TEXT NOT NULL,
    part        INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (stream, part)
) STRICT;

-- (src, seq, sub) is the identity of a row: record `seq` of the origin `src`, sample `sub` in it.
CREATE TABLE origin (
    src         INTEGER PRIMARY KEY,
    hub         TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    lane        TEXT NOT NULL,
    UNIQUE (hub, incarnation, lane)
) STRICT;

-- A tag that changes its kind goes on under another tag_id.
CREATE TABLE tag (
    tag_id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    topic  TEXT NOT NULL,
    key    TEXT NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('number', 'bool', 'text', 'wave', 'message'))
) STRICT;
CREATE INDEX tag_topic ON tag (topic);

-- value_int: only what a float can't hold exactly; original: what neither can (NaN, u64).
CREATE TABLE value (
    time      INTEGER NOT NULL,
    tag_id    INTEGER NOT NULL,
    quality   INTEGER,
    value     REAL,
    value_int INTEGER,
    original  TEXT,
    src       INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    sub       INTEGER
) STRICT;
CREATE INDEX value_tag ON value (tag_id, time);
CREATE INDEX value_src ON value (src, seq);

CREATE TABLE value_text (
    time    INTEGER NOT NULL,
    tag_id  INTEGER NOT NULL,
    quality INTEGER,
    value   TEXT NOT NULL,
    src     INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    sub     INTEGER
) STRICT;
CREATE INDEX value_text_tag ON value_text (tag_id, time);
CREATE INDEX value_text_src ON value_text (src, seq);

-- Physical value = sample × scale + value_offset; samples are little endian.
-- sample_type: 1 i16, 2 i32, 3 f32, 4 f64.
CREATE TABLE wave (
    time         INTEGER NOT NULL,
    tag_id       INTEGER NOT NULL,
    quality      INTEGER,
    first_sample INTEGER NOT NULL,
    rate_num     INTEGER NOT NULL,
    rate_den     INTEGER NOT NULL,
    scale        REAL NOT NULL,
    value_offset REAL NOT NULL,
    unit         TEXT NOT NULL,
    sample_type  INTEGER NOT NULL,
    count        INTEGER NOT NULL,
    samples      BLOB NOT NULL,
    src          INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    sub          INTEGER
) STRICT;
CREATE INDEX wave_tag ON wave (tag_id, time);
CREATE INDEX wave_src ON wave (src, seq);

-- What has no values of its own; problem: why it has none although its topic promised some.
CREATE TABLE message (
    time    INTEGER NOT NULL,
    tag_id  INTEGER NOT NULL,
    payload BLOB NOT NULL,
    problem TEXT,
    src     INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    sub     INTEGER
) STRICT;
CREATE INDEX message_tag ON message (tag_id, time);
CREATE INDEX message_src ON message (src, seq);

-- What the database or the batch codec refused: the original bytes and the reason.
-- count: how many records it stands for, from seq on.
CREATE TABLE dead_letter (
    time       INTEGER NOT NULL,
    topic      TEXT NOT NULL,
    key        TEXT NOT NULL,
    log_offset INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    sqlstate   TEXT,
    reason     TEXT NOT NULL,
    payload    BLOB NOT NULL,
    src        INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    sub        INTEGER
) STRICT;
CREATE INDEX dead_letter_src ON dead_letter (src, seq);
