//! How long to wait before looking at an empty queue again, when no hint comes.

use std::time::Duration;

/// Doubles from the shortest to the longest pause while nothing is found; starts over when something is.
#[derive(Debug, Clone)]
pub struct Pace {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Pace {
    /// A pace that begins at its slowest: a queue is empty until something was seen.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max: max.max(min),
            next: max.max(min),
        }
    }

    /// Something was found: look again at once, and soon after.
    pub fn found(&mut self) {
        self.next = self.min;
    }

    /// Nothing was found: how long to wait.
    pub fn empty(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slows_down_to_the_longest_and_starts_over() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(1), ms(5));
        assert_eq!(pace.empty(), ms(5));
        pace.found();
        assert_eq!(
            [
                pace.empty(),
                pace.empty(),
                pace.empty(),
                pace.empty(),
                pace.empty()
            ]
            .map(|d| d.as_millis()),
            [1, 2, 4, 5, 5]
        );
        pace.found();
        assert_eq!(pace.empty(), ms(1));
    }
}
