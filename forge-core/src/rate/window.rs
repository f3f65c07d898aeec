//! What a rate has let through lately: a sliding window of the last period, kept as counts by slice.
//!
//! The period is cut into [`SLICES`] slices on a fixed grid. A slice keeps how many were granted in it and when the
//! last of them was, and counts as a whole until that instant is a period old: too long for the first of its grants
//! (by at most a slice, a 32nd of the period), never too short.
//!
//! Invariants, whatever is asked when: no interval of one period holds more than `limit` grants that were not put
//! back; a window that granted nothing for a period grants `limit` at once; nobody is told to wait longer than a
//! period. A clock that steps back makes grants of the future grants of now. Integers only, so that every process gives
//! the same answer.
//!
//! The crate governor is not used: its state is private to a process, and it spends a burst on top of the rate, while a
//! limit here is one fixed-size value in the database's shared memory that all backends read and write.

use super::Rate;

/// Slices of a period.
pub const SLICES: i64 = 32;

/// One period overlaps at most this many slices of the grid.
const SLOTS: usize = SLICES as usize + 1;

/// Bytes of one slice in [`Window::to_bytes`]: its last instant and its count.
const SLICE_BYTES: usize = 12;

/// The grants of the last period. All zeroes is the empty window.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The period whose grid the slices lie on, microseconds; 0 before the first grant.
    period_us: i64,
    /// When each slice granted last. Slice `n` of the grid is in slot `n` modulo the number of slots.
    last_us: [i64; SLOTS],
    count: [u32; SLOTS],
}

impl Window {
    /// Nothing granted.
    pub const EMPTY: Self = Self {
        period_us: 0,
        last_us: [0; SLOTS],
        count: [0; SLOTS],
    };

    /// Grants up to `want` at `now_us` (microseconds of any epoch); answers how many.
    pub fn draw(&mut self, rate: &Rate, now_us: i64, want: u32) -> u32 {
        self.align(rate.period_us(), now_us);
        let granted = want.min(self.free(rate, now_us));
        if granted > 0 {
            let slot = self.slot_of(now_us);
            if self.slice_of(self.last_us[slot]) != self.slice_of(now_us) {
                // What another slice left here is more than a period old.
                self.count[slot] = 0;
            }
            self.last_us[slot] = now_us;
            self.count[slot] = self.count[slot].saturating_add(granted);
        }
        granted
    }

    /// Takes back `count` of what was drawn at `drawn_us` and not used.
    pub fn put_back(&mut self, drawn_us: i64, count: u32) {
        if self.period_us == 0 {
            return;
        }
        let slot = self.slot_of(drawn_us);
        if self.slice_of(self.last_us[slot]) == self.slice_of(drawn_us) {
            self.count[slot] = self.count[slot].saturating_sub(count);
        }
    }

    /// In how many microseconds at least one can be granted; 0 when one can be now.
    pub fn retry_after_us(&self, rate: &Rate, now_us: i64) -> i64 {
        let mut aligned = *self;
        aligned.align(rate.period_us(), now_us);
        let mut slices = [(i64::MAX, 0); SLOTS];
        for (sorted, live) in slices.iter_mut().zip(aligned.live(now_us)) {
            *sorted = live;
        }
        slices.sort_unstable();
        // After a limit was lowered more than one slice may have to go.
        let mut held: u64 = slices.iter().map(|(_, count)| u64::from(*count)).sum();
        let mut free_at = now_us;
        for (last, count) in slices {
            if held < u64::from(rate.limit) {
                break;
            }
            held -= u64::from(count);
            free_at = last.saturating_add(aligned.period_us);
        }
        free_at.saturating_sub(now_us)
    }

    /// Whether nothing of it matters any more at `now_us`.
    pub fn is_idle(&self, now_us: i64) -> bool {
        self.live(now_us).next().is_none()
    }

    /// When the last of it stops mattering; `None` when nothing was granted.
    pub fn expires_us(&self) -> Option<i64> {
        let used = (0..SLOTS).filter(|slot| self.count[*slot] > 0);
        let last = used.map(|slot| self.last_us[slot]).max()?;
        Some(last.saturating_add(self.period_us))
    }

    /// The window as bytes, without its empty slices.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.period_us.to_le_bytes().to_vec();
        for slot in (0..SLOTS).filter(|slot| self.count[*slot] > 0) {
            bytes.extend(self.last_us[slot].to_le_bytes());
            bytes.extend(self.count[slot].to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Window::to_bytes`] wrote; `None` when it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (period, slices) = bytes.split_first_chunk::<8>()?;
        let mut window = Self {
            period_us: i64::from_le_bytes(*period),
            ..Self::EMPTY
        };
        let (slices, rest) = slices.as_chunks::<SLICE_BYTES>();
        if window.period_us < 0 || !rest.is_empty() || slices.len() > SLOTS {
            return None;
        }
        if window.period_us == 0 {
            return slices.is_empty().then_some(window);
        }
        for slice in slices {
            let (last, count) = slice.split_first_chunk::<8>()?;
            let count = u32::from_le_bytes(count.try_into().ok()?);
            window.add(i64::from_le_bytes(*last), count);
        }
        Some(window)
    }

    /// How many can be granted at `now_us`; the window is aligned.
    fn free(&self, rate: &Rate, now_us: i64) -> u32 {
        let held = self.live(now_us).map(|(_, count)| u64::from(count)).sum();
        // At most the limit, a u32.
        u64::from(rate.limit).saturating_sub(held) as u32
    }

    /// Slices with a grant less than a period old: when the last one was, and how many.
    fn live(&self, now_us: i64) -> impl Iterator<Item = (i64, u32)> + '_ {
        let horizon = now_us.saturating_sub(self.period_us);
        (0..SLOTS)
            .map(|slot| (self.last_us[slot], self.count[slot]))
            .filter(move |(last, count)| *count > 0 && *last > horizon)
    }

    /// Puts the slices on the grid of a period that has changed, and grants of the future to now.
    fn align(&mut self, period_us: i64, now_us: i64) {
        let ahead = (0..SLOTS).any(|slot| self.count[slot] > 0 && self.last_us[slot] > now_us);
        if self.period_us == period_us && !ahead {
            return;
        }
        let before = *self;
        *self = Self {
            period_us,
            ..Self::EMPTY
        };
        let horizon = now_us.saturating_sub(period_us);
        for slot in (0..SLOTS).filter(|slot| before.count[*slot] > 0) {
            let last = before.last_us[slot].min(now_us);
            if last > horizon {
                self.add(last, before.count[slot]);
            }
        }
    }

    /// Counts grants that lie within a period of all others.
    fn add(&mut self, last_us: i64, count: u32) {
        let slot = self.slot_of(last_us);
        self.last_us[slot] = if self.count[slot] == 0 {
            last_us
        } else {
            last_us.max(self.last_us[slot])
        };
        self.count[slot] = self.count[slot].saturating_add(count);
    }

    fn slice_of(&self, at_us: i64) -> i64 {
        at_us.div_euclid(self.period_us / SLICES + i64::from(self.period_us % SLICES != 0))
    }

    fn slot_of(&self, at_us: i64) -> usize {
        self.slice_of(at_us).rem_euclid(SLOTS as i64) as usize
    }
}

#[cfg(test)]
mod tests;
