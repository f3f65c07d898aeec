-- Schedules: expressions, zones, policies.
\getenv dir PG_ABS_SRCDIR
\set prelude :dir '/include/prelude.psql'
\set ECHO none
\i :prelude
\set ECHO all
-- Daylight saving. Berlin springs forward 2026-03-29 02:00 -> 03:00: a fixed time in the gap fires at the first instant after it.
SELECT r AT TIME ZONE 'Europe/Berlin' AS berlin, r FROM forge.next_runs('30 2 * * *', 'Europe/Berlin', '2026-03-28 00:00Z', 3) r;
-- It falls back 2026-10-25 03:00 -> 02:00: a fixed time in the overlap fires once, at the first.
SELECT r AT TIME ZONE 'Europe/Berlin' AS berlin, r FROM forge.next_runs('30 2 * * *', 'Europe/Berlin', '2026-10-24 12:00Z', 3) r;
-- Wildcards follow elapsed time.
SELECT r FROM forge.next_runs('*/30 * * * *', 'Europe/Berlin', '2026-03-29 00:00Z', 4) r;
SELECT r FROM forge.next_runs('*/30 * * * *', 'Europe/Berlin', '2026-10-25 00:00Z', 6) r;
-- New York, half an hour on Lord Howe, the southern hemisphere.
SELECT r FROM forge.next_runs('30 2 * * *', 'America/New_York', '2026-03-07 12:00Z', 3) r;
SELECT r FROM forge.next_runs('30 1 * * *', 'America/New_York', '2026-10-31 12:00Z', 3) r;
SELECT r FROM forge.next_runs('15 2 * * *', 'Australia/Lord_Howe', '2026-10-02 12:00Z', 3) r;
SELECT r FROM forge.next_runs('45 1 * * *', 'Australia/Lord_Howe', '2026-04-03 12:00Z', 3) r;
SELECT r FROM forge.next_runs('30 0 * * *', 'America/Santiago', '2026-09-05 00:00Z', 3) r;
SELECT r FROM forge.next_runs('30 23 * * *', 'America/Santiago', '2026-04-03 12:00Z', 3) r;
-- Seconds, names, intervals, ranges.
SELECT r FROM forge.next_runs('*/20 * * * * *', 'UTC', '2026-01-01 00:00:05Z', 3) r;
SELECT r FROM forge.next_runs('@hourly', 'UTC', '2026-01-01 00:00Z', 2) r;
SELECT r FROM forge.next_runs('@daily', 'Asia/Kolkata', '2026-01-01 00:00Z', 2) r;
SELECT r FROM forge.next_runs('@weekly', 'UTC', '2026-01-01 00:00Z', 2) r;
SELECT r FROM forge.next_runs('@monthly', 'UTC', '2026-01-01 00:00Z', 2) r;
SELECT r FROM forge.next_runs('@yearly', 'UTC', '2026-01-01 00:00Z', 2) r;
SELECT r FROM forge.next_runs('every 10s', 'UTC', '2026-01-01 00:00:03Z', 3) r;
SELECT r FROM forge.next_runs('0 9 * * MON-FRI', 'UTC', '2026-01-02 12:00Z', 2) r;
SELECT r FROM forge.next_runs('0 0 29 2 *', 'UTC', '2026-01-01 00:00Z', 2) r;
-- Mistakes, each naming the value.
SELECT * FROM test.error_of($$SELECT forge.next_runs('61 * * * *')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('* * *')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('0 0 30 2 *')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('every 0s')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('every now and then')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('@sometimes')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('* * * * *', 'Mars/Olympus')$$);
SELECT * FROM test.error_of($$SELECT forge.next_runs('* * * * *', n => -1)$$);
SELECT forge.register_job('digest', 'worker');
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '61 * * * *', 'digest')$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '@daily', 'unknown')$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '@daily', 'digest', timezone => 'Mars/Olympus')$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '@daily', 'digest', misfire => 'panic')$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '@daily', 'digest', overlap => 'panic')$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '@daily', 'digest', misfire_limit => 0)$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('s', '@daily', 'digest', jitter => '-1 s')$$);
SELECT * FROM test.error_of($$SELECT forge.schedule('', '@daily', 'digest')$$);
SELECT * FROM test.error_of($$SELECT forge.schedule(null, '@daily', 'digest')$$);
SELECT count(*) FROM forge.schedules;
-- Upserts.
SELECT forge.schedule('nightly', '0 3 * * *', 'digest', '{"a": 1}', timezone => 'Europe/Berlin');
SELECT forge.schedule('nightly', '0 3 * * *', 'digest', '{"a": 1}', timezone => 'Europe/Berlin');
SELECT forge.schedule('paused', '@hourly', 'digest', enabled => false);
SELECT name, cron, timezone, kind, args, misfire, overlap, enabled, next_run_at > now() AS upcoming, last_run_at FROM forge.schedules ORDER BY name;
-- By hand.
SELECT forge.trigger('nightly') IS NOT NULL AS made;
SELECT schedule, job_id IS NOT NULL AS job, outcome FROM forge.schedule_runs;
SELECT kind, args, state FROM forge.jobs;
SELECT * FROM test.error_of($$SELECT forge.trigger('missing')$$);
SELECT forge.unschedule('paused'), forge.unschedule('paused');
SELECT name FROM forge.schedules;
