//! Many sessions do random things to one queue, and nothing is lost, done twice, or let past a limit.
//!
//! `FORGE_TORTURE_SEED` repeats the choices of a run (not its timing), `FORGE_TORTURE_SECONDS` sets how long it lasts
//! (default 6), `FORGE_TORTURE_SESSIONS` how many take part (default 10).

mod audit;
mod deeds;
mod dice;
mod finale;
mod node;
mod puller;
mod session;
mod world;

use std::time::{Duration, Instant, SystemTime};

use forge_tests::{Cluster, ClusterOptions};
use postgres::{Client, NoTls};

use dice::Dice;
use node::Node;
use session::Session;
use world::World;

use crate::stage::own_cluster;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap())
}

/// What breaks while the sessions go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Breaking {
    Nothing,
    /// Backends are killed with -9: the server starts anew with fresh shared memory.
    Backends,
    /// The server is stopped at once and started again.
    Server,
}

fn torture(preload: bool, breaking: Breaking) {
    let clock = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    let seed = setting("FORGE_TORTURE_SEED", clock);
    let span = Duration::from_secs(setting("FORGE_TORTURE_SECONDS", 6));
    eprintln!("FORGE_TORTURE_SEED={seed}");
    let cluster = own_cluster(ClusterOptions {
        preload,
        ..ClusterOptions::default()
    });
    let database = cluster.database().unwrap();
    let url = database.url();
    let mut client = Client::connect(&url, NoTls).unwrap();
    client.batch_execute(world::SETUP).unwrap();
    audit::prepare(&mut client);
    drop(client);
    let world = World::new(breaking != Breaking::Nothing);
    std::thread::scope(|scope| {
        for number in 0..setting("FORGE_TORTURE_SESSIONS", 10) {
            let session = Session::new(&url, format!("s{number}"), seed + number, &world);
            scope.spawn(|| live(session));
        }
        scope.spawn(|| audit::watch(&url, &world));
        break_things(&cluster, &url, &world, breaking, span, seed);
        world.end();
    });
    if world.violations().is_empty() {
        let mut client = finale::drain(&url, &world);
        finale::check(&mut client, &world);
    }
    let violations = world.violations();
    assert!(
        violations.is_empty(),
        "seed {seed}, files in {}: {violations:#?}",
        cluster.info().dir.display()
    );
    eprintln!(
        "{} jobs, {} completed while it lasted",
        world.fates().len(),
        world.completed().len()
    );
}

fn live(mut session: Session<'_>) {
    let mut node = Node::default();
    while !session.world.is_over() {
        match session.dice.below(40) {
            0..9 => deeds::enqueue(&mut session),
            9..20 => puller::pull(&mut session),
            20..30 => node.work(&mut session),
            30..33 => deeds::manage(&mut session),
            33..37 => deeds::lead(&mut session),
            37 => deeds::end_prepared(&mut session),
            38 => deeds::hold(&mut session),
            _ => deeds::interrupt(&mut session),
        }
    }
}

fn break_things(
    cluster: &Cluster,
    url: &str,
    world: &World,
    breaking: Breaking,
    span: Duration,
    seed: u64,
) {
    let mut dice = Dice::new(!seed);
    let start = Instant::now();
    while start.elapsed() < span && !world.is_over() {
        std::thread::sleep(Duration::from_millis(500 + dice.below(2000)));
        match breaking {
            Breaking::Nothing => {}
            Breaking::Backends => {
                let victim = Client::connect(url, NoTls).and_then(|mut client| {
                    client.query_one(
                        "SELECT pid FROM pg_stat_activity WHERE application_name = 'torture' ORDER BY random() LIMIT 1",
                        &[],
                    )
                });
                if let Ok(row) = victim {
                    cluster.kill_backend(row.get(0)).unwrap();
                }
            }
            Breaking::Server => cluster.crash_and_restart().unwrap(),
        }
    }
    forge_tests::eventually(Duration::from_secs(60), "the server", || {
        Ok(Client::connect(url, NoTls).ok())
    })
    .unwrap();
}

#[test]
fn with_preload() {
    torture(true, Breaking::Nothing);
}

#[test]
fn without_preload() {
    torture(false, Breaking::Nothing);
}

#[test]
fn while_backends_are_killed() {
    torture(true, Breaking::Backends);
}

#[test]
fn while_the_server_crashes() {
    torture(true, Breaking::Server);
}

#[test]
fn without_preload_while_the_server_crashes() {
    torture(false, Breaking::Server);
}
