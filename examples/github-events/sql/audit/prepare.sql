-- What the audit counts over: temporary tables of its own session, made once everything has ended.
-- `sent` (one row per good delivery the senders made) and `received` (one row per effect at the receiver)
-- are filled by the tour before this runs.

CREATE TEMPORARY TABLE job AS
SELECT j.id, j.kind, j.queue, j.state, j.attempt, j.node_id, j.result, (j.args->>'delivery_id')::uuid AS delivery_id
FROM forge.jobs j
WHERE j.kind LIKE 'github.%' AND j.enqueued_at >= (SELECT started_at FROM run);

CREATE TEMPORARY TABLE attempt AS
SELECT a.* FROM forge.job_attempts a WHERE a.job_id IN (SELECT id FROM job);

-- One row per effect, wherever it took place: in the example's tables (`sql:` and `native:`), at the
-- receiver (`https:`), or as the one result a job can have (`worker:`).
CREATE TEMPORARY TABLE effect AS
SELECT e.delivery_id, j.kind,
       CASE WHEN j.queue = 'native' THEN 'native' ELSE 'sql' END AS place
FROM github.effect e JOIN job j USING (delivery_id)
UNION ALL
SELECT r.delivery_id, j.kind, 'receiver' FROM received r JOIN job j USING (delivery_id)
UNION ALL
SELECT j.delivery_id, j.kind, 'result' FROM job j
WHERE j.queue = 'worker' AND j.state = 'completed' AND j.result->>'delivery_id' = j.delivery_id::text;

CREATE INDEX ON job (delivery_id);
CREATE INDEX ON effect (delivery_id);
ANALYZE job, attempt, effect, sent, received;
