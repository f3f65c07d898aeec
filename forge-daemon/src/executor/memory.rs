//! Answers of queries, kept for a while.
//!
//! Invariants: never more bytes than configured; an answer is found only by callers who are equal in every part of the
//! identity that the function read for it; an answer past its time is given only when the database cannot be asked, and
//! says so. Two callers equal in what a function read take the same way through it and read the same, so it is enough
//! to compare that.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use quick_cache::{Weighter, sync::Cache as Store};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    call::Reply,
    caller::{EVERYTHING, Part, Sealed},
    catalog::Function,
};
use crate::config::Cache;

/// What an entry costs beside its body.
const OVERHEAD: u64 = 256;
/// A guess at the number of entries, for the first allocation.
const ITEMS: usize = 1024;

/// Under what an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    function: u64,
    mask: u8,
    digest: [u8; 32],
}

/// An answer with its age.
#[derive(Debug)]
pub(super) struct Kept {
    pub key: Key,
    pub reply: Reply,
    pub born: Instant,
    pub ttl: Duration,
}

impl Key {
    /// The parts of the identity that count.
    pub fn mask(&self) -> u8 {
        self.mask
    }
}

impl Kept {
    /// Time left; `None` when it is over.
    pub fn left(&self) -> Option<Duration> {
        self.ttl.checked_sub(self.born.elapsed())
    }
}

#[derive(Clone)]
struct BySize;

impl Weighter<Key, Arc<Kept>> for BySize {
    fn weight(&self, _: &Key, kept: &Arc<Kept>) -> u64 {
        kept.reply.size() as u64 + OVERHEAD
    }
}

/// The kept answers.
pub(super) struct Memory {
    store: Store<Key, Arc<Kept>, BySize>,
    stale_for: Duration,
}

impl Memory {
    pub fn new(config: &Cache) -> Self {
        Self {
            store: Store::with_weighter(ITEMS, config.memory.get() as u64, BySize),
            stale_for: config.stale_for.get(),
        }
    }

    /// A fresh answer, or one that serves when the database cannot be asked.
    pub fn find(&self, question: &Question<'_>) -> Option<Arc<Kept>> {
        let masks = question.function.masks.load(Ordering::Relaxed);
        let mut stale: Option<Arc<Kept>> = None;
        for mask in (0..=EVERYTHING).filter(|mask| masks & (1 << mask) != 0) {
            let Some(kept) = self.store.get(&question.key(mask)) else {
                continue;
            };
            if kept.left().is_some() {
                return Some(kept);
            }
            let better = stale.as_ref().is_none_or(|known| known.born < kept.born);
            if better && kept.born.elapsed() <= kept.ttl + self.stale_for {
                stale = Some(kept);
            }
        }
        stale
    }

    /// Keeps an answer that depends on the parts in `mask`, asked for at `born`.
    pub fn keep(
        &self,
        question: &Question<'_>,
        mask: u8,
        reply: Reply,
        ttl: Duration,
        born: Instant,
    ) -> Arc<Kept> {
        let key = question.key(mask);
        let kept = Arc::new(Kept {
            key,
            reply,
            born,
            ttl,
        });
        question.function.likely.store(mask, Ordering::Relaxed);
        // What holds a session's token stays nowhere.
        if mask & Part::Token as u8 == 0 {
            question
                .function
                .masks
                .fetch_or(1 << mask, Ordering::Relaxed);
            self.store.insert(key, kept.clone());
        }
        kept
    }
}

/// What is asked, by whom.
pub(super) struct Question<'a> {
    pub function: &'a Function,
    pub caller: &'a Sealed,
    arguments: [u8; 32],
}

impl<'a> Question<'a> {
    /// The arguments are compared field by field, so that order and space between them do not matter. `None` when they
    /// are no object: the database says why.
    pub fn new(function: &'a Function, caller: &'a Sealed, args: &str) -> Option<Self> {
        let fields: BTreeMap<&str, &RawValue> = match serde_json::from_str(args) {
            Ok(fields) => fields,
            // Names with escapes cannot be borrowed.
            Err(_) => return Self::escaped(function, caller, args),
        };
        let fields = fields.iter().map(|(name, value)| (*name, value.get()));
        Some(Self::of(function, caller, fields))
    }

    fn escaped(function: &'a Function, caller: &'a Sealed, args: &str) -> Option<Self> {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(args).ok()?;
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.get()));
        Some(Self::of(function, caller, fields))
    }

    fn of<'f>(
        function: &'a Function,
        caller: &'a Sealed,
        fields: impl Iterator<Item = (&'f str, &'f str)>,
    ) -> Self {
        let mut hash = Sha256::new();
        for (name, value) in fields {
            // Lengths first: no two sets of fields make the same bytes.
            for text in [name, value] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
        }
        Self {
            function,
            caller,
            arguments: hash.finalize().into(),
        }
    }

    /// The key of an answer that depends on the parts in `mask`.
    pub fn key(&self, mask: u8) -> Key {
        let mut hash = Sha256::new();
        hash.update(self.arguments);
        hash.update(self.caller.digest(mask));
        Key {
            function: self.function.number,
            mask,
            digest: hash.finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;

    use super::*;
    use crate::{
        config::{Bytes, Span},
        executor::{Caller, caller::Part},
    };

    const LONG: Duration = Duration::from_secs(60);

    fn function() -> Function {
        let mut function: Function =
            serde_json::from_str(r#"{"name":"a","kind":"query"}"#).unwrap();
        function.likely = AtomicU8::new(EVERYTHING);
        function
    }

    fn sealed(subject: &str) -> Arc<Sealed> {
        Caller {
            subject: Some(subject.into()),
            ..Caller::anonymous()
        }
        .seal(None)
    }

    fn memory() -> Memory {
        Memory::new(&Cache {
            memory: Bytes::mib(1),
            stale_for: Span::secs(60),
        })
    }

    fn text(kept: Option<Arc<Kept>>) -> Option<String> {
        kept.map(|kept| String::from_utf8(kept.reply.body.to_vec()).unwrap())
    }

    #[test]
    fn order_and_space_do_not_matter_but_values_do() {
        let (function, caller) = (function(), sealed("u"));
        let key = |args| Question::new(&function, &caller, args).unwrap().key(0);
        assert_eq!(
            key(r#"{"a":1,"b":[2]}"#),
            key(r#" { "b" : [2], "a" : 1 } "#)
        );
        assert_eq!(key(r#"{"a":1}"#), key(r#"{"\u0061":1}"#));
        for other in [
            r#"{"a":1.0}"#,
            r#"{"a":"1"}"#,
            r#"{"ab":1}"#,
            r#"{}"#,
            r#"{"a":1,"b":1}"#,
        ] {
            assert_ne!(key(r#"{"a":1}"#), key(other), "{other}");
        }
        assert!(Question::new(&function, &caller, "[]").is_none());
        assert!(Question::new(&function, &caller, "{").is_none());
    }

    #[test]
    fn an_answer_is_for_equals_only() {
        let (memory, function) = (memory(), function());
        let (ann, bob) = (sealed("ann"), sealed("bob"));
        let ask = |caller: &Arc<Sealed>, args: &str| {
            text(memory.find(&Question::new(&function, caller, args).unwrap()))
        };
        let question = Question::new(&function, &ann, r#"{"x":1}"#).unwrap();
        memory.keep(
            &question,
            Part::Subject as u8,
            Reply::of("for ann"),
            LONG,
            Instant::now(),
        );
        assert_eq!(ask(&ann, r#"{"x":1}"#).as_deref(), Some("for ann"));
        assert_eq!(ask(&bob, r#"{"x":1}"#), None);
        assert_eq!(ask(&ann, r#"{"x":2}"#), None);
        let question = Question::new(&function, &ann, r#"{"x":2}"#).unwrap();
        memory.keep(&question, 0, Reply::of("for all"), LONG, Instant::now());
        assert_eq!(ask(&bob, r#"{"x":2}"#).as_deref(), Some("for all"));
    }

    #[test]
    fn what_is_past_its_time_is_stale_and_then_gone() {
        let (memory, function, caller) = (memory(), function(), sealed("u"));
        let question = Question::new(&function, &caller, "{}").unwrap();
        memory.keep(&question, 0, Reply::of("x"), Duration::ZERO, Instant::now());
        let kept = memory.find(&question).unwrap();
        assert_eq!(kept.left(), None);
        let long_ago = Instant::now().checked_sub(LONG * 3).unwrap();
        memory.keep(&question, 0, Reply::of("y"), LONG, long_ago);
        assert!(memory.find(&question).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let (memory, function, caller) = (memory(), function(), sealed("u"));
        for n in 0..100 {
            let args = format!(r#"{{"n":{n}}}"#);
            let question = Question::new(&function, &caller, &args).unwrap();
            memory.keep(
                &question,
                0,
                Reply::of(&"x".repeat(100_000)),
                LONG,
                Instant::now(),
            );
        }
        assert!(
            memory.store.weight() <= 1 << 20,
            "{}",
            memory.store.weight()
        );
    }
}
