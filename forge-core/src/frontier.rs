//! The frontier of a lane: how far an append-only log of entries has been handed out.
//!
//! Entries are ordered by (transaction id, sequence number), which is not the order in which they become visible: a
//! transaction may commit after others with higher ids. So the frontier is a position plus the ranges it has passed
//! without taking them: transactions that were open when a scan went by, and entries given back. Invariants:
//! an entry is handed out at most once; every entry that becomes visible is handed out by some later [`Frontier::take`].

/// Entries of one transaction: sequence numbers above `from` up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub xid: u64,
    pub from: u64,
    pub to: u64,
    /// The entries are taken already, ahead of the position; otherwise they are still to be taken.
    pub skip: bool,
}

impl Range {
    /// Whether an entry is in this range.
    pub fn covers(&self, xid: u64, seq: u64) -> bool {
        self.xid == xid && self.from < seq && seq <= self.to
    }
}

/// Every entry up to (`xid`, `seq`) is taken, except those in `ranges` without `skip`; of the entries beyond, those in
/// `ranges` with `skip` are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    pub xid: u64,
    pub seq: u64,
    /// Ascending by (xid, from), not overlapping.
    pub ranges: Vec<Range>,
}

/// What a snapshot knows of transactions.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Transactions of others in progress, ascending.
    pub open: &'a [u64],
    /// The caller's own transaction, 0 when it has no id.
    pub own: u64,
    /// The first transaction id that had not been assigned.
    pub xmax: u64,
}

impl View<'_> {
    /// Whether entries of `xid` may still become takeable.
    pub fn is_open(&self, xid: u64) -> bool {
        xid == self.own || xid >= self.xmax || self.open.binary_search(&xid).is_ok()
    }
}

/// Where a frontier's entries come from: the visible entries of one lane.
pub trait Source {
    type Entry: ?Sized;
    /// Visits entries of `xid` with `from < seq <= to`, ascending, until `visit` answers false.
    fn of_transaction(
        &mut self,
        xid: u64,
        from: u64,
        to: u64,
        visit: &mut dyn FnMut(u64, u64, &Self::Entry) -> bool,
    );
    /// Visits entries above (`xid`, `seq`), ascending, until `visit` answers false.
    fn after(&mut self, xid: u64, seq: u64, visit: &mut dyn FnMut(u64, u64, &Self::Entry) -> bool);
}

/// The outcome of one [`Frontier::take`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Nothing more is visible.
    pub exhausted: bool,
    /// Entries behind the position were taken.
    pub behind: bool,
    /// The lowest entry taken beyond the position.
    pub lowest: Option<(u64, u64)>,
}

impl Frontier {
    /// Takes up to `want` entries, oldest first, and hands each to `keep`.
    pub fn take<S: Source>(
        &mut self,
        source: &mut S,
        view: View<'_>,
        want: usize,
        keep: &mut dyn FnMut(u64, u64, &S::Entry),
    ) -> Taken {
        let mut left = want;
        let mut taken = Taken::default();
        self.revisit(source, view, &mut left, keep, &mut taken);
        if left == 0 {
            return taken;
        }
        let before = self.xid;
        let (mut xid, mut seq) = (self.xid, self.seq);
        let ranges = &self.ranges;
        taken.exhausted = true;
        source.after(xid, seq, &mut |x, s, entry| {
            if x == view.own || covering(ranges, x, s).is_some() {
                return true;
            }
            if left == 0 {
                taken.exhausted = false;
                return false;
            }
            keep(x, s, entry);
            left -= 1;
            taken.lowest.get_or_insert((x, s));
            (xid, seq) = (x, s);
            true
        });
        (self.xid, self.seq) = (xid, seq);
        self.pass_open(view, before);
        self.tidy();
        taken
    }

    /// Takes what has become visible behind the position.
    fn revisit<S: Source>(
        &mut self,
        source: &mut S,
        view: View<'_>,
        left: &mut usize,
        keep: &mut dyn FnMut(u64, u64, &S::Entry),
        taken: &mut Taken,
    ) {
        for range in &mut self.ranges {
            if range.skip || view.is_open(range.xid) {
                continue;
            }
            if *left == 0 {
                // What is finished has to go even so.
                break;
            }
            let mut last = range.from;
            let mut finished = true;
            source.of_transaction(range.xid, range.from, range.to, &mut |x, s, entry| {
                if *left == 0 {
                    finished = false;
                    return false;
                }
                keep(x, s, entry);
                *left -= 1;
                taken.behind = true;
                last = s;
                true
            });
            range.from = if finished { range.to } else { last };
        }
        self.ranges.retain(|r| r.from < r.to);
    }

    /// Remembers the transactions the position has just gone past while they were open.
    fn pass_open(&mut self, view: View<'_>, before: u64) {
        let own = [view.own];
        let now = self.xid;
        let passed = view.open.iter().chain(own.iter().filter(|x| **x != 0));
        for &xid in passed.filter(|x| before < **x && **x < now) {
            self.pass(xid);
        }
    }

    /// Catches up with what is known to have been taken since this frontier was written down: `taken` says so of any
    /// visible entry above the position or in a range, and none above `highest` was. The snapshot of `view` must be newer
    /// than all of that.
    pub fn catch_up<S: Source>(
        &mut self,
        source: &mut S,
        view: View<'_>,
        highest: Option<(u64, u64)>,
        taken: &mut dyn FnMut(u64, u64, &S::Entry) -> bool,
    ) {
        let mut known = Vec::new();
        for range in self.ranges.iter().filter(|r| !r.skip) {
            source.of_transaction(range.xid, range.from, range.to, &mut |x, s, entry| {
                if taken(x, s, entry) {
                    known.push((x, s));
                }
                true
            });
        }
        for (xid, seq) in known {
            self.take_one(xid, seq);
        }
        let before = (self.xid, self.seq);
        let Some(highest) = highest.filter(|h| *h > before) else {
            return;
        };
        let mut holes = Vec::new();
        let ranges = &self.ranges;
        source.after(before.0, before.1, &mut |x, s, entry| {
            let waits = x != view.own && covering(ranges, x, s).is_none() && !taken(x, s, entry);
            if waits && (x, s) < highest {
                holes.push((x, s));
            }
            (x, s) < highest
        });
        (self.xid, self.seq) = highest;
        for (xid, seq) in holes {
            self.give_back(xid, seq);
        }
        self.pass_open(view, before.0);
        self.tidy();
    }

    /// Notes that the position goes past a transaction in progress, whose entries are all still to be taken, but for
    /// those taken out of turn.
    pub fn pass(&mut self, xid: u64) {
        let start = self.ranges.partition_point(|r| r.xid < xid);
        let end = self.ranges.partition_point(|r| r.xid <= xid);
        let known = &self.ranges[start..end];
        if known.iter().any(|r| !r.skip) {
            return;
        }
        let ends = known
            .iter()
            .map(|r| (r.from, r.to))
            .chain([(u64::MAX, u64::MAX)]);
        let mut from = 0;
        let gaps: Vec<Range> = ends
            .filter_map(|(to, next)| {
                let gap = Range {
                    xid,
                    from,
                    to,
                    skip: false,
                };
                from = next;
                (gap.from < gap.to).then_some(gap)
            })
            .collect();
        gaps.into_iter().for_each(|gap| self.insert(gap));
    }

    /// Whether an entry is still to be taken.
    pub fn waits(&self, xid: u64, seq: u64) -> bool {
        match covering(&self.ranges, xid, seq) {
            Some(i) => !self.ranges[i].skip,
            None => (xid, seq) > (self.xid, self.seq),
        }
    }

    /// Takes one given entry out of turn; false when it has been taken already.
    pub fn take_one(&mut self, xid: u64, seq: u64) -> bool {
        if !self.waits(xid, seq) {
            return false;
        }
        match covering(&self.ranges, xid, seq) {
            Some(i) => self.split(i, seq),
            None => self.add(xid, seq, true),
        }
        true
    }

    /// Undoes the taking of one entry.
    pub fn give_back(&mut self, xid: u64, seq: u64) {
        self.forget_skip(xid, seq);
        if (xid, seq) <= (self.xid, self.seq) && covering(&self.ranges, xid, seq).is_none() {
            self.add(xid, seq, false);
        }
    }

    /// An entry that was taken out of turn ahead of the position will never be seen again.
    pub fn forget_skip(&mut self, xid: u64, seq: u64) {
        match covering(&self.ranges, xid, seq) {
            Some(i) if self.ranges[i].skip => self.split(i, seq),
            _ => {}
        }
    }

    /// Takes one entry out of the range that covers it.
    fn split(&mut self, at: usize, seq: u64) {
        let range = self.ranges.remove(at);
        self.insert(Range {
            to: seq - 1,
            ..range
        });
        self.insert(Range { from: seq, ..range });
    }

    /// Adds one entry that no range covers: to its neighbours, or as a range of its own.
    fn add(&mut self, xid: u64, seq: u64, skip: bool) {
        let at = self
            .ranges
            .partition_point(|r| (r.xid, r.from) < (xid, seq));
        let alike = |r: &&mut Range| r.xid == xid && r.skip == skip;
        let before = at.checked_sub(1).and_then(|i| self.ranges.get_mut(i));
        if let Some(range) = before.filter(alike).filter(|r| r.to == seq - 1) {
            range.to = seq;
            return;
        }
        if let Some(range) = self
            .ranges
            .get_mut(at)
            .filter(alike)
            .filter(|r| r.from == seq)
        {
            range.from = seq - 1;
            return;
        }
        self.insert(Range {
            xid,
            from: seq - 1,
            to: seq,
            skip,
        });
    }

    fn insert(&mut self, range: Range) {
        if range.from < range.to {
            let at = self
                .ranges
                .partition_point(|r| (r.xid, r.from) < (range.xid, range.from));
            self.ranges.insert(at, range);
        }
    }

    /// Forgets skips that the position has passed.
    fn tidy(&mut self) {
        let (xid, seq) = (self.xid, self.seq);
        self.ranges
            .retain(|r| !r.skip || (r.xid, r.to) > (xid, seq));
    }

    /// This frontier as it was before anything at or above `floor` was taken in turn. What was taken out of turn there
    /// is left out: it is to be known otherwise.
    pub fn below(mut self, floor: (u64, u64)) -> Self {
        if floor < (self.xid, self.seq) {
            (self.xid, self.seq) = floor;
        }
        self.ranges
            .retain(|r| !r.skip && (r.xid, r.from) < (self.xid, self.seq));
        self
    }

    /// The ranges as bytes, to be stored beside the position.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.ranges.len() * 25);
        for range in &self.ranges {
            for number in [range.xid, range.from, range.to] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.push(u8::from(range.skip));
        }
        out
    }

    /// What [`Self::encode`] wrote, at its position; a truncated tail is left out.
    pub fn decode(xid: u64, seq: u64, bytes: &[u8]) -> Self {
        let number = |b: &[u8]| b.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let ranges = bytes
            .chunks_exact(25)
            .map(|c| Range {
                xid: number(&c[..8]),
                from: number(&c[8..16]),
                to: number(&c[16..24]),
                skip: c[24] != 0,
            })
            .collect();
        Self { xid, seq, ranges }
    }
}

/// Index of the range that covers an entry.
fn covering(ranges: &[Range], xid: u64, seq: u64) -> Option<usize> {
    let after = ranges.partition_point(|r| (r.xid, r.from) < (xid, seq));
    let at = after.checked_sub(1)?;
    ranges[at].covers(xid, seq).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A log with transactions in progress, as a snapshot sees it.
    #[derive(Default)]
    struct Log {
        entries: BTreeMap<(u64, u64), ()>,
        open: BTreeSet<u64>,
        aborted: BTreeSet<u64>,
        next_xid: u64,
    }

    impl Log {
        fn visible(&self, xid: u64) -> bool {
            !self.open.contains(&xid) && !self.aborted.contains(&xid)
        }
    }

    impl Source for &Log {
        type Entry = ();
        fn of_transaction(
            &mut self,
            xid: u64,
            from: u64,
            to: u64,
            visit: &mut dyn FnMut(u64, u64, &()) -> bool,
        ) {
            for (x, s) in self
                .entries
                .keys()
                .filter(|k| k.0 == xid && from < k.1 && k.1 <= to)
            {
                if self.visible(*x) && !visit(*x, *s, &()) {
                    return;
                }
            }
        }
        fn after(&mut self, xid: u64, seq: u64, visit: &mut dyn FnMut(u64, u64, &()) -> bool) {
            for (x, s) in self.entries.range((xid, seq + 1)..).map(|e| e.0) {
                if self.visible(*x) && !visit(*x, *s, &()) {
                    return;
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Action {
        Begin,
        Insert(usize, u8),
        Commit(usize),
        Abort(usize),
        Take(usize),
        GiveBack(usize),
        Settle,
        TakeOne(usize),
        Cancel(usize),
        Store,
        Checkpoint,
        Crash,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            Just(Action::Begin),
            (any::<usize>(), 1..4u8).prop_map(|(t, n)| Action::Insert(t, n)),
            any::<usize>().prop_map(Action::Commit),
            any::<usize>().prop_map(Action::Abort),
            (1..6usize).prop_map(Action::Take),
            any::<usize>().prop_map(Action::GiveBack),
            Just(Action::Settle),
            any::<usize>().prop_map(Action::TakeOne),
            any::<usize>().prop_map(Action::Cancel),
            Just(Action::Store),
            Just(Action::Checkpoint),
            Just(Action::Crash),
        ]
    }

    fn nth(set: &BTreeSet<u64>, n: usize) -> Option<u64> {
        (!set.is_empty()).then(|| *set.iter().nth(n % set.len()).unwrap())
    }

    fn take(log: &Log, frontier: &mut Frontier, want: usize) -> (Vec<(u64, u64)>, Taken) {
        let open: Vec<u64> = log.open.iter().copied().collect();
        let view = View {
            open: &open,
            own: 0,
            xmax: log.next_xid + 1,
        };
        let mut got = Vec::new();
        let outcome = frontier.take(&mut { log }, view, want, &mut |x, s, _| got.push((x, s)));
        (got, outcome)
    }

    #[test]
    fn a_finished_range_goes_even_when_no_more_is_wanted() {
        let mut log = Log::default();
        log.entries
            .extend([((1, 1), ()), ((2, 2), ()), ((3, 3), ())]);
        log.open.extend([1, 2]);
        log.next_xid = 3;
        let mut frontier = Frontier::default();
        assert_eq!(take(&log, &mut frontier, 1).0, [(3, 3)]);
        log.open.clear();
        assert_eq!(take(&log, &mut frontier, 1).0, [(1, 1)]);
        assert!(frontier.ranges.iter().all(|r| r.xid == 2), "{frontier:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn every_entry_is_taken_once(actions in proptest::collection::vec(action(), 1..80)) {
            let mut log = Log::default();
            let mut frontier = Frontier::default();
            let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
            let mut seq = 0;
            let mut stored = Frontier::default();
            // Taken by claims that have not committed, and whether any reached behind the position.
            let mut flight: BTreeSet<(u64, u64)> = BTreeSet::new();
            let mut behind = false;
            for action in actions {
                match action {
                    Action::Begin => { log.next_xid += 1; log.open.insert(log.next_xid); }
                    Action::Insert(t, n) => if let Some(xid) = nth(&log.open, t) {
                        for _ in 0..n { seq += 1; log.entries.insert((xid, seq), ()); }
                    },
                    Action::Commit(t) => if let Some(xid) = nth(&log.open, t) { log.open.remove(&xid); },
                    Action::Abort(t) => if let Some(xid) = nth(&log.open, t) {
                        log.open.remove(&xid);
                        log.aborted.insert(xid);
                    },
                    Action::Take(n) => {
                        let (entries, outcome) = take(&log, &mut frontier, n);
                        behind |= outcome.behind;
                        for entry in entries {
                            prop_assert!(taken.insert(entry), "{entry:?} taken twice");
                            flight.insert(entry);
                        }
                    }
                    Action::GiveBack(n) => if let Some(entry) = flight.iter().nth(n % flight.len().max(1)).copied() {
                        flight.remove(&entry);
                        taken.remove(&entry);
                        frontier.give_back(entry.0, entry.1);
                    },
                    Action::Settle => {
                        flight.clear();
                        behind = false;
                    }
                    Action::TakeOne(n) => {
                        let visible: Vec<_> = log.entries.keys().filter(|k| log.visible(k.0)).copied().collect();
                        if !visible.is_empty() {
                            let entry = visible[n % visible.len()];
                            let got = frontier.take_one(entry.0, entry.1);
                            prop_assert_eq!(got, taken.insert(entry));
                            if got {
                                flight.insert(entry);
                                behind = true;
                            }
                        }
                    }
                    Action::Cancel(n) => {
                        let visible: Vec<_> = log.entries.keys().filter(|k| log.visible(k.0)).copied().collect();
                        if !visible.is_empty() {
                            let (xid, seq) = visible[n % visible.len()];
                            prop_assert_eq!(frontier.waits(xid, seq), !taken.contains(&(xid, seq)));
                            if frontier.take_one(xid, seq) {
                                log.entries.remove(&(xid, seq));
                                frontier.forget_skip(xid, seq);
                            }
                        }
                    }
                    Action::Store => {
                        let stored = Frontier::decode(frontier.xid, frontier.seq, &frontier.encode());
                        prop_assert_eq!(&stored, &frontier);
                    }
                    Action::Checkpoint => if !behind {
                        let floor = flight.first().map_or((frontier.xid, frontier.seq), |l| (l.0, l.1 - 1));
                        stored = frontier.clone().below(floor);
                    },
                    Action::Crash => {
                        taken.retain(|entry| !flight.contains(entry));
                        flight.clear();
                        behind = false;
                        let open: Vec<u64> = log.open.iter().copied().collect();
                        let view = View { open: &open, own: 0, xmax: log.next_xid + 1 };
                        frontier = stored.clone();
                        let highest = taken.iter().max().copied();
                        frontier.catch_up(&mut &log, view, highest, &mut |x, s, _| taken.contains(&(x, s)));
                    }
                }
                let ordered = frontier.ranges.windows(2).all(|w| (w[0].xid, w[0].to) <= (w[1].xid, w[1].from));
                prop_assert!(ordered, "{:?}", frontier.ranges);
            }
            log.open.clear();
            for entry in take(&log, &mut frontier, usize::MAX).0 {
                prop_assert!(taken.insert(entry), "{entry:?} taken twice at the end");
            }
            let all: BTreeSet<_> = log.entries.keys().filter(|k| log.visible(k.0)).copied().collect();
            prop_assert_eq!(taken, all);
        }
    }
}
