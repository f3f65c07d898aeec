//! What those who enqueue and manage do.

use postgres::Client;
use uuid::Uuid;

use super::{
    session::{Outcome, Session},
    world::{Fate, KINDS},
};

const PRIORITIES: [&str; 5] = ["critical", "high", "normal", "low", "background"];

/// Enqueues, some of it in savepoints, in one transaction.
pub fn enqueue(session: &mut Session<'_>) {
    let times = 1 + session.dice.below(4);
    let late = session.dice.one_in(10);
    session.transact(|session, client| {
        for _ in 0..times {
            session.aside(client, enqueue_some)?;
            if session.dice.one_in(12) {
                session.aside(client, cancel_own)?;
            }
        }
        if late {
            session.dally(800);
        }
        Ok(())
    });
}

fn enqueue_some(session: &mut Session<'_>, client: &mut Client) -> Outcome<()> {
    let kind = session.dice.pick(&KINDS);
    let priority = session.dice.pick(&PRIORITIES);
    let args = format!(
        "{{\"{}\": {}}}",
        if kind == "inside" { "n" } else { "k" },
        session.dice.below(4)
    );
    let delay = session
        .dice
        .one_in(5)
        .then(|| format!("{} ms", session.dice.below(700)));
    if session.dice.one_in(4) {
        let many = 1 + session.dice.below(80) as i32;
        let rows = client.query(
            "SELECT forge.enqueue_many($1, array_fill($2::text::jsonb, ARRAY[$3::int]), priority => $4, delay => $5::text::interval)",
            &[&kind, &args, &many, &priority, &delay],
        )?;
        session
            .enqueued
            .extend(rows.iter().map(|row| row.get::<_, Uuid>(0)));
        return Ok(());
    }
    let unique = (kind == "once").then(|| format!("u{}", session.dice.below(12)));
    let idempotency = session
        .dice
        .one_in(10)
        .then(|| format!("i{}", session.dice.below(40)));
    let concurrency =
        (kind == "alone" || session.dice.one_in(40)).then(|| format!("c{}", session.dice.below(3)));
    let on_conflict = session.dice.pick(&["keep", "replace", "replace", "reject"]);
    let row = client.query_one(
        "SELECT forge.enqueue($1, $2::text::jsonb, priority => $3, delay => $4::text::interval, unique_key => $5,
             on_conflict => $6, idempotency_key => $7, concurrency_key => $8)",
        &[&kind, &args, &priority, &delay, &unique, &on_conflict, &idempotency, &concurrency],
    )?;
    let id: Uuid = row.get(0);
    if unique.is_none() && idempotency.is_none() {
        session.enqueued.push(id);
    } else {
        // It may be the job of another transaction.
        session.world.settle(&[id], Fate::Unknown);
    }
    Ok(())
}

fn cancel_own(session: &mut Session<'_>, client: &mut Client) -> Outcome<()> {
    let Some(id) = session.enqueued.last().copied() else {
        return Ok(());
    };
    client.execute("SELECT forge.cancel($1)", &[&id])?;
    Ok(())
}

/// Cancels, retries, discards, redrives, purges.
pub fn manage(session: &mut Session<'_>) {
    let deed = session.dice.below(20);
    let ids: Vec<Uuid> = (0..1 + session.dice.below(6))
        .filter_map(|_| session.world.any_job(&mut session.dice))
        .collect();
    session.transact(|session, client| {
        session.aside(client, |_, client| match deed {
            0..9 => {
                for id in &ids {
                    client.execute("SELECT forge.cancel($1)", &[id])?;
                }
                Ok(())
            }
            9..13 => {
                for id in &ids {
                    client.execute("SELECT forge.retry($1)", &[id])?;
                }
                Ok(())
            }
            13..15 => client
                .execute("SELECT forge.discard($1)", &[&ids.first()])
                .map(drop),
            15 => client.batch_execute("SELECT forge.redrive()"),
            16 => client.batch_execute("SELECT forge.redrive('plain')"),
            17 => client.batch_execute("SELECT forge.purge_queue('scratch')"),
            18 => client.batch_execute("SELECT forge.pause_queue('other')"),
            _ => client.batch_execute("SELECT forge.resume_queue('other')"),
        })
    });
}

/// What the leader does.
pub fn lead(session: &mut Session<'_>) {
    match session.dice.below(12) {
        0..7 => session.plainly("SELECT forge_private.promote(NULL, 500)"),
        7..10 => session.plainly("SELECT forge_private.release_expired_leases()"),
        10 => session.plainly("SELECT forge_private.raise_claim_floor()"),
        _ => session.plainly("SELECT forge_private.maintain()"),
    }
    session.dally(20);
}

/// Ends what somebody has prepared.
pub fn end_prepared(session: &mut Session<'_>) {
    let Some((name, ids)) = session.world.take_prepared() else {
        return;
    };
    let verb = session.dice.pick(&["COMMIT", "COMMIT", "ROLLBACK"]);
    let Some(client) = session.client() else {
        session.world.prepare(name, ids);
        return;
    };
    if client
        .batch_execute(&format!("{verb} PREPARED '{name}'"))
        .is_ok()
    {
        let fate = if verb == "COMMIT" {
            Fate::Committed
        } else {
            Fate::RolledBack
        };
        session.world.settle(&ids, fate);
    } else {
        session.world.prepare(name, ids);
    }
}

/// Holds a snapshot.
pub fn hold(session: &mut Session<'_>) {
    let span = session.dice.below(1500);
    if let Some(client) = session.client() {
        let held = client.batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM public.effect",
        );
        if held.is_ok() {
            session.dally(span);
        }
        // Cancelled, it leaves an open transaction all the same.
        session.plainly("ROLLBACK");
    }
}

/// Ends another session, or only what it is doing.
pub fn interrupt(session: &mut Session<'_>) {
    let function = session
        .dice
        .pick(&["pg_terminate_backend", "pg_cancel_backend"]);
    session.plainly(&format!(
        "SELECT {function}(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = 'torture'
             AND datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) s"
    ));
    session.dally(100);
}
