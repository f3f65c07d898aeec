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
            if x == view.own || ranges.iter().any(|r| r.covers(x, s)) {
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
                return;
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
            if !self.ranges.iter().any(|r| r.xid == xid && !r.skip) {
                self.insert(Range {
                    xid,
                    from: 0,
                    to: u64::MAX,
                    skip: false,
                });
            }
        }
    }

    /// Takes one given entry out of turn; false when it has been taken already.
    pub fn take_one(&mut self, xid: u64, seq: u64) -> bool {
        let at = self.ranges.iter().position(|r| r.covers(xid, seq));
        match at {
            Some(i) if self.ranges[i].skip => false,
            Some(i) => {
                let range = self.ranges.remove(i);
                self.insert(Range {
                    to: seq - 1,
                    ..range
                });
                self.insert(Range { from: seq, ..range });
                true
            }
            None if (xid, seq) <= (self.xid, self.seq) => false,
            None => {
                self.insert(Range {
                    xid,
                    from: seq - 1,
                    to: seq,
                    skip: true,
                });
                true
            }
        }
    }

    /// Undoes the taking of one entry.
    pub fn give_back(&mut self, xid: u64, seq: u64) {
        if let Some(i) = self
            .ranges
            .iter()
            .position(|r| r.skip && r.covers(xid, seq))
        {
            let range = self.ranges.remove(i);
            self.insert(Range {
                to: seq - 1,
                ..range
            });
            self.insert(Range { from: seq, ..range });
        }
        if (xid, seq) <= (self.xid, self.seq) && !self.ranges.iter().any(|r| r.covers(xid, seq)) {
            let touching = self.ranges.iter_mut().find(|r| {
                r.xid == xid && !r.skip && (r.to == seq - 1 || (r.from == seq && r.to != u64::MAX))
            });
            match touching {
                Some(range) if range.to == seq - 1 => range.to = seq,
                Some(range) => range.from = seq - 1,
                None => self.insert(Range {
                    xid,
                    from: seq - 1,
                    to: seq,
                    skip: false,
                }),
            }
        }
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
        TakeOne(usize),
        Store,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            Just(Action::Begin),
            (any::<usize>(), 1..4u8).prop_map(|(t, n)| Action::Insert(t, n)),
            any::<usize>().prop_map(Action::Commit),
            any::<usize>().prop_map(Action::Abort),
            (1..6usize).prop_map(Action::Take),
            any::<usize>().prop_map(Action::GiveBack),
            any::<usize>().prop_map(Action::TakeOne),
            Just(Action::Store),
        ]
    }

    fn nth(set: &BTreeSet<u64>, n: usize) -> Option<u64> {
        (!set.is_empty()).then(|| *set.iter().nth(n % set.len()).unwrap())
    }

    fn take(log: &Log, frontier: &mut Frontier, want: usize) -> Vec<(u64, u64)> {
        let open: Vec<u64> = log.open.iter().copied().collect();
        let view = View {
            open: &open,
            own: 0,
            xmax: log.next_xid + 1,
        };
        let mut got = Vec::new();
        frontier.take(&mut { log }, view, want, &mut |x, s, _| got.push((x, s)));
        got
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn every_entry_is_taken_once(actions in proptest::collection::vec(action(), 1..80)) {
            let mut log = Log::default();
            let mut frontier = Frontier::default();
            let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
            let mut seq = 0;
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
                    Action::Take(n) => for entry in take(&log, &mut frontier, n) {
                        prop_assert!(taken.insert(entry), "{entry:?} taken twice");
                    },
                    Action::GiveBack(n) => if !taken.is_empty() {
                        let entry = *taken.iter().nth(n % taken.len()).unwrap();
                        taken.remove(&entry);
                        frontier.give_back(entry.0, entry.1);
                    },
                    Action::TakeOne(n) => {
                        let visible: Vec<_> = log.entries.keys().filter(|k| log.visible(k.0)).copied().collect();
                        if !visible.is_empty() {
                            let entry = visible[n % visible.len()];
                            prop_assert_eq!(frontier.take_one(entry.0, entry.1), taken.insert(entry));
                        }
                    }
                    Action::Store => {
                        let stored = Frontier::decode(frontier.xid, frontier.seq, &frontier.encode());
                        prop_assert_eq!(&stored, &frontier);
                    }
                }
            }
            log.open.clear();
            for entry in take(&log, &mut frontier, usize::MAX) {
                prop_assert!(taken.insert(entry), "{entry:?} taken twice at the end");
            }
            let all: BTreeSet<_> = log.entries.keys().filter(|k| log.visible(k.0)).copied().collect();
            prop_assert_eq!(taken, all);
        }
    }
}
