//! Room for running jobs.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded number of running jobs, and the part of it set aside for a claim. Clones share the bound, not the part.
#[derive(Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    most: usize,
    aside: Option<OwnedSemaphorePermit>,
}

impl Slots {
    /// `bound` jobs at once, `most` in one claim.
    pub fn new(bound: usize, most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bound.max(1))),
            most: most.max(1),
            aside: None,
        }
    }

    /// Another claimer of the same bound.
    pub fn share(&self) -> Self {
        Self {
            free: self.free.clone(),
            most: self.most,
            aside: None,
        }
    }

    /// Waits for a free slot and sets aside as many as are free, up to the size of a claim; how many.
    pub async fn reserve(&mut self) -> usize {
        self.vacate();
        let Ok(mut permit) = self.free.clone().acquire_owned().await else {
            // Never closed.
            return std::future::pending().await;
        };
        let more = self.free.available_permits().min(self.most - 1);
        if more > 0
            && let Ok(rest) = self
                .free
                .clone()
                .try_acquire_many_owned(u32::try_from(more).unwrap_or(0))
        {
            permit.merge(rest);
        }
        let count = permit.num_permits();
        self.aside = Some(permit);
        count
    }

    /// What was set aside, to be split among jobs.
    pub fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        self.aside.take()
    }

    /// Gives back what was set aside.
    pub fn vacate(&mut self) {
        self.aside = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sets_aside_what_is_free_up_to_a_claim() {
        let mut slots = Slots::new(10, 4);
        let mut other = slots.share();
        assert_eq!(slots.reserve().await, 4);
        let mut held = slots.take().unwrap();
        assert_eq!(other.reserve().await, 4);
        assert_eq!(slots.reserve().await, 2);
        let one = held.split(1).unwrap();
        drop(held);
        slots.vacate();
        assert_eq!(slots.reserve().await, 4);
        drop(one);
    }

    #[tokio::test]
    async fn waits_for_a_free_slot() {
        let mut slots = Slots::new(1, 4);
        assert_eq!(slots.reserve().await, 1);
        let held = slots.take();
        let mut other = slots.share();
        let waiting = tokio::spawn(async move { other.reserve().await });
        drop(held);
        assert_eq!(waiting.await.unwrap(), 1);
    }
}
