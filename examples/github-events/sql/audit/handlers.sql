-- One line per kind of handler, for the table.
SELECT CASE job.queue WHEN 'callout' THEN 'https: (receiver)' WHEN 'native' THEN 'native: (Rust)'
                      WHEN 'worker' THEN 'worker: (Python)' ELSE 'sql:' END AS handler,
       count(DISTINCT job.kind) AS kinds,
       count(*) AS jobs,
       count(*) FILTER (WHERE job.state = 'completed') AS completed,
       coalesce(sum(effects.n), 0)::bigint AS effects,
       coalesce(sum(failed.n), 0)::bigint AS retries
FROM job
LEFT JOIN (SELECT delivery_id, count(*) AS n FROM effect GROUP BY 1) AS effects USING (delivery_id)
LEFT JOIN (SELECT job_id, count(*) AS n FROM attempt WHERE outcome IN ('failed', 'lost') GROUP BY 1) AS failed
    ON failed.job_id = job.id
GROUP BY 1 ORDER BY jobs DESC;
