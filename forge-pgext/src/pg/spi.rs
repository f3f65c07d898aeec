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

/// Runs one statement and hands each row's values to `row`. Writes are allowed; the snapshot is the caller's own,
/// refreshed as for any volatile function. Answers how many rows were processed.
pub fn query(sql: &str, params: &[Param], mut row: impl FnMut(&[Value])) -> u64 {
    run(sql, params, false, &mut row)
}

/// Runs one query with the active snapshot.
pub fn query_read_only(sql: &str, row: &mut dyn FnMut(&[Value])) -> u64 {
    run(sql, &[], true, row)
}

fn run(sql: &str, params: &[Param], read_only: bool, row: &mut dyn FnMut(&[Value])) -> u64 {
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
        let code =
            pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0);
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
