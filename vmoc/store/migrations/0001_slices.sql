-- Slices of the API, one row each; the body is JSON (vmoc/store/codec.py).
CREATE TABLE slices (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    create_time REAL NOT NULL,
    update_time REAL NOT NULL,
    generation INTEGER NOT NULL
) WITHOUT ROWID;

-- Answers given, so that a request repeated gets the same one.
CREATE TABLE requests (
    caller TEXT NOT NULL,
    request_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    answer BLOB NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (caller, request_id)
);
CREATE INDEX requests_by_time ON requests (time);

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;
-- The number of the last change. It never goes back, so that a slice made anew has another etag.
INSERT INTO meta VALUES ('generation', 0);
