//! Nodes: claims whose life is the node's, members by position, release, leaving, dying.

use postgres::Client;
use uuid::Uuid;

use super::{
    session::{End, Outcome, Session},
    world::KINDS,
};

/// A node of one session.
#[derive(Default)]
pub struct Node {
    id: Option<Uuid>,
}

struct Member {
    pos: i32,
    id: Uuid,
    inside: bool,
}

struct Batch {
    lease: Uuid,
    members: Vec<Member>,
}

impl Node {
    pub fn work(&mut self, session: &mut Session<'_>) {
        let Some(id) = self.id.or_else(|| self.register(session)) else {
            return;
        };
        if session.dice.one_in(25) {
            self.id = None;
            leave_or_die(session, id);
            return;
        }
        let (end, batch) =
            session.transact(|session, client| session.aside(client, |s, c| claim(s, c, id)));
        let Some(batch) = batch.flatten().flatten().filter(|_| end == End::Committed) else {
            // The node may be dead by the hand of another.
            if end == End::Undone && session.dice.one_in(4) {
                self.id = None;
                leave_or_die(session, id);
            }
            return;
        };
        session.dally(20);
        let (end, _) = session.transact(|session, client| finish(session, client, id, &batch));
        if end != End::Committed {
            session.transact(|_, client| {
                client.execute(
                    "SELECT forge_private.worker_release($1, $2, NULL)",
                    &[&id, &batch.lease],
                )
            });
        }
    }

    fn register(&mut self, session: &mut Session<'_>) -> Option<Uuid> {
        let id = Uuid::now_v7();
        let name = session.name.clone();
        let outcome = session.client()?.execute(
            "SELECT forge_private.node_register($1, $2, '{worker}', '{general}', NULL, NULL, '0')",
            &[&id, &name],
        );
        self.id = outcome.is_ok().then_some(id);
        self.id
    }
}

fn leave_or_die(session: &mut Session<'_>, id: Uuid) {
    if session.dice.one_in(2) {
        session.plainly(&format!("SELECT forge_private.node_leave('{id}')"));
    } else {
        session.plainly(&format!(
            "BEGIN; UPDATE forge_private.node SET state = 'dead' WHERE id = '{id}';
             SELECT forge_private.release_node_leases('{id}', true); COMMIT"
        ));
        session.plainly("ROLLBACK");
    }
}

fn claim(session: &mut Session<'_>, client: &mut Client, node: Uuid) -> Outcome<Option<Batch>> {
    let most = session.dice.pick(&[1, 4, 16, 64]);
    let kinds: Vec<&str> = if session.dice.one_in(3) {
        vec!["inside", "plain"]
    } else {
        KINDS.to_vec()
    };
    let rows = client.query(
        "SELECT lease, pos, id, kind FROM forge_private.worker_claim($1, $2, $3)",
        &[&node, &kinds, &most],
    )?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(Batch {
        lease: first.get(0),
        members: rows
            .iter()
            .map(|row| Member {
                pos: row.get(1),
                id: row.get(2),
                inside: row.get::<_, &str>(3) == "inside",
            })
            .collect(),
    }))
}

fn finish(
    session: &mut Session<'_>,
    client: &mut Client,
    node: Uuid,
    batch: &Batch,
) -> Outcome<()> {
    let lease = batch.lease;
    let (inside, outside): (Vec<&Member>, Vec<&Member>) =
        batch.members.iter().partition(|m| m.inside);
    let positions: Vec<i32> = inside.iter().map(|m| m.pos).collect();
    if !positions.is_empty() {
        session.aside(client, |_, client| {
            client.execute(
                "SELECT * FROM forge_private.worker_run_sql($1, $2, $3, 50)",
                &[&node, &lease, &positions],
            )
        })?;
    }
    for member in outside {
        match session.dice.below(10) {
            0 => {
                client.execute(
                    "SELECT forge_private.worker_fail($1, $2, $3, 'again', true, 20)",
                    &[&node, &lease, &member.pos],
                )?;
            }
            1 => {
                client.execute(
                    "SELECT forge_private.worker_snooze($1, $2, $3, 50)",
                    &[&node, &lease, &member.pos],
                )?;
            }
            2 => {
                client.execute(
                    "SELECT forge_private.worker_release($1, $2, ARRAY[$3::int])",
                    &[&node, &lease, &member.pos],
                )?;
            }
            3 => {
                client.execute(
                    "SELECT forge_private.worker_cancelled($1, $2, $3)",
                    &[&node, &lease, &member.pos],
                )?;
            }
            4 => {}
            _ => {
                session.aside(client, |session, client| {
                    complete(session, client, node, lease, member)
                })?;
            }
        }
    }
    // What nobody has finished by now.
    if session.dice.one_in(2) {
        client.execute(
            "SELECT forge_private.worker_release($1, $2, NULL)",
            &[&node, &lease],
        )?;
    }
    Ok(())
}

fn complete(
    session: &mut Session<'_>,
    client: &mut Client,
    node: Uuid,
    lease: Uuid,
    member: &Member,
) -> Outcome<()> {
    let row = client.query_one(
        "SELECT forge_private.worker_complete($1, $2, ARRAY[$3::int], ARRAY['{\"ok\": true}'::jsonb])",
        &[&node, &lease, &member.pos],
    )?;
    if row.get::<_, i32>(0) == 1 {
        client.execute(
            "INSERT INTO public.effect VALUES ($1, 'node')",
            &[&member.id],
        )?;
        session.completed.push(member.id);
    }
    Ok(())
}
