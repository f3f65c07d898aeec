//! Enqueues jobs through crashes of the server. Each batch is noted in the transaction that
//! enqueues it: what is noted was acknowledged, what is not was never there.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use forge_tests::eventually;

use crate::session::{SOON, Session};

const BATCH: u64 = 250;

/// Enqueues the jobs 1 to `jobs` over about `span`.
pub fn all(url: &str, jobs: u64, span: Duration) -> Result<()> {
    let mut session = Session::open(url)?;
    let start = Instant::now();
    let mut next = 1;
    while next <= jobs {
        let last = (next + BATCH - 1).min(jobs);
        if !enqueue(&session, next, last) {
            session = eventually(SOON, "the server to take connections", || {
                Ok(Session::open(url).ok())
            })?;
            // The answer was lost: look whether the batch was committed.
            let present: i64 = session.value(&format!(
                "SELECT count(*) FROM public.sent WHERE n BETWEEN {next} AND {last}"
            ))?;
            if present == 0 {
                continue;
            }
        }
        next = last + 1;
        let due = span.mul_f64(last as f64 / jobs as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(())
}

/// Whether the batch is known to be committed.
fn enqueue(session: &Session, first: u64, last: u64) -> bool {
    let kind = ["work", "work", "shaky", "keyed"][usize::try_from(first / BATCH).unwrap_or(0) % 4];
    let script = format!(
        "INSERT INTO public.sent
         SELECT n, id FROM unnest(ARRAY(SELECT generate_series({first}, {last}))) WITH ORDINALITY AS a(n, o)
         JOIN forge.enqueue_many('{kind}', ARRAY(
             SELECT jsonb_build_object('n', n, 'key', n % 5) - CASE '{kind}' WHEN 'keyed' THEN '' ELSE 'key' END
             FROM generate_series({first}, {last}) n)) WITH ORDINALITY AS e(id, o) USING (o)"
    );
    session.run(&script).is_ok()
}
