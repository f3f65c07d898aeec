//! Job states and priorities: the table, and what must hold of every life of a job.

use proptest::prelude::*;

use super::*;

#[test]
fn names_round_trip() {
    for state in State::ALL {
        assert_eq!(State::parse(state.name()).unwrap(), state);
        assert_eq!(
            serde_json::to_string(&state).unwrap(),
            format!("\"{state}\"")
        );
        assert_eq!(
            serde_json::from_str::<State>(&format!("\"{state}\"")).unwrap(),
            state
        );
    }
    for priority in Priority::ALL {
        assert_eq!(Priority::parse(priority.name()).unwrap(), priority);
        assert_eq!(Priority::from_rank(priority.rank()), Some(priority));
        assert_eq!(
            serde_json::to_string(&priority).unwrap(),
            format!("\"{priority}\"")
        );
    }
}

#[test]
fn unknown_names_list_the_known_ones() {
    let error = State::parse("Done").unwrap_err();
    assert!(
        error.to_string().contains("\"Done\"") && error.hint().contains("completed"),
        "{error}"
    );
    let error = Priority::parse("URGENT").unwrap_err();
    assert!(
        error.to_string().contains("\"URGENT\"") && error.hint().contains("critical"),
        "{error}"
    );
    assert!(State::parse("").is_err() && Priority::parse("normal ").is_err());
}

#[test]
fn ranks_order_priorities() {
    assert_eq!(Priority::ALL.map(Priority::rank), [0, 1, 2, 3, 4]);
    assert!(Priority::Critical < Priority::Background);
    assert_eq!(Priority::default(), Priority::Normal);
    for rank in [-1, 5, i16::MIN, i16::MAX] {
        assert_eq!(Priority::from_rank(rank), None);
    }
}

#[test]
fn the_table() {
    let allowed = |from: State| {
        State::ALL
            .into_iter()
            .filter(|to| from.can_become(*to))
            .collect::<Vec<_>>()
    };
    assert_eq!(allowed(State::Completed), []);
    assert_eq!(allowed(State::Dead), [State::Ready]);
    assert_eq!(allowed(State::Cancelled), [State::Ready]);
    assert_eq!(
        allowed(State::Scheduled),
        [State::Ready, State::Dead, State::Cancelled]
    );
    assert_eq!(
        allowed(State::Retrying),
        [State::Ready, State::Dead, State::Cancelled]
    );
    assert_eq!(
        allowed(State::Ready),
        [
            State::Scheduled,
            State::Running,
            State::Dead,
            State::Cancelled
        ]
    );
    let others = State::ALL
        .into_iter()
        .filter(|state| *state != State::Running)
        .collect::<Vec<_>>();
    assert_eq!(allowed(State::Running), others);
}

#[test]
fn an_attempt_is_the_only_way_to_a_result() {
    for from in State::ALL {
        assert!(!from.can_become(from), "{from}");
        let leads_to_result = from.can_become(State::Completed) || from.can_become(State::Retrying);
        assert_eq!(leads_to_result, from == State::Running, "{from}");
        assert_eq!(
            from.can_become(State::Running),
            from == State::Ready,
            "{from}"
        );
    }
}

proptest! {
    /// Whatever happens, a finished job comes back only through `ready`, and every unfinished job can finish.
    #[test]
    fn every_life_can_end(choices in proptest::collection::vec(any::<prop::sample::Index>(), 0..50)) {
        let mut state = State::Scheduled;
        for choice in choices {
            if state.next().is_empty() {
                break;
            }
            let next = *choice.get(state.next());
            prop_assert!(!state.is_finished() || next == State::Ready);
            state = next;
        }
        prop_assert!(state.is_finished() || state.can_become(State::Cancelled));
    }
}
