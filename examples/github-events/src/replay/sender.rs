//! One sender: takes the next item of the plan, sends it until it is answered, writes the book.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Fleet,
    book::{Book, Counters, Outcome},
    request::{Answer, Factory},
};
use crate::{
    payload::Payload,
    plan::{Copies, Item, Manner, Plan},
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What all senders share.
#[derive(Debug)]
pub struct Shared {
    pub requests: Factory,
    pub plan: Plan,
    pub payloads: Vec<Payload>,
    pub fleet: Fleet,
    pub next: AtomicUsize,
    pub pace: Pace,
    pub patience: Duration,
    pub counters: Arc<Counters>,
}

/// Spreads the plan over time, so that no more than so many items start in a second.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    rate: f64,
}

impl Pace {
    /// `rate` items a second; 0 for no limit.
    pub fn new(rate: u32) -> Self {
        Self {
            start: Instant::now(),
            rate: f64::from(rate),
        }
    }

    async fn wait_for(&self, turn: usize) {
        if self.rate > 0.0 {
            sleep_until(self.start + Duration::from_secs_f64(turn as f64 / self.rate)).await;
        }
    }
}

/// Sends items until the plan is through.
pub async fn run(shared: &Shared) -> Book {
    let mut book = Book::default();
    loop {
        let turn = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(item) = shared.plan.items.get(turn) else {
            return book;
        };
        shared.pace.wait_for(turn).await;
        match item.manner {
            Manner::Good(copies) => {
                let outcome = deliver(shared, &mut book, turn, item, copies).await;
                book.good.push(outcome);
            }
            Manner::Forged(_) => {
                book.forged.0 += 1;
                let refused = refused(shared, &mut book, turn, item, &[401]).await;
                book.forged.1 += u64::from(refused);
            }
            Manner::Malformed(how) => {
                book.malformed.0 += 1;
                let refused = refused(shared, &mut book, turn, item, how.statuses()).await;
                book.malformed.1 += u64::from(refused);
            }
        }
    }
}

/// Sends a good delivery as often as planned.
async fn deliver(
    shared: &Shared,
    book: &mut Book,
    turn: usize,
    item: &Item,
    copies: Copies,
) -> Outcome {
    let mut outcome = Outcome {
        id: item.id,
        payload: item.payload,
        copies: copies.count(),
        accepted: 0,
        duplicates: 0,
        lost_answers: 0,
        jobs: Vec::new(),
    };
    let first = attempt(shared, turn, item);
    match copies {
        Copies::One => note(shared, book, &mut outcome, first.await),
        Copies::TwoInTurn => {
            note(shared, book, &mut outcome, first.await);
            let second = attempt(shared, turn + 1, item).await;
            note(shared, book, &mut outcome, second);
        }
        Copies::TwoAtOnce => {
            let (first, second) = tokio::join!(first, attempt(shared, turn + 1, item));
            note(shared, book, &mut outcome, first);
            note(shared, book, &mut outcome, second);
        }
    }
    outcome
}

/// Sends an item that must be refused; whether it was, with one of `statuses`.
async fn refused(
    shared: &Shared,
    book: &mut Book,
    turn: usize,
    item: &Item,
    statuses: &[u16],
) -> bool {
    let tried = attempt(shared, turn, item).await;
    tried.count_into(book);
    match tried.answer {
        Answer::Status(status) if statuses.contains(&status.as_u16()) => true,
        answer => {
            book.note_odd(format!("{:?} got {}", item.manner, describe(&answer)));
            false
        }
    }
}

/// One copy of an item, sent until it is answered.
struct Tried {
    answer: Answer,
    unreachable: u64,
    lost: u32,
    later: u64,
}

impl Tried {
    fn count_into(&self, book: &mut Book) {
        book.unreachable += self.unreachable;
        book.lost_answers += u64::from(self.lost);
        book.later += self.later;
    }
}

async fn attempt(shared: &Shared, turn: usize, item: &Item) -> Tried {
    let give_up = Instant::now() + shared.patience;
    let payload = &shared.payloads[item.payload];
    let mut tried = Tried {
        answer: Answer::Unreachable,
        unreachable: 0,
        lost: 0,
        later: 0,
    };
    let mut pause = FIRST_PAUSE;
    for again in 0.. {
        tried.answer = match shared.fleet.pick(turn + again) {
            Some(base) => shared.requests.send(&base, item, payload).await,
            None => Answer::Unreachable,
        };
        let wait = match tried.answer {
            Answer::Taken { .. } | Answer::Status(_) => {
                Counters::add(&shared.counters.sent);
                return tried;
            }
            Answer::Later(after) => {
                tried.later += 1;
                after.min(LONGEST_PAUSE)
            }
            Answer::Unreachable => {
                tried.unreachable += 1;
                pause
            }
            Answer::Lost => {
                tried.lost += 1;
                pause
            }
        };
        if Instant::now() + wait > give_up {
            break;
        }
        Counters::add(&shared.counters.resent);
        sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    tried
}

fn note(shared: &Shared, book: &mut Book, outcome: &mut Outcome, tried: Tried) {
    tried.count_into(book);
    outcome.lost_answers += tried.lost;
    match tried.answer {
        Answer::Taken { job, duplicate } => {
            outcome.jobs.push(job);
            if duplicate {
                outcome.duplicates += 1;
            } else {
                outcome.accepted += 1;
                Counters::add(&shared.counters.accepted);
            }
        }
        answer => book.note_odd(format!(
            "{} got {}",
            shared.payloads[outcome.payload].event,
            describe(&answer)
        )),
    }
}

fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Taken { duplicate, .. } => format!("taken, duplicate: {duplicate}"),
        Answer::Status(status) => status.to_string(),
        Answer::Later(_) => "503 until patience ended".to_owned(),
        Answer::Unreachable => "no connection until patience ended".to_owned(),
        Answer::Lost => "no answer until patience ended".to_owned(),
    }
}
