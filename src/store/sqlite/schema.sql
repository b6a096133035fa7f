-- The tables of a u2i file, format 1. docs/file-format.md tells what each is for; conn.c holds the
-- statements that use them. Read by every u2i of the same format number (user_version), so a column
-- is only ever added by a migration step in dbfile.c.

-- Facts about the file: model, dim, sequence, events, users_end, changes_pruned,
-- removed_sequence, indexed; models, once another model has come into use.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Settings that differ from their defaults.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE actions (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
) STRICT;

-- What an open reads comes first and the long texts last: they overflow onto pages of their own,
-- which loading then never touches. live = 0: only the id is known, from events.
CREATE TABLE items (
    row      INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    live     INTEGER NOT NULL,
    crc      INTEGER NOT NULL, -- of row, live, id, category, attrs
    text_crc INTEGER NOT NULL, -- of row, title, text
    category TEXT,
    attrs    TEXT,
    title    TEXT,
    text     TEXT
) STRICT;

-- Apart from items, so that a scan of all vectors reads nothing else.
CREATE TABLE vectors (
    row       INTEGER PRIMARY KEY,
    embedding INTEGER NOT NULL,
    crc       INTEGER NOT NULL, -- of vector and row
    vector    BLOB NOT NULL     -- dim little-endian floats
) STRICT;

CREATE TABLE users (
    row       INTEGER PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    crc       INTEGER NOT NULL, -- of row, id
    text_crc  INTEGER NOT NULL, -- of row, interests, attrs, decay
    decay     REAL NOT NULL,
    interests TEXT,
    attrs     TEXT
) STRICT;

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY,
    user    INTEGER NOT NULL,
    item    INTEGER NOT NULL,
    action  INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    value   REAL NOT NULL,
    id      TEXT
) STRICT;
CREATE UNIQUE INDEX events_by_id ON events (id) WHERE id IS NOT NULL;

-- Events again, in the order in which a user's are asked for; derived. Rows come here some time
-- after the event: all up to seq `indexed` (in meta) are here, later ones may be.
CREATE TABLE history (
    user    INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    item    INTEGER NOT NULL,
    action  INTEGER NOT NULL,
    value   REAL NOT NULL,
    PRIMARY KEY (user, time_ms, seq)
) STRICT, WITHOUT ROWID;

-- What changed besides new events, for other processes: rows row .. row + n - 1 of a kind.
CREATE TABLE changes (
    seq  INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL, -- 1 items, 2 users, 3 a deleted user, 4 actions, 5 settings
    row  INTEGER NOT NULL,
    n    INTEGER NOT NULL
) STRICT;

-- Bytes that can be derived again.
CREATE TABLE blobs (
    name TEXT PRIMARY KEY NOT NULL,
    crc  INTEGER NOT NULL, -- of data
    data BLOB NOT NULL
) STRICT;
