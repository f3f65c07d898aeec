-- The handler of the schedule `digest`: what the example's tables hold now, and how fast effects arrive.

CREATE OR REPLACE FUNCTION github.take_digest(job jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    now_at timestamptz := clock_timestamp();
    busiest record;
    taken github.digest;
BEGIN
    SELECT e.kind, count(*) AS effects INTO busiest
    FROM github.effect e WHERE e.at > now_at - interval '10 seconds'
    GROUP BY e.kind ORDER BY count(*) DESC, e.kind LIMIT 1;

    INSERT INTO github.digest
    VALUES (now_at,
            (SELECT count(*) FROM github.effect),
            (SELECT count(*) FROM github.person),
            (SELECT count(*) FROM github.repository),
            (SELECT count(*) FROM github.issue),
            (SELECT count(*) FROM github.pull_request),
            busiest.kind, busiest.effects,
            (SELECT count(*) FROM github.effect e WHERE e.at > now_at - interval '10 seconds') / 10.0)
    RETURNING * INTO taken;
    RETURN to_jsonb(taken);
END $$;
