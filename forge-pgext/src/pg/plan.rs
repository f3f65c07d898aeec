//! Plans of calls, kept from call to call.
//!
//! A function in language SQL is planned as its body is: called from outside, Postgres (before 18) parses and plans it anew in
//! every transaction. Other functions are called by a statement.

use crate::pg::catch::{Caught, catch};
use crate::pg::json::raw_execute;
use crate::pg::typ::{self, Column};
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::{CString, c_void};

mod raw {
    use super::{Datum, Oid, c_void, pg_sys};
    unsafe extern "C-unwind" {
        pub fn datumCopy(value: Datum, by_value: bool, length: i32) -> Datum;
        pub fn prepare_sql_fn_parse_info(
            procedure: pg_sys::HeapTuple,
            call: *mut pg_sys::Node,
            collation: Oid,
        ) -> *mut c_void;
        pub fn sql_fn_parser_setup(state: *mut pg_sys::ParseState, info: *mut c_void);
        pub fn SPI_prepare_params(
            source: *const std::ffi::c_char,
            setup: pg_sys::ParserSetupHook,
            argument: *mut c_void,
            options: i32,
        ) -> pg_sys::SPIPlanPtr;
        pub fn SPI_prepare(
            source: *const std::ffi::c_char,
            count: i32,
            types: *mut Oid,
        ) -> pg_sys::SPIPlanPtr;
    }
}

/// A parameter's type, value and whether it is null.
pub type Argument = (Oid, Option<Datum>);

/// A kept plan; freed when dropped, so drop it outside of callbacks.
#[derive(Debug)]
pub struct Plan {
    plan: pg_sys::SPIPlanPtr,
    /// What the parser hooks need each time the plan is made anew.
    memory: pg_sys::MemoryContext,
    /// Columns of the last statement's result; `None` when it returns no rows.
    pub columns: Option<Vec<Column>>,
}

impl Drop for Plan {
    fn drop(&mut self) {
        unsafe {
            pg_sys::SPI_freeplan(self.plan);
            if !self.memory.is_null() {
                pg_sys::MemoryContextDelete(self.memory);
            }
        }
    }
}

impl Plan {
    /// Plans a statement with parameters of these types.
    pub fn of_statement(sql: &str, types: &[Oid]) -> Result<Self, Caught> {
        let text = CString::new(sql).unwrap_or_default();
        let (text, types, n) = (text.as_ptr(), types.as_ptr().cast_mut(), types.len() as i32);
        // SAFETY: C functions on pointers that outlive the call.
        let plan = connected(|| unsafe { catch(|| keep(raw::SPI_prepare(text, n, types))) })?;
        Ok(Self::new(plan, std::ptr::null_mut()))
    }

    /// Plans the body of a SQL function.
    pub fn of_body(function: Oid, body: &str) -> Result<Self, Caught> {
        let text = CString::new(body).unwrap_or_default();
        let text = text.as_ptr();
        // SAFETY: the parse information lives in a context as long as the plan.
        unsafe {
            let memory = pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"forge function".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
            );
            let setup: pg_sys::ParserSetupHook = Some(raw::sql_fn_parser_setup);
            let planned = connected(|| {
                catch(|| {
                    let tuple = pg_sys::SearchSysCache1(
                        pg_sys::SysCacheIdentifier::PROCOID as i32,
                        Datum::from(function),
                    );
                    let before = pg_sys::MemoryContextSwitchTo(memory);
                    let info = raw::prepare_sql_fn_parse_info(
                        tuple,
                        std::ptr::null_mut(),
                        pg_sys::DEFAULT_COLLATION_OID,
                    );
                    pg_sys::MemoryContextSwitchTo(before);
                    pg_sys::ReleaseSysCache(tuple);
                    keep(raw::SPI_prepare_params(text, setup, info, 0))
                })
            });
            match planned {
                Ok(plan) => Ok(Self::new(plan, memory)),
                Err(error) => {
                    pg_sys::MemoryContextDelete(memory);
                    Err(error)
                }
            }
        }
    }

    fn new(plan: pg_sys::SPIPlanPtr, memory: pg_sys::MemoryContext) -> Self {
        // SAFETY: a kept plan has a list of plan sources, each with the description of its result or null.
        let columns = unsafe {
            let sources = pg_sys::SPI_plan_get_plan_sources(plan);
            if sources.is_null() || (*sources).length == 0 {
                None
            } else {
                let last = (*(*sources).elements.add((*sources).length as usize - 1))
                    .ptr_value
                    .cast::<pg_sys::CachedPlanSource>();
                let desc = (*last).resultDesc;
                (!desc.is_null()).then(|| typ::columns(desc))
            }
        };
        Self {
            plan,
            memory,
            columns,
        }
    }

    /// Runs the plan. `read_only` uses the active snapshot; `most` is how many rows are wanted, 0 for all. Answers what
    /// `use_rows` makes of the rows, whose values are valid inside it only.
    pub fn run<T>(
        &self,
        arguments: &[Argument],
        read_only: bool,
        most: u64,
        use_rows: impl FnOnce(&Rows) -> T,
    ) -> Result<T, Caught> {
        unsafe {
            let list = pg_sys::makeParamList(arguments.len() as i32);
            if !list.is_null() {
                let all = (*list).params.as_mut_slice(arguments.len());
                for (slot, (of, value)) in all.iter_mut().zip(arguments) {
                    slot.value = value.unwrap_or(Datum::from(0usize));
                    slot.isnull = value.is_none();
                    slot.pflags = pg_sys::PARAM_FLAG_CONST as u16;
                    slot.ptype = *of;
                }
            }
            let options = pg_sys::SPIExecuteOptions {
                params: list,
                read_only,
                tcount: most,
                ..Default::default()
            };
            let plan = self.plan;
            let memory = pg_sys::CurrentMemoryContext;
            pg_sys::SPI_connect();
            let code = {
                let options = &raw const options;
                // What an error leaves must not die with SPI's own memory.
                let own = pg_sys::MemoryContextSwitchTo(memory);
                let ran = catch(|| raw_execute(plan, options));
                pg_sys::MemoryContextSwitchTo(own);
                match ran {
                    Ok(code) => code,
                    Err(error) => {
                        pg_sys::MemoryContextSwitchTo(memory);
                        return Err(error);
                    }
                }
            };
            if code < 0 {
                pgrx::error!("a function's statement failed with SPI code {code}");
            }
            let rows = Rows {
                table: pg_sys::SPI_tuptable,
                count: pg_sys::SPI_processed as usize,
            };
            let answer = use_rows(&rows);
            pg_sys::SPI_finish();
            Ok(answer)
        }
    }
}

/// Makes a plan last; runs under `catch`.
unsafe fn keep(plan: pg_sys::SPIPlanPtr) -> pg_sys::SPIPlanPtr {
    unsafe {
        if !plan.is_null() {
            pg_sys::SPI_keepplan(plan);
        }
        plan
    }
}

fn connected<T>(work: impl FnOnce() -> Result<T, Caught>) -> Result<T, Caught> {
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        pg_sys::SPI_connect();
        pg_sys::MemoryContextSwitchTo(memory);
        let done = work()?;
        pg_sys::SPI_finish();
        pg_sys::MemoryContextSwitchTo(memory);
        Ok(done)
    }
}

/// Rows of a result.
pub struct Rows {
    table: *mut pg_sys::SPITupleTable,
    count: usize,
}

impl Rows {
    pub fn len(&self) -> usize {
        if self.table.is_null() { 0 } else { self.count }
    }

    pub fn columns(&self) -> usize {
        if self.table.is_null() {
            return 0;
        }
        // SAFETY: a result's table has a description.
        unsafe { (*(*self.table).tupdesc).natts as usize }
    }

    /// Values of row `i`.
    pub fn values(&self, i: usize, into: &mut [Datum], nulls: &mut [bool]) {
        // SAFETY: the caller stays below len(), and both slices have a place for every column.
        unsafe {
            let desc = (*self.table).tupdesc;
            let tuple = *(*self.table).vals.add(i);
            pg_sys::heap_deform_tuple(tuple, desc, into.as_mut_ptr(), nulls.as_mut_ptr());
        }
    }
}

/// Fires what is deferred to the end of the transaction now, as the current role: later it would be as the session's.
pub fn fire_deferred() -> Result<(), Caught> {
    unsafe {
        let mut all = pg_sys::ConstraintsSetStmt {
            type_: pg_sys::NodeTag::T_ConstraintsSetStmt,
            constraints: std::ptr::null_mut(),
            deferred: false,
        };
        let all = &raw mut all;
        catch(|| raw_set_state(all))
    }
}

unsafe extern "C-unwind" {
    #[link_name = "AfterTriggerSetState"]
    fn raw_set_state(statement: *mut pg_sys::ConstraintsSetStmt);
}

/// Values of default expressions that are constant, from the last parameter backwards; `None` for the others.
pub fn constant_defaults(function: Oid, memory: pg_sys::MemoryContext) -> Vec<Option<Argument>> {
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            Datum::from(function),
        );
        if tuple.is_null() {
            return Vec::new();
        }
        let mut null = false;
        let stored = pg_sys::SysCacheGetAttr(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            tuple,
            pg_sys::Anum_pg_proc_proargdefaults as i16,
            &mut null,
        );
        if null {
            pg_sys::ReleaseSysCache(tuple);
            return Vec::new();
        }
        let text = CString::new(typ::text(stored)).unwrap_or_default();
        pg_sys::ReleaseSysCache(tuple);
        let list = pg_sys::stringToNode(text.as_ptr()).cast::<pg_sys::List>();
        (0..(*list).length as usize)
            .map(|i| {
                let node = (*(*list).elements.add(i)).ptr_value.cast::<pg_sys::Node>();
                let simple = pg_sys::eval_const_expressions(std::ptr::null_mut(), node);
                if (*simple).type_ != pg_sys::NodeTag::T_Const {
                    return None;
                }
                let constant = &*simple.cast::<pg_sys::Const>();
                if constant.constisnull {
                    return Some((constant.consttype, None));
                }
                let before = pg_sys::MemoryContextSwitchTo(memory);
                let copy = raw::datumCopy(
                    constant.constvalue,
                    constant.constbyval,
                    constant.constlen as i32,
                );
                pg_sys::MemoryContextSwitchTo(before);
                Some((constant.consttype, Some(copy)))
            })
            .collect()
    }
}

/// Whether this transaction has used temporary tables, which the next caller on this connection would find.
pub fn used_temporary_tables() -> bool {
    unsafe { pg_sys::MyXactFlags & pg_sys::XACT_FLAGS_ACCESSEDTEMPNAMESPACE as i32 != 0 }
}

/// Refuses writes for the rest of the transaction or until [`set_read_only`] puts it back; answers what was.
pub fn set_read_only(on: bool) -> bool {
    // SAFETY: an abort puts back what was when the (sub)transaction began.
    unsafe {
        let before = pg_sys::XactReadOnly;
        pg_sys::XactReadOnly = on;
        before
    }
}

/// Whether writes are refused.
pub fn is_read_only() -> bool {
    unsafe { pg_sys::XactReadOnly }
}

/// 1 read committed, 2 repeatable read, 3 serializable.
pub fn isolation() -> i32 {
    unsafe { pg_sys::XactIsoLevel }
}
