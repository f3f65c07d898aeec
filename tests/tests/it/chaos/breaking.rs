//! What is broken and when: a random node is killed with -9 every three seconds and replaced, one
//! is frozen past its lease and thawed, the server crashes twice.

use std::{
    fmt,
    fs::File,
    io::Read,
    thread,
    time::{Duration, Instant},
};

use forge_tests::Node;

use crate::stage::Stage;

const KILL_EVERY: Duration = Duration::from_secs(3);
/// Longer than the 15 s after which a silent node is dead.
const FROZEN: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct Log {
    kills: u32,
    crashes: u32,
    frozen: u32,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kills,
            crashes,
            frozen,
        } = self;
        write!(
            f,
            "{kills} nodes killed, {crashes} crashes of the server, {frozen} nodes frozen"
        )
    }
}

/// Breaks things for `span`. Afterwards three nodes run, none frozen.
pub fn run(stage: &mut Stage, span: Duration) -> Log {
    let mut log = Log::default();
    let start = Instant::now();
    let mut crashes = vec![span * 2 / 3, span / 3];
    let mut freeze = Some(span / 6);
    let mut frozen: Option<(Node, Instant)> = None;
    let mut serial = stage.nodes.len();
    for round in 1.. {
        // The pace of the breaking, not a wait for something to become true.
        thread::sleep((KILL_EVERY * round).saturating_sub(start.elapsed()));
        if freeze.is_some_and(|at| start.elapsed() >= at) {
            freeze = None;
            let node = stage.nodes.remove(0);
            node.freeze().unwrap();
            log.frozen += 1;
            frozen = Some((node, Instant::now()));
        } else {
            let victim = random(stage.nodes.len());
            stage.nodes.remove(victim).kill().unwrap();
            log.kills += 1;
        }
        serial += 1;
        let fresh = stage.node_options(&format!("n{serial}"));
        stage.nodes.push(Node::spawn(fresh).unwrap());
        if crashes.last().is_some_and(|at| start.elapsed() >= *at) {
            crashes.pop();
            stage.database().cluster().crash_and_restart().unwrap();
            log.crashes += 1;
        }
        if let Some((node, since)) = frozen.take() {
            if since.elapsed() < FROZEN {
                frozen = Some((node, since));
            } else {
                node.thaw().unwrap();
                stage.nodes.push(node);
            }
        }
        if start.elapsed() >= span && frozen.is_none() {
            break;
        }
    }
    for node in &mut stage.nodes {
        node.wait_ready().unwrap();
    }
    log
}

fn random(below: usize) -> usize {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    usize::from_ne_bytes(bytes) % below
}
