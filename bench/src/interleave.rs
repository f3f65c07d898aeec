//! Measuring several sides in turn, so that what disturbs one disturbs the others too.

use crate::statistic::median;
use futures::future::BoxFuture;

/// One side of a comparison: measures once and answers a value in the row's unit.
pub type Side<'a> = Box<dyn FnMut() -> BoxFuture<'a, anyhow::Result<f64>> + Send + 'a>;

/// Runs every side once per round, each round beginning with another side, and answers each side's
/// median. A side that fails once is not run again; its first error is its answer.
pub async fn interleave<const N: usize>(
    rounds: usize,
    mut sides: [Side<'_>; N],
) -> [anyhow::Result<f64>; N] {
    let mut measured: [anyhow::Result<Vec<f64>>; N] = std::array::from_fn(|_| Ok(Vec::new()));
    for round in 0..rounds {
        for step in 0..N {
            let side = (round + step) % N;
            let Ok(samples) = &mut measured[side] else {
                continue;
            };
            match sides[side]().await {
                Ok(value) => samples.push(value),
                Err(error) => measured[side] = Err(error),
            }
        }
    }
    measured
        .map(|samples| median(&samples?).ok_or_else(|| anyhow::anyhow!("no round was measured")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sides_take_turns_and_one_that_fails_stops_alone() {
        let (order, next) = std::sync::mpsc::channel();
        let failing = order.clone();
        let [good, bad] = interleave(
            3,
            [
                Box::new(move || {
                    order.send('g').expect("the test listens");
                    Box::pin(async { Ok(1.0) })
                }),
                Box::new(move || {
                    failing.send('b').expect("the test listens");
                    Box::pin(async { anyhow::bail!("broken") })
                }),
            ],
        )
        .await;
        assert_eq!(good.expect("measured"), 1.0);
        assert_eq!(bad.expect_err("failed").to_string(), "broken");
        assert_eq!(next.try_iter().collect::<String>(), "gbgg");
    }
}
