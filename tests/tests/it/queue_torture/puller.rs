//! Workers that pull over SQL: claim, then finish each job somehow, or not at all.

use postgres::Client;
use uuid::Uuid;

use super::session::{End, Outcome, Session};

struct Batch {
    lease: Option<Uuid>,
    ids: Vec<Uuid>,
}

pub fn pull(session: &mut Session<'_>) {
    let together = session.dice.one_in(4);
    let (end, batch) = session.transact(|session, client| {
        let batch = session.aside(client, claim)?;
        match batch {
            Some(batch) if together => {
                finish(session, client, &batch)?;
                Ok(None)
            }
            other => Ok(other),
        }
    });
    let Some(batch) = batch.flatten().filter(|_| end == End::Committed) else {
        return;
    };
    session.dally(40);
    // Whoever stops here lets the lease expire.
    if !session.dice.one_in(10) {
        let (end, _) = session.transact(|session, client| {
            session.aside(client, |session, client| finish(session, client, &batch))
        });
        if end == End::Undone {
            session.transact(|session, client| finish(session, client, &batch));
        }
    }
}

fn claim(session: &mut Session<'_>, client: &mut Client) -> Outcome<Batch> {
    let most = session.dice.pick(&[1, 3, 5, 20, 100]);
    let lease = format!("{} ms", session.dice.pick(&[100, 500, 2000, 5000]));
    let queues = session.dice.pick(&[
        "{default,other,scratch}",
        "{default}",
        "{other,scratch}",
        "{scratch}",
    ]);
    // Fails now and then after it has claimed.
    let failing = session.dice.one_in(15);
    let sql = if failing {
        "SELECT id, lease, 1 / (row_number() OVER () - $4) FROM forge.claim('puller', $1::text::text[], $2, $3::text::interval)"
    } else {
        "SELECT id, lease, $4::bigint FROM forge.claim('puller', $1::text::text[], $2, $3::text::interval)"
    };
    let fails_at = i64::from(most.min(2));
    let rows = client.query(sql, &[&queues, &most, &lease, &fails_at])?;
    if rows.len() > most as usize {
        session
            .world
            .violation(format!("claimed {} of at most {most}", rows.len()));
    }
    Ok(Batch {
        lease: rows.first().map(|row| row.get(1)),
        ids: rows.iter().map(|row| row.get(0)).collect(),
    })
}

fn finish(session: &mut Session<'_>, client: &mut Client, batch: &Batch) -> Outcome<()> {
    let Some(lease) = batch.lease else {
        return Ok(());
    };
    if session.dice.one_in(20) {
        client.execute("SELECT forge.extend($1, '1 s')", &[&lease])?;
    }
    let some = batch.ids.len() as u64;
    let complete = session.dice.below(some + 1).max(some / 2) as usize;
    let (done, rest) = batch.ids.split_at(complete);
    if !done.is_empty() {
        session.aside(client, |session, client| {
            complete_all(session, client, lease, done)
        })?;
    }
    for id in rest {
        match session.dice.below(8) {
            0 => {
                session.aside(client, |session, client| {
                    complete_all(session, client, lease, &[*id])
                })?;
            }
            1 => {
                client.execute("SELECT forge.snooze($1, $2, '100 ms')", &[&lease, id])?;
            }
            2 => {
                client.execute("SELECT forge.progress($1, $2, 50, 'half')", &[&lease, id])?;
            }
            3 => {
                client.execute(
                    "SELECT forge.fail($1, $2, 'for good', false)",
                    &[&lease, id],
                )?;
            }
            4..7 => {
                session.aside(client, |_, client| {
                    client.execute("SELECT forge.fail($1, $2, 'again')", &[&lease, id])
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn complete_all(
    session: &mut Session<'_>,
    client: &mut Client,
    lease: Uuid,
    ids: &[Uuid],
) -> Outcome<()> {
    let row = client.query_one("SELECT forge.complete($1, $2)", &[&lease, &ids])?;
    let count: i32 = row.get(0);
    // A second try may find all of them finished.
    if count as usize == ids.len() {
        client.execute(
            "INSERT INTO public.effect SELECT i, 'puller' FROM unnest($1::uuid[]) i",
            &[&ids],
        )?;
        session.completed.extend(ids);
    } else if count != 0 {
        let known: Vec<Uuid> = client
            .query(
                "INSERT INTO public.effect SELECT j.id, 'puller' FROM forge.jobs j
                 WHERE j.id = ANY ($1) AND j.state = 'completed' AND NOT EXISTS (
                     SELECT FROM public.effect e WHERE e.id = j.id) RETURNING id",
                &[&ids],
            )?
            .iter()
            .map(|row| row.get(0))
            .collect();
        session.completed.extend(known);
    }
    Ok(())
}
