//! What must hold of the tables at any moment, and at the end.

use postgres::{Client, NoTls};

use super::world::World;

/// Members of claims, unpacked; and the jobs that have not ended.
const HELP: &str = "
    CREATE SCHEMA audit;
    CREATE FUNCTION audit.number(bytes bytea, at int, size int) RETURNS numeric LANGUAGE sql IMMUTABLE AS
        'SELECT sum(get_byte(bytes, at + i) * 256::numeric ^ i) FROM generate_series(0, size - 1) i';
    CREATE VIEW audit.member AS
        SELECT c.lease, c.at, c.node, c.worker, p AS pos, encode(substr(c.members, p * 56 + 1, 16), 'hex')::uuid AS id,
            audit.number(c.members, p * 56 + 24, 8) AS seq, audit.number(c.members, p * 56 + 32, 8) AS gate,
            audit.number(c.members, p * 56 + 40, 4)::int AS lane
        FROM forge_private.claim c, generate_series(0, c.size - 1) p;
    CREATE VIEW audit.live AS
        SELECT e.id, e.digest, false AS dead FROM forge_private.entry e WHERE e.lane >= 0 AND NOT EXISTS (
            SELECT FROM forge_private.attempt a WHERE a.id = e.id AND a.seq = e.seq)
        UNION ALL SELECT d.id, d.digest, d.reason = 5 FROM forge_private.deferred d;
    CREATE VIEW audit.limits AS
        SELECT c.id AS channel, CASE k.kind WHEN 'few' THEN 3 WHEN 'keyed' THEN 2 ELSE 1 END AS most
        FROM forge_private.channel c JOIN forge_private.job_kind k ON k.id = c.kind_id;";

/// Queries that find what must never be, at any moment.
const ALWAYS: [(&str, &str); 4] = [
    (
        "two live entries or deferred rows of one job",
        "SELECT id::text, count(*) FROM audit.live GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "a job that has ended is live",
        "SELECT a.id::text, a.outcome::bigint FROM forge_private.attempt a JOIN audit.live l ON l.id = a.id WHERE a.outcome < 10",
    ),
    (
        "two unfinished jobs with one unique key",
        "SELECT encode(digest, 'hex'), count(*) FROM audit.live WHERE digest IS NOT NULL AND NOT dead GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "more run at once than the limit",
        "SELECT m.gate::text || ' in lane ' || min(m.lane), count(*) FROM audit.member m
         JOIN forge_private.running() r ON r.lease = m.lease AND r.pos = m.pos
         JOIN audit.limits l ON l.channel = m.lane >> 3
         WHERE m.gate <> 0 AND m.at > clock_timestamp() - interval '10 min' GROUP BY m.gate HAVING count(*) > min(l.most)",
    ),
];

/// Those that are looked for at the end only.
const FINALLY: [(&str, &str); 6] = [
    (
        "an entry in two claims",
        "SELECT seq::text, count(*) FROM audit.member GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "an entry with two attempts",
        "SELECT id::text || ' ' || seq, count(*) FROM forge_private.attempt GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "a job that has ended twice",
        "SELECT id::text, count(*) FROM forge_private.attempt WHERE outcome < 10 GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "an attempt at what was never claimed",
        "SELECT a.id::text || ' ' || a.seq, 1::bigint FROM forge_private.attempt a
         WHERE a.started_at IS NOT NULL AND NOT EXISTS (SELECT FROM audit.member m WHERE m.id = a.id AND m.seq = a.seq)",
    ),
    (
        "two effects of one job",
        "SELECT id::text, count(*) FROM public.effect GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "effects and completions differ",
        "SELECT coalesce(e.id, a.id)::text || ' ' || coalesce(e.by, 'no effect'), count(a.id) FROM public.effect e
         FULL JOIN (SELECT id FROM forge_private.attempt WHERE outcome = 1) a ON a.id = e.id
         WHERE e.id IS NULL OR a.id IS NULL GROUP BY 1",
    ),
];

pub fn prepare(client: &mut Client) {
    client.batch_execute(HELP).unwrap();
}

fn look(
    client: &mut Client,
    checks: &[(&str, &str)],
    world: &World,
) -> Result<(), postgres::Error> {
    let mut snapshot = client
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .start()?;
    for (what, query) in checks {
        let rows = snapshot.query(*query, &[])?;
        for row in rows.iter().take(3) {
            let (which, count): (String, i64) = (row.get(0), row.get(1));
            world.violation(format!("{what}: {which} ({count})"));
        }
    }
    snapshot.commit()
}

/// Looks again and again until the world is over.
pub fn watch(url: &str, world: &World) {
    let mut client = None;
    while !world.is_over() {
        let connected = match client.take().filter(|c: &Client| !c.is_closed()) {
            Some(connected) => Some(connected),
            None => Client::connect(url, NoTls).ok(),
        };
        if let Some(mut connected) = connected {
            // An error here is the server being away.
            let _ = look(&mut connected, &ALWAYS, world);
            client = Some(connected);
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
}

pub fn conclude(client: &mut Client, world: &World) {
    look(client, &ALWAYS, world).unwrap();
    look(client, &FINALLY, world).unwrap();
}
