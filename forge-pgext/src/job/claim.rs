//! Claims: handing out ready entries, most urgent lanes first, within gates, rates and pauses.
//!
//! Strict priority with aging: out of every eight slots one goes to the lane that has waited longest beyond its
//! patience, so that no job waits for ever behind more urgent ones.

use super::entry::Entry;
use super::kind::{Channel, Kind, registry};
use super::member::Member;
use super::{deferred, gate, lane, lease, now, restore};
use crate::error::{fail, invalid};
use crate::pg::function::{Call, Value, text_datum, uuid_datum};
use crate::pg::lock::{self, Class};
use crate::pg::shmem::Count;
use crate::pg::snapshot::Snapshot;
use crate::pg::table::{Key, Operator, Table, oid};
use crate::pg::{shmem, xact};
use forge_core::limits::MAX_BATCH;
use forge_core::{Rate, Scope};
use pgrx::pg_sys::Datum;
use std::cell::Cell;
use uuid::Uuid;

/// How long a lane waits before it may claim its share of slots, microseconds; per level of priority.
const PATIENCE_US: i64 = 30_000_000;
/// One slot in this many goes to lanes that have waited too long.
const AGING_SHARE: usize = 8;

thread_local! {
    static TURN: Cell<usize> = const { Cell::new(0) };
}

/// What a claim got.
struct Claimed {
    entries: Vec<Entry>,
    members: Vec<Member>,
    /// Taken out of their lanes, but waiting for a gate now.
    parked: Vec<Member>,
    /// Lanes that others held.
    passed_over: Vec<i32>,
    /// Concurrency key, kind and gate of the last entry: many in a row have the same.
    last_gate: Option<(Option<String>, i32, u64)>,
}

impl Claimed {
    /// The gate of the entry's own concurrency key.
    fn own_gate(&mut self, entry: &Entry, kind: &Kind) -> u64 {
        let key = entry.gate_key();
        match &self.last_gate {
            Some((last, of, gate)) if *last == key && *of == kind.id => *gate,
            _ => {
                let gate = gate::of_key(kind, key.as_deref());
                self.last_gate = Some((key, kind.id, gate));
                gate
            }
        }
    }
}

/// `forge.claim(worker, queues, max_jobs, lease, capabilities)`.
pub fn claim(call: &Call) -> Value {
    let worker = call.need_text(0, "worker");
    forge_core::limits::check_key("worker", &worker).unwrap_or_else(|e| invalid(&e, e.hint()));
    let queues = call.texts(1, "queues").unwrap_or_default();
    let max = batch_size(call.get::<i32>(2).unwrap_or(1));
    let capabilities = call.texts(4, "capabilities").unwrap_or_default();
    for (name, list) in [("queues", &queues), ("capabilities", &capabilities)] {
        if list.is_empty() {
            invalid(
                format!("{name} is null or empty"),
                format!("Name at least one, or leave {name} out for the default."),
            );
        }
    }
    let deadline = super::end_of(call.datum(3), "lease", 30_000_000);
    let results = call.result_set();
    let known = registry();
    for queue in &queues {
        if !known.queues.contains_key(queue) {
            crate::error::not_found(
                format!("queue \"{queue}\" does not exist"),
                "Register a kind in it, or see the view forge.queues.",
            );
        }
    }
    let channels = known
        .channels
        .values()
        .filter(|c| queues.contains(&c.queue.name) && capabilities.contains(&c.kind.capability))
        .cloned()
        .collect();
    let claimed = collect(channels, max);
    if claimed.members.len() < max {
        // Where no node promotes due work, pullers do; it is claimable when this transaction has committed.
        deferred::promote_due(max as i64);
    }
    if claimed.members.is_empty() {
        settle(&claimed);
        return None;
    }
    let id = crate::job::new_id();
    lease::record(&id, None, Some(&worker), Some(deadline), &claimed.members);
    settle(&claimed);
    for entry in &claimed.entries {
        let kind = known
            .channel_of(entry.lane)
            .map(|c| c.kind.name.clone())
            .unwrap_or_default();
        results.push(&[
            Some(uuid_datum(&entry.body.id)),
            Some(text_datum(&kind)),
            Some(entry.body.args),
            Some(Datum::from(i32::from(entry.body.attempt))),
            Some(uuid_datum(&id)),
            Some(Datum::from(deadline)),
            entry.body.traceparent,
        ]);
    }
    None
}

/// `forge_private.worker_claim(node, kinds, max_jobs, queues, lease)`.
pub fn worker_claim(call: &Call) -> Value {
    let node = call.need_uuid(0, "node");
    let kinds = call.texts(1, "kinds").unwrap_or_default();
    let max = batch_size(call.get::<i32>(2).unwrap_or(1));
    let queues = call.texts(3, "queues");
    let id = call.uuid(4).unwrap_or_else(crate::job::new_id);
    let results = call.result_set();
    lock_node(&node);
    crate::worker::ensure();
    let known = registry();
    let channels = known
        .channels
        .values()
        .filter(|c| {
            kinds.contains(&c.kind.name)
                && queues.as_ref().is_none_or(|q| q.contains(&c.queue.name))
        })
        .cloned()
        .collect();
    let claimed = collect(channels, max);
    if !claimed.members.is_empty() {
        lease::record(&id, Some(&node), None, None, &claimed.members);
    }
    settle(&claimed);
    for (position, entry) in claimed.entries.iter().enumerate() {
        let Some(channel) = known.channel_of(entry.lane) else {
            continue;
        };
        results.push(&[
            Some(uuid_datum(&id)),
            Some(Datum::from(position as i32)),
            Some(uuid_datum(&entry.body.id)),
            Some(text_datum(&channel.kind.name)),
            Some(text_datum(&channel.queue.name)),
            Some(entry.body.args),
            Some(Datum::from(i32::from(entry.body.attempt))),
            Some(Datum::from(i32::from(entry.body.max_attempts))),
            entry.body.traceparent,
            Some(Datum::from(entry.body.enqueued_at)),
        ]);
    }
    None
}

fn batch_size(max: i32) -> usize {
    if max < 1 || max as usize > MAX_BATCH {
        invalid(
            format!("max_jobs {max} is out of range"),
            format!("Ask for 1 to {MAX_BATCH} jobs."),
        );
    }
    max as usize
}

/// Keeps the node from being declared dead while this transaction claims for it; ZF010 when it already is.
fn lock_node(node: &Uuid) {
    let key = node.as_u128();
    lock::acquire_shared(Class::Node, (key >> 64) as u64 ^ key as u64);
    let snapshot = Snapshot::latest();
    let by_id = [Key {
        column: 1,
        operator: Operator::UuidEq,
        value: uuid_datum(node),
    }];
    let mut alive = false;
    if let Some(table) = oid("node").and_then(Table::read) {
        table.scan(1, &by_id, &snapshot, |row| {
            let state = row[NODE_STATE]
                .and_then(|d| unsafe { <String as pgrx::FromDatum>::from_datum(d, false) });
            alive = state.is_some_and(|s| s != "dead");
            false
        });
    }
    if !alive {
        fail(
            "ZF010",
            format!("node {node} is not registered, or was declared dead"),
            "Register again under a new id; the jobs it had are running elsewhere.",
        );
    }
}

/// Column of `forge_private.node` (from 0) that holds its state.
const NODE_STATE: usize = 7;

fn collect(channels: Vec<Channel>, max: usize) -> Claimed {
    restore::ensure_ours();
    gate::begin_claim();
    let mut claimed = Claimed {
        entries: Vec::new(),
        members: Vec::new(),
        parked: Vec::new(),
        passed_over: Vec::new(),
        last_gate: None,
    };
    let mut lanes = lanes(channels);
    if lanes.is_empty() {
        return claimed;
    }
    let turn = TURN.get();
    TURN.set(turn.wrapping_add(1));
    let share = if max >= AGING_SHARE {
        max / AGING_SHARE
    } else {
        usize::from(turn % AGING_SHARE == AGING_SHARE - 1)
    };
    if share > 0
        && let Some(oldest) = overdue(&lanes)
    {
        take(&lanes[oldest], share, &mut claimed, true);
    }
    // Lanes of the same priority take turns to be first.
    let count = lanes.len();
    lanes.rotate_left(turn % count);
    lanes.sort_by_key(|l| l.priority);
    for lane in &lanes {
        let want = max - claimed.members.len();
        if want == 0 {
            break;
        }
        take(lane, want, &mut claimed, shmem::present());
    }
    if claimed.members.is_empty() && claimed.parked.is_empty() && !shmem::present() {
        // Others held the locks of busy lanes: wait for one of them, holding no other.
        let busy = std::mem::take(&mut claimed.passed_over);
        if let Some(lane) = lanes
            .iter()
            .find(|l| busy.contains(&l.channel.lane(l.priority)))
        {
            take(lane, max, &mut claimed, true);
        }
    }
    claimed
}

struct Candidate {
    channel: Channel,
    priority: i32,
    waiting_since: i64,
}

/// The lanes of these channels that may have something.
fn lanes(channels: Vec<Channel>) -> Vec<Candidate> {
    let at = now();
    let open = channels.into_iter().filter(|c| !c.queue.paused);
    let all = open.flat_map(|c| (0..5).map(move |priority| (c.clone(), priority)));
    all.filter_map(|(channel, priority)| {
        let hint = shmem::with(|shared| shared.hint(channel.lane(priority), at));
        let waiting_since = hint.map_or(0, |h| h.waiting_since);
        let empty = hint.is_some_and(|h| h.empty);
        (!empty).then_some(Candidate {
            channel,
            priority,
            waiting_since,
        })
    })
    .collect()
}

/// The lane that has waited longest beyond its patience, if a more urgent one is there to be overtaken.
fn overdue(lanes: &[Candidate]) -> Option<usize> {
    let at = now();
    let most_urgent = lanes.iter().map(|l| l.priority).min()?;
    (0..lanes.len())
        .filter(|i| lanes[*i].priority > most_urgent)
        .filter(|i| !shmem::present() || lanes[*i].waiting_since > 0)
        .filter(|i| {
            at - lanes[*i].waiting_since > PATIENCE_US * i64::from(lanes[*i].priority - most_urgent)
        })
        .min_by_key(|i| lanes[*i].waiting_since)
}

/// How many entries one claim may park at closed gates of a lane before it goes on elsewhere.
const MAX_PARKED: usize = 1000;

/// Takes up to `want` entries of a lane for handing out, within its gates and rates.
fn take(candidate: &Candidate, want: usize, claimed: &mut Claimed, wait: bool) {
    let channel = &candidate.channel;
    let kind = &channel.kind;
    let lane = channel.lane(candidate.priority);
    // Where keys decide, each entry passes a gate of its own; otherwise those without a key pass the kind's together.
    let whole = kind
        .max_concurrency
        .filter(|_| kind.concurrency_by.is_none());
    let whole = whole.map(|limit| (gate::key(kind.id, ""), limit));
    let mut places = want as u32;
    if let Some((key, limit)) = whole {
        places = gate::enter(key, limit, places);
    }
    let rates = rates_of(channel);
    let (already, parked) = (claimed.members.len(), claimed.parked.len());
    loop {
        let left = want - (claimed.members.len() - already);
        let asked = draw(&rates, left.min(places as usize) as u32);
        if asked == 0 || claimed.parked.len() - parked > MAX_PARKED {
            put_back(&rates, asked);
            break;
        }
        let Some(entries) = lane::take(lane, asked as usize, wait) else {
            put_back(&rates, asked);
            claimed.passed_over.push(lane);
            break;
        };
        let (found, before) = (entries.len() as u32, claimed.members.len());
        for entry in entries {
            let keyed = entry.body.gate_key.is_some() || kind.concurrency_by.is_some();
            places -= u32::from(!keyed && whole.is_some());
            hand_out(entry, keyed, kind, whole.map_or(0, |(key, _)| key), claimed);
        }
        put_back(&rates, asked - (claimed.members.len() - before) as u32);
        if found < asked {
            break;
        }
    }
    xact::count(
        lane,
        Count::Running,
        (claimed.members.len() - already) as i64,
    );
    if let Some((key, _)) = whole {
        gate::return_unused(key, places);
    }
}

/// Hands an entry out, or parks it when its own gate is full. Entries without one have passed the gate `whole`.
fn hand_out(entry: Entry, keyed: bool, kind: &Kind, whole: u64, claimed: &mut Claimed) {
    let limit = kind.max_concurrency;
    let key = if keyed {
        claimed.own_gate(&entry, kind)
    } else {
        whole
    };
    if keyed
        && limit.is_some() | entry.body.gate_key.is_some()
        && gate::enter(key, limit.unwrap_or(1), 1) == 0
    {
        claimed.parked.push(entry.member(key));
        deferred::park(&entry, key);
    } else {
        claimed.members.push(entry.member(key));
        claimed.entries.push(entry);
    }
}

/// Draws tokens from all buckets; answers how many all of them give.
fn draw(rates: &[(u64, Rate)], want: u32) -> u32 {
    let mut allowed = want;
    for (i, (bucket, rate)) in rates.iter().enumerate() {
        let got = gate::draw(*bucket, rate, allowed);
        put_back(&rates[..i], allowed - got);
        allowed = got;
    }
    allowed
}

/// Puts tokens back that were not needed.
fn put_back(rates: &[(u64, Rate)], count: u32) {
    for (bucket, rate) in rates {
        gate::put_back(*bucket, rate, count);
    }
}

/// The rate buckets that a channel's jobs draw from.
fn rates_of(channel: &Channel) -> Vec<(u64, Rate)> {
    let mut rates = Vec::new();
    if let Some(rate) = channel.kind.rate {
        let per_queue = rate.scope == Some(Scope::Queue);
        let name = if per_queue {
            format!("kind in {}", channel.queue.name)
        } else {
            "kind".to_owned()
        };
        rates.push((bucket(&format!("{name} {}", channel.kind.name)), rate));
    }
    if let Some(rate) = channel.queue.rate {
        rates.push((bucket(&format!("queue {}", channel.queue.name)), rate));
    }
    rates
}

fn bucket(name: &str) -> u64 {
    gate::key(-1, name)
}

/// Writes down what the claim took but does not hand out.
fn settle(claimed: &Claimed) {
    if !claimed.parked.is_empty() {
        lease::record_closed(&claimed.parked);
        super::finish::record_outcome(&claimed.parked, super::finish::PARKED, None);
        crate::worker::announce();
    }
}

/// `forge_private.preload_state()`: whether the library is preloaded and its background worker runs.
pub fn preload_state(_: &Call) -> Value {
    let pid = shmem::with(shmem::Shared::worker_pid);
    let pid = pid.map(|pid| if crate::worker::is_alive(pid) { pid } else { 0 });
    let worker = pid.map(|p| if p == 0 { "starting" } else { "running" });
    let json = serde_json::json!({
        "preload": pid.is_some(),
        "worker": worker,
        "worker_pid": pid.filter(|p| *p != 0),
    });
    use pgrx::IntoDatum;
    pgrx::JsonB(json).into_datum()
}
