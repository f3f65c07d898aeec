//! Frontiers of lanes and claims in flight.
//!
//! A lane's frontier is changed by whoever holds the lane's lock: [`Shared::load`], scan, [`Shared::save`]. Transactions
//! that end give entries back at any moment without that lock: those wait in a list of their own, which the next load
//! merges and its save takes off. When memory for ranges runs out, a lane becomes unknown and is rebuilt from tables as
//! soon as no claim of it is in flight; one that does not fit even then works without shared memory.

use super::{IN_FLIGHT, InFlight, LANES, Lane, Node, RANGES, RawRange, Shared, database, spread};
use forge_core::frontier::{Frontier, Range};

/// States of a lane's slot.
const UNUSED: u32 = 0;
pub(super) const UNKNOWN: u32 = 1;
const KNOWN: u32 = 2;
const SPILLED: u32 = 3;

/// What a claim needs to know of a lane before it scans.
#[derive(Clone, Copy, Debug)]
pub struct LaneHint {
    /// Nothing can be there: the last scan found it empty and no commit has added to it since.
    pub empty: bool,
    /// When its oldest waiting entry came, microseconds since 2000; 0 when unknown.
    pub waiting_since: i64,
}

/// Which state of a lane a frontier was loaded from.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    epoch: u32,
    returned: u32,
}

/// A lane's state as [`Shared::load`] gives it.
pub enum Loaded {
    /// No room for this lane: work without shared memory.
    Full,
    /// To be rebuilt from the tables, then [`Shared::install`]ed.
    Unknown(Ticket),
    /// `enqueued` and the ticket are to be handed back to [`Shared::save`].
    Known {
        frontier: Frontier,
        enqueued: u64,
        checkpoint_at: i64,
        ticket: Ticket,
    },
}

/// What a scan found out about what waits in its lane.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The counter that [`Shared::load`] gave, when the scan then found nothing more.
    pub exhausted: Option<u64>,
    /// When the last entry taken came, if more may follow.
    pub waiting_since: i64,
    /// The time of the scan.
    pub at: i64,
}

/// An uncommitted claim of this backend.
pub type Place = usize;

impl Shared {
    pub(super) fn lane_index(&mut self, lane: i32) -> Option<usize> {
        let database = database();
        let start = spread(database, lane as u64);
        for i in 0..LANES {
            let at = (start + i) % LANES;
            let slot = &mut self.lanes[at];
            if slot.state == UNUSED {
                *slot = Lane::new(database, lane);
                return Some(at);
            }
            if slot.database == database && slot.lane == lane {
                return Some(at);
            }
        }
        None
    }

    /// A quick look before scanning. A lane is looked at again a second after it was seen empty, whatever the
    /// counters say: prepared transactions commit without a callback of ours.
    pub fn hint(&mut self, lane: i32, now: i64) -> LaneHint {
        let slot = self.lane_index(lane).map(|i| &self.lanes[i]);
        let empty = slot.is_some_and(|slot| {
            slot.state == KNOWN
                && slot.seen == slot.enqueued
                && (0..1_000_000).contains(&(now - slot.seen_at))
        });
        LaneHint {
            empty,
            waiting_since: slot.filter(|_| !empty).map_or(0, |slot| slot.waiting_since),
        }
    }

    /// A lane's frontier. The caller's snapshot is to be taken after this, so that what it does not see is counted as
    /// enqueued later.
    pub fn load(&mut self, lane: i32) -> Loaded {
        let Some(i) = self.lane_index(lane) else {
            return Loaded::Full;
        };
        let slot = self.lanes[i];
        let ticket = Ticket {
            epoch: slot.epoch,
            returned: slot.returned_count,
        };
        match slot.state {
            KNOWN => {}
            SPILLED => return Loaded::Full,
            _ => return Loaded::Unknown(ticket),
        }
        let mut frontier = Frontier {
            xid: slot.xid,
            seq: slot.seq,
            ranges: self.list(slot.first_range).collect(),
        };
        for returned in self.list(slot.first_returned) {
            for seq in returned.from + 1..=returned.to {
                if returned.skip {
                    frontier.forget_skip(returned.xid, seq);
                } else {
                    frontier.give_back(returned.xid, seq);
                }
            }
        }
        Loaded::Known {
            frontier,
            enqueued: slot.enqueued,
            checkpoint_at: slot.checkpoint_at,
            ticket,
        }
    }

    fn list(&self, first: u32) -> impl Iterator<Item = Range> + '_ {
        let mut at = first;
        std::iter::from_fn(move || {
            let node = self.nodes.get((at as usize).checked_sub(1)?)?;
            at = node.next;
            Some(Range {
                xid: node.range.xid,
                from: node.range.from,
                to: node.range.to,
                skip: node.range.skip != 0,
            })
        })
    }

    /// Makes a rebuilt frontier the lane's. One with more ranges than there is room for is left out, and the lane with it.
    pub fn install(&mut self, lane: i32, ticket: Ticket, frontier: &Frontier) {
        let Some(i) = self.lane_index(lane) else {
            return;
        };
        if self.lanes[i].state != UNKNOWN || self.lanes[i].epoch != ticket.epoch {
            return;
        }
        if frontier.ranges.len() * 2 > self.room() {
            self.lanes[i].state = SPILLED;
            return;
        }
        self.lanes[i].state = KNOWN;
        self.write(i, frontier);
    }

    /// Stores a lane's frontier, loaded with `ticket` and changed since, and what a scan saw. Answers whether it is the
    /// whole truth: false when something was given back meanwhile that it does not know of.
    pub fn save(
        &mut self,
        lane: i32,
        ticket: Ticket,
        frontier: &Frontier,
        seen: Option<Seen>,
    ) -> bool {
        let Some(i) = self.lane_index(lane) else {
            return false;
        };
        if self.lanes[i].state != KNOWN || self.lanes[i].epoch != ticket.epoch {
            // It became unknown meanwhile, and will be rebuilt when the caller's claim has ended.
            return false;
        }
        self.forget_returned(i, ticket.returned);
        self.free_list(self.lanes[i].first_range);
        self.lanes[i].first_range = 0;
        let whole = self.lanes[i].first_returned == 0;
        if frontier.ranges.len() > self.room() {
            self.make_unknown(i);
            return whole;
        }
        self.write(i, frontier);
        let slot = &mut self.lanes[i];
        match seen {
            Some(Seen {
                exhausted: Some(counter),
                at,
                ..
            }) => {
                slot.seen = counter;
                slot.seen_at = at;
                slot.waiting_since = 0;
            }
            Some(seen) => {
                slot.seen = 0;
                slot.waiting_since = seen.waiting_since;
            }
            None => {}
        }
        whole
    }

    fn write(&mut self, i: usize, frontier: &Frontier) {
        let mut first = 0;
        for range in frontier.ranges.iter().rev() {
            // There is room: the callers have looked.
            first = self.push(range, first).unwrap_or(first);
        }
        let slot = &mut self.lanes[i];
        slot.first_range = first;
        slot.xid = frontier.xid;
        slot.seq = frontier.seq;
    }

    /// Forgets all that is known of a lane.
    pub(super) fn forget_lane(&mut self, i: usize) {
        self.make_unknown(i);
        let slot = self.lanes[i];
        let fresh = Lane::new(slot.database, slot.lane);
        self.lanes[i] = Lane {
            epoch: slot.epoch,
            enqueued: slot.enqueued + 1,
            ..fresh
        };
    }

    fn make_unknown(&mut self, i: usize) {
        let slot = self.lanes[i];
        self.free_list(slot.first_range);
        self.free_list(slot.first_returned);
        let slot = &mut self.lanes[i];
        slot.first_range = 0;
        slot.first_returned = 0;
        slot.returned_count = 0;
        slot.state = UNKNOWN;
        slot.epoch = slot.epoch.wrapping_add(1);
        slot.checkpoint_at = 0;
    }

    /// Takes the oldest `count` off the list of what was returned.
    fn forget_returned(&mut self, i: usize, count: u32) {
        let slot = self.lanes[i];
        let newer = slot.returned_count.saturating_sub(count);
        let mut last = 0;
        let mut at = slot.first_returned;
        for _ in 0..newer {
            last = at;
            at = self.nodes[at as usize - 1].next;
        }
        if last == 0 {
            self.lanes[i].first_returned = 0;
        } else {
            self.nodes[last as usize - 1].next = 0;
        }
        self.lanes[i].returned_count = newer;
        self.free_list(at);
    }

    /// How many more ranges there is memory for.
    pub fn room(&self) -> usize {
        RANGES - self.used_nodes as usize
    }

    fn push(&mut self, range: &Range, next: u32) -> Option<u32> {
        let at = if self.free_node != 0 {
            let node = self.free_node;
            self.free_node = self.nodes[node as usize - 1].next;
            node
        } else if (self.fresh_nodes as usize) < RANGES {
            self.fresh_nodes += 1;
            self.fresh_nodes
        } else {
            return None;
        };
        self.used_nodes += 1;
        let range = RawRange {
            xid: range.xid,
            from: range.from,
            to: range.to,
            skip: u32::from(range.skip),
        };
        self.nodes[at as usize - 1] = Node { range, next };
        Some(at)
    }

    fn free_list(&mut self, first: u32) {
        let mut at = first;
        while at != 0 {
            let next = self.nodes[at as usize - 1].next;
            self.nodes[at as usize - 1].next = self.free_node;
            self.free_node = at;
            self.used_nodes -= 1;
            at = next;
        }
    }

    /// Gives rows back to a lane after the transaction that took them aborted.
    pub fn give_back(&mut self, lane: i32, rows: &[(u64, u64)], now: i64) {
        self.note_returned(lane, rows, false);
        if let Some(i) = self.lane_index(lane) {
            let slot = &mut self.lanes[i];
            slot.enqueued += 1;
            if slot.waiting_since == 0 {
                slot.waiting_since = now;
            }
        }
    }

    /// Rows taken out of turn, ahead of the frontier, are gone for good.
    pub fn forget_skips(&mut self, lane: i32, rows: &[(u64, u64)]) {
        self.note_returned(lane, rows, true);
    }

    fn note_returned(&mut self, lane: i32, rows: &[(u64, u64)], skip: bool) {
        let Some(i) = self.lane_index(lane) else {
            return;
        };
        for run in rows.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1) {
            if self.lanes[i].state != KNOWN {
                return;
            }
            let range = Range {
                xid: run[0].0,
                from: run[0].1 - 1,
                to: run[run.len() - 1].1,
                skip,
            };
            match self.push(&range, self.lanes[i].first_returned) {
                Some(node) => {
                    self.lanes[i].first_returned = node;
                    self.lanes[i].returned_count += 1;
                }
                // What was skipped ahead is forgotten when the frontier passes it.
                None if skip => return,
                None => self.make_unknown(i),
            }
        }
    }

    /// A commit added entries to the lane.
    pub fn enqueued(&mut self, lane: i32, now: i64) {
        if let Some(i) = self.lane_index(lane) {
            let slot = &mut self.lanes[i];
            if slot.waiting_since == 0 {
                slot.waiting_since = now;
            }
            slot.enqueued += 1;
        }
    }

    /// Notes when a checkpoint of the lane was written; 0 that it was not, after all.
    pub fn checkpointed(&mut self, lane: i32, at: i64) {
        if let Some(i) = self.lane_index(lane) {
            self.lanes[i].checkpoint_at = at;
        }
    }

    /// Registers rows that an uncommitted claim took, under the place its transaction has for the lane already or a
    /// new one; `None` when all places are used. `behind` says that rows behind the frontier are among them.
    pub fn begin_claim(
        &mut self,
        known: Option<Place>,
        lane: i32,
        lowest: Option<(u64, u64)>,
        behind: bool,
        at: i64,
    ) -> Option<Place> {
        let i = match known {
            Some(place) => place,
            None => {
                let free = self.in_flight.iter().position(|c| c.used == 0)?;
                self.in_flight[free] = InFlight {
                    used: 1,
                    database: database(),
                    lane,
                    behind: 0,
                    xid: u64::MAX,
                    seq: u64::MAX,
                    at,
                };
                free
            }
        };
        let claim = &mut self.in_flight[i];
        claim.behind |= u32::from(behind);
        if let Some(lowest) = lowest.filter(|l| *l < (claim.xid, claim.seq)) {
            (claim.xid, claim.seq) = lowest;
        }
        Some(i)
    }

    fn claims(&self, lane: i32) -> impl Iterator<Item = &InFlight> {
        let database = database();
        debug_assert_eq!(self.in_flight.len(), IN_FLIGHT);
        self.in_flight
            .iter()
            .filter(move |c| c.used != 0 && c.database == database && c.lane == lane)
    }

    /// Whether a lane has uncommitted claims.
    pub fn has_claims(&self, lane: i32) -> bool {
        self.claims(lane).next().is_some()
    }

    /// The claim committed or aborted.
    pub fn end_claim(&mut self, place: Place) {
        self.in_flight[place].used = 0;
    }

    /// The position below which every claim of the lane has committed and the time since which claims may reach above
    /// it; `None` while that cannot be said.
    pub fn committed_floor(
        &self,
        lane: i32,
        frontier: &Frontier,
        now: i64,
    ) -> Option<(u64, u64, i64)> {
        let (mut xid, mut seq, mut since) = (frontier.xid, frontier.seq, now);
        for claim in self.claims(lane) {
            if claim.behind != 0 {
                return None;
            }
            // The row just below the claim's lowest.
            if (claim.xid, claim.seq) <= (xid, seq) {
                (xid, seq) = (claim.xid, claim.seq - 1);
            }
            since = since.min(claim.at);
        }
        Some((xid, seq, since))
    }
}
