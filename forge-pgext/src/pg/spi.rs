//! SQL from inside the extension: statements prepared once per backend, parameters always bound.
//!
//! Not for the hot path, which reads and appends tables directly ([`crate::pg::table`]).

use crate::pg::function::Value;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;

thread_local! {
    /// Plans by statement text. Postgres re-plans them itself when what they use changes.
    static PLANS: RefCell<HashMap<String, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
}

/// One bound parameter: its type and value.
pub type Param = (Oid, Value);

/// Which snapshot a statement sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum See {
    /// The newest there is, whatever the transaction's isolation level: what others have done to the queue is true
    /// for a transaction with an old snapshot as well.
    Newest,
    /// The transaction's own, refreshed as for any volatile function.
    Own,
    /// The active one; the statement may not write.
    Active,
}

/// Runs one statement on Forge's own tables, as they are now, and hands each row's values to `row`. Answers how many rows
/// were processed.
pub fn query(sql: &str, params: &[Param], mut row: impl FnMut(&[Value])) -> u64 {
    run(sql, params, See::Newest, &mut row)
}

/// Runs one statement of a user's, which sees what the transaction sees.
pub fn query_as_user(sql: &str, params: &[Param], mut row: impl FnMut(&[Value])) -> u64 {
    run(sql, params, See::Own, &mut row)
}

/// Runs one query with the active snapshot.
pub fn query_read_only(sql: &str, row: &mut dyn FnMut(&[Value])) -> u64 {
    run(sql, &[], See::Active, row)
}

fn run(sql: &str, params: &[Param], see: See, row: &mut dyn FnMut(&[Value])) -> u64 {
    let types: Vec<Oid> = params.iter().map(|p| p.0).collect();
    let mut values: Vec<Datum> = params
        .iter()
        .map(|p| p.1.unwrap_or(Datum::from(0usize)))
        .collect();
    let nulls: Vec<i8> = params
        .iter()
        .map(|p| {
            if p.1.is_some() {
                b' ' as i8
            } else {
                b'n' as i8
            }
        })
        .collect();
    unsafe {
        pg_sys::SPI_connect();
        let plan = plan(sql, &types);
        let (values, nulls) = (values.as_mut_ptr(), nulls.as_ptr());
        let code = match see {
            // Postgres copies the snapshot before anything else can take another.
            See::Newest => pg_sys::SPI_execute_snapshot(
                plan,
                values,
                nulls,
                pg_sys::GetLatestSnapshot(),
                std::ptr::null_mut(),
                false,
                true,
                0,
            ),
            See::Own | See::Active => {
                pg_sys::SPI_execute_plan(plan, values, nulls, see == See::Active, 0)
            }
        };
        if code < 0 {
            pgrx::error!("statement failed with SPI code {code}: {sql}");
        }
        let processed = pg_sys::SPI_processed;
        let table = pg_sys::SPI_tuptable;
        if !table.is_null() {
            let desc = (*table).tupdesc;
            let columns = (*desc).natts;
            let mut out = vec![None; columns as usize];
            for i in 0..processed as usize {
                let tuple = *(*table).vals.add(i);
                for (c, slot) in out.iter_mut().enumerate() {
                    let mut null = false;
                    let datum = pg_sys::SPI_getbinval(tuple, desc, c as i32 + 1, &mut null);
                    *slot = (!null).then_some(datum);
                }
                row(&out);
            }
        }
        pg_sys::SPI_finish();
        processed
    }
}

/// Runs one statement for its effect.
pub fn execute(sql: &str, params: &[Param]) -> u64 {
    query(sql, params, |_| {})
}

unsafe fn plan(sql: &str, types: &[Oid]) -> pg_sys::SPIPlanPtr {
    if let Some(plan) = PLANS.with_borrow(|plans| plans.get(sql).copied()) {
        return plan;
    }
    let text = CString::new(sql).unwrap_or_default();
    unsafe {
        let plan =
            pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_ptr().cast_mut());
        if plan.is_null() {
            pgrx::error!("cannot prepare: {sql}");
        }
        pg_sys::SPI_keepplan(plan);
        PLANS.with_borrow_mut(|plans| plans.insert(sql.to_owned(), plan));
        plan
    }
}
