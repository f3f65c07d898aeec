//! The end: everything that waits is worked off, and the sums agree.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use postgres::{Client, NoTls};
use uuid::Uuid;

use super::{
    audit,
    world::{Fate, World},
};

/// Limit of the working off.
const LIMIT: Duration = Duration::from_secs(90);

/// Works everything off that anybody has left behind.
pub fn drain(url: &str, world: &World) -> Client {
    let mut client = Client::connect(url, NoTls).unwrap();
    for row in client
        .query(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()",
            &[],
        )
        .unwrap()
    {
        let gid: String = row.get(0);
        client
            .batch_execute(&format!("COMMIT PREPARED '{gid}'"))
            .unwrap();
    }
    client
        .batch_execute(
            "SELECT forge.resume_queue(queue) FROM forge.queues;
             UPDATE forge_private.node SET state = 'dead';
             SELECT forge_private.release_node_leases(id, true) FROM forge_private.node;",
        )
        .unwrap();
    let start = Instant::now();
    let mut idle = 0;
    while live(&mut client) > 0 {
        if start.elapsed() > LIMIT || !world.violations().is_empty() {
            world.violation(format!("left over: {}", left_over(&mut client)));
            break;
        }
        client
            .batch_execute(
                "SELECT forge_private.promote(NULL, 10000); SELECT forge_private.release_expired_leases()",
            )
            .unwrap();
        if work_off(&mut client) == 0 {
            idle += 1;
            std::thread::sleep(Duration::from_millis(10));
        } else {
            idle = 0;
        }
        // Nothing here waits longer than the longest lease.
        if idle > 1500 {
            world.violation(format!("nobody is handed {}", left_over(&mut client)));
            break;
        }
    }
    client
}

fn live(client: &mut Client) -> i64 {
    client
        .query_one("SELECT count(*) FROM audit.live WHERE NOT dead", &[])
        .unwrap()
        .get(0)
}

fn left_over(client: &mut Client) -> String {
    client
        .query_one(
            "SELECT string_agg(format('%s × %s %s %s', n, kind, state, ids), '; ') FROM (
                 SELECT kind, state, count(*) AS n, (array_agg(id))[1:3] AS ids FROM forge.jobs
                 WHERE state NOT IN ('completed', 'cancelled', 'dead') GROUP BY 1, 2) j",
            &[],
        )
        .unwrap()
        .get::<_, Option<String>>(0)
        .unwrap_or_default()
}

/// One claim of everything, completed.
fn work_off(client: &mut Client) -> usize {
    let row = client
        .query_one(
            "WITH got AS MATERIALIZED (SELECT * FROM forge.claim('finale', '{default,other,scratch}', 1000, '1 min')),
                 effect AS (INSERT INTO public.effect SELECT id, 'finale' FROM got)
             SELECT coalesce(sum(n), 0)::bigint FROM (
                 SELECT forge.complete(lease, array_agg(id)) AS n FROM got GROUP BY lease) d",
            &[],
        )
        .unwrap();
    row.get::<_, i64>(0) as usize
}

/// What clients were told against what became of the jobs.
pub fn check(client: &mut Client, world: &World) {
    audit::conclude(client, world);
    let states: BTreeMap<Uuid, String> = client
        .query("SELECT id, state FROM forge.jobs", &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    for (id, fate) in world.fates() {
        match (fate, states.get(&id)) {
            (Fate::Committed, None) => world.violation(format!("job {id} is lost")),
            (Fate::RolledBack, Some(state)) => {
                world.violation(format!("job {id} was rolled back and is {state}"));
            }
            _ => {}
        }
    }
    for id in world.completed() {
        if states.get(&id).map(String::as_str) != Some("completed") {
            let state = states.get(&id);
            world.violation(format!("job {id} was completed and is {state:?}"));
        }
    }
    gates_are_free(client, world);
}

/// With nothing running each gate lets in exactly its limit.
fn gates_are_free(client: &mut Client, world: &World) {
    client
        .batch_execute(
            "SELECT count(*) FROM forge.enqueue_many('few', array_fill('{}'::jsonb, ARRAY[9]));
             SELECT count(*) FROM forge.enqueue_many('keyed', ARRAY(SELECT jsonb_build_object('k', n % 4) FROM generate_series(0, 19) n));
             SELECT forge.enqueue('alone', concurrency_key => 'c' || n % 3) FROM generate_series(0, 8) n;",
        )
        .unwrap();
    let rows = client
        .query(
            "SELECT kind, count(*) FROM forge.claim('gates', '{default,other}', 1000, '1 min') GROUP BY 1 ORDER BY 1",
            &[],
        )
        .unwrap();
    let got: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [("alone", 3), ("few", 3), ("keyed", 8)].map(|(k, n)| (k.to_owned(), n));
    if got != expected {
        world.violation(format!("free gates let in {got:?}"));
    }
}
