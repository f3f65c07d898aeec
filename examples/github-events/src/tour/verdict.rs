//! Whether the numbers agree: what the senders saw, what the receiver saw, and what the database holds.

use anyhow::Result;
use comfy_table::ContentArrangement;
use tokio_postgres::Client;

use super::{
    audit::Audit,
    expect,
    stage::Run,
    table::{table, thousands},
};
use crate::payload::Payload;

const WIDTH: u16 = 120;
/// With fewer deliveries to come when it joins, the third node may rightly get no job.
const SHARE_FOR_THIRD: u64 = 500;

/// Prints the tables and every disagreement; whether there is none.
///
/// # Errors
/// When the database does not answer.
pub async fn pronounce(
    client: &Client,
    payloads: &[Payload],
    run: &Run,
    audit: &Audit,
) -> Result<bool> {
    let numbers = Numbers { run, audit };
    let (rows, mut disagreements) = expect::compare(client, payloads).await?;
    disagreements.extend(numbers.disagreements()?);
    println!("\n{}", numbers.handlers());
    println!("{}", numbers.nodes());
    println!("{}", numbers.table()?);
    println!("{rows} rows of the example's tables are those the payloads name.");
    for disagreement in &disagreements {
        println!("DISAGREES: {disagreement}");
    }
    if disagreements.is_empty() {
        println!("All counts agree.");
    }
    Ok(disagreements.is_empty())
}

/// Everything the last table is made of.
struct Numbers<'n> {
    run: &'n Run,
    audit: &'n Audit,
}

impl Numbers<'_> {
    /// Every disagreement, in words. Empty when all counts agree.
    ///
    /// # Errors
    /// When a count is missing.
    fn disagreements(&self) -> Result<Vec<String>> {
        let mut found = self.run.book.complaints();
        let planned = i64::try_from(self.run.planned)?;
        let taken = self.run.book.accepted() + self.run.book.recovered();
        let mut check = |what: &str, got: i64, wanted: i64| {
            if got != wanted {
                found.push(format!("{what}: {got}, expected {wanted}"));
            }
        };
        check("deliveries accepted", i64::try_from(taken)?, planned);
        check("jobs in the database", self.audit.value("jobs")?, planned);
        check("jobs completed", self.audit.value("completed")?, planned);
        check("effects applied once", self.audit.value("once")?, planned);
        for (name, what) in [
            ("foreign", "jobs no sender knows of"),
            ("doubled", "deliveries that became several jobs"),
            ("mismatched", "event types with a wrong number of jobs"),
            ("unfinished", "jobs that did not end"),
            ("dead", "dead jobs at the end"),
            ("cancelled", "cancelled jobs"),
            ("twice", "effects applied more than once"),
            ("lost", "lost deliveries"),
            ("digest_gaps", "instants the digest missed"),
            ("digest_repeats", "instants with two digests"),
            ("digest_behind", "effects the last digest did not count"),
        ] {
            check(what, self.audit.value(name)?, 0);
        }
        check(
            "dead jobs before the receiver's pardon (it condemned as many)",
            self.run.dead_before,
            i64::try_from(self.run.report.condemned)?,
        );
        check("jobs redriven", self.run.redriven, self.run.dead_before);
        check(
            "calls the receiver did not believe",
            i64::try_from(self.run.report.refused)?,
            0,
        );
        let third = |(id, jobs): &(_, i64)| *id == Some(self.run.third) && *jobs > 0;
        if self.run.after_third >= SHARE_FOR_THIRD && !self.audit.nodes.iter().any(third) {
            found.push("the third node completed no job".to_owned());
        }
        if self.audit.value("digests")? == 0 {
            found.push("the schedule `digest` never ran".to_owned());
        }
        Ok(found)
    }

    /// The last table.
    ///
    /// # Errors
    /// When a count is missing.
    fn table(&self) -> Result<String> {
        let book = &self.run.book;
        let said = |what: &str, number: u64, from: &str| {
            vec![what.to_owned(), thousands(number), from.to_owned()]
        };
        let counted = |what: &str, name: &str| -> Result<Vec<String>> {
            let count = self.audit.get(name)?;
            let number = thousands(count.value.unsigned_abs());
            Ok(vec![what.to_owned(), number, count.sql.clone()])
        };
        let again = book.unreachable + book.lost_answers + book.later;
        let report = &self.run.report;
        let failed: Vec<String> = report
            .failed
            .iter()
            .map(|(how, times)| format!("{times} {how}"))
            .collect();
        let rows = vec![
            said("sent", book.sent, "senders: requests that were answered"),
            said(
                "  sent again",
                again,
                "senders: no connection, no answer, or 503",
            ),
            said(
                "accepted",
                book.accepted() + book.recovered(),
                "senders: 202, or known to the node when sent again",
            ),
            said(
                "duplicates refused",
                book.duplicates(),
                "senders: 200 with \"duplicate\": true",
            ),
            said("bad signatures refused", book.forged.1, "senders: 401"),
            said(
                "malformed refused",
                book.malformed.1,
                "senders: 400, 404, 413 or 422, as each deserves",
            ),
            counted("jobs", "jobs")?,
            counted("jobs completed", "completed")?,
            counted("effects applied once", "once")?,
            counted("effects applied twice", "twice")?,
            counted("retries", "retries")?,
            said(
                "  calls failed by the receiver",
                report.failed.values().sum(),
                &format!("receiver: {}", failed.join(", ")),
            ),
            counted("  lost with the killed node", "orphaned")?,
            said(
                "dead, then redriven",
                self.run.redriven.unsigned_abs(),
                "SELECT forge.redrive() once the receiver was repaired",
            ),
            counted("dead", "dead")?,
            counted("lost", "lost")?,
            counted("digests", "digests")?,
            vec![
                "wall time".to_owned(),
                format!("{:.1} s", self.run.seconds),
                "first request to last job's end".to_owned(),
            ],
        ];
        let mut table = table(&["", "number", "where it comes from"], rows);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(WIDTH);
        Ok(table.to_string())
    }

    /// By node.
    fn nodes(&self) -> String {
        let name = |id: &Option<uuid::Uuid>| match id {
            Some(id) => self
                .run
                .names
                .get(id)
                .cloned()
                .unwrap_or_else(|| id.to_string()),
            None => "over SQL".to_owned(),
        };
        let rows = self
            .audit
            .nodes
            .iter()
            .map(|(id, jobs)| vec![name(id), thousands(jobs.unsigned_abs())])
            .collect();
        table(&["node", "jobs completed"], rows).to_string()
    }

    /// By kind of handler.
    fn handlers(&self) -> String {
        let rows = self
            .audit
            .handlers
            .iter()
            .map(|(name, numbers)| {
                let numbers = numbers.iter().map(|n| thousands(n.unsigned_abs()));
                std::iter::once(name.clone()).chain(numbers).collect()
            })
            .collect();
        table(
            &[
                "handler",
                "kinds",
                "jobs",
                "completed",
                "effects",
                "retries",
            ],
            rows,
        )
        .to_string()
    }
}
