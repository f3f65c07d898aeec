-- The numbers of the last table that come from the database. Each statement answers with one number.

-- jobs
SELECT count(*) FROM job;

-- foreign
-- Jobs of this run that no sender was told about.
SELECT count(*) FROM job WHERE delivery_id NOT IN (SELECT delivery_id FROM sent);

-- doubled
-- Deliveries that became more than one job.
SELECT count(*) FROM (SELECT FROM job GROUP BY delivery_id HAVING count(*) > 1) AS more;

-- completed
SELECT count(*) FROM job WHERE state = 'completed';

-- unfinished
SELECT count(*) FROM job WHERE state NOT IN ('completed', 'dead', 'cancelled');

-- dead
SELECT count(*) FROM job WHERE state = 'dead';

-- cancelled
SELECT count(*) FROM job WHERE state = 'cancelled';

-- retries
-- Attempts that failed or were lost with their node: each was followed by another.
SELECT count(*) FROM attempt WHERE outcome IN ('failed', 'lost');

-- orphaned
-- Of these, the ones that were running on the killed node.
SELECT count(*) FROM attempt WHERE outcome = 'lost';

-- once
-- Deliveries with exactly one effect.
SELECT count(*) FROM (SELECT FROM effect GROUP BY delivery_id HAVING count(*) = 1) AS once;

-- twice
-- Deliveries with more than one effect.
SELECT count(*) FROM (SELECT FROM effect GROUP BY delivery_id HAVING count(*) > 1) AS more;

-- lost
-- Accepted deliveries without a job, or whose job ended well without an effect.
SELECT count(*) FROM sent
LEFT JOIN job USING (delivery_id)
WHERE job.id IS NULL
   OR job.state = 'completed' AND NOT EXISTS (SELECT FROM effect WHERE effect.delivery_id = sent.delivery_id);

-- run_again
-- Native handlers that ran more than once, and saw so.
SELECT count(*) FROM github.native_run WHERE runs > 1 AND job_id IN (SELECT id FROM job);

-- mismatched
-- Event types with another number of jobs than deliveries.
SELECT count(*) FROM (SELECT 'github.' || event AS kind, count(*) AS n FROM sent GROUP BY 1) AS wanted
FULL JOIN (SELECT kind, count(*) AS n FROM job GROUP BY 1) AS got USING (kind)
WHERE wanted.n IS DISTINCT FROM got.n;

-- digests
-- Instants of the schedule `digest` during the run.
SELECT count(*) FROM forge.schedule_runs WHERE schedule = 'digest' AND scheduled_for > (SELECT started_at FROM run);

-- digest_gaps
-- Instants missing between the first and the last: one every ten seconds, whoever led.
SELECT coalesce(extract(epoch FROM max(scheduled_for) - min(scheduled_for))::bigint / 10 + 1 - count(DISTINCT scheduled_for), 0)
FROM forge.schedule_runs WHERE schedule = 'digest' AND scheduled_for > (SELECT started_at FROM run);

-- digest_repeats
-- Instants that made more than one job.
SELECT count(*) - count(DISTINCT scheduled_for)
FROM forge.schedule_runs WHERE schedule = 'digest' AND scheduled_for > (SELECT started_at FROM run);

-- digest_behind
-- How far the last digest is from what it should have counted.
SELECT abs((SELECT effects FROM github.digest ORDER BY taken_at DESC LIMIT 1) - (SELECT count(*) FROM github.effect));
