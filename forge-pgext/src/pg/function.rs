//! SQL-callable functions: the symbols Postgres looks up, argument access, results, and the outermost error frame.
//!
//! `sql_function!(forge_enqueue, pg_finfo_forge_enqueue, enqueue::enqueue)` exports a V1 function that runs
//! `fn enqueue(call: &Call) -> Value`. The SQL declaration is written by hand under `sql/`.

use crate::error::Failure;
use crate::pg::catch::Caught;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Datum};
use pgrx::{FromDatum, IntoDatum};
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A nullable SQL value on its way out.
pub type Value = Option<Datum>;

/// One call of a SQL function: its arguments.
pub struct Call {
    pub fcinfo: pg_sys::FunctionCallInfo,
}

impl Call {
    /// Argument `i` (from 0), `None` when null or not passed.
    pub fn datum(&self, i: usize) -> Option<Datum> {
        // SAFETY: Postgres hands a valid fcinfo whose args array has nargs elements.
        unsafe {
            let info = &*self.fcinfo;
            if i >= info.nargs as usize {
                return None;
            }
            let arg = &*info.args.as_ptr().add(i);
            (!arg.isnull).then_some(arg.value)
        }
    }

    /// Argument `i` as a Rust value; the SQL declaration guarantees the type.
    pub fn get<T: FromDatum>(&self, i: usize) -> Option<T> {
        self.datum(i)
            .and_then(|d| unsafe { T::from_datum(d, false) })
    }

    /// Argument `i` as text.
    pub fn text(&self, i: usize) -> Option<String> {
        self.get::<String>(i)
    }

    /// Argument `i` as a uuid.
    pub fn uuid(&self, i: usize) -> Option<uuid::Uuid> {
        self.datum(i).map(|d| unsafe { uuid_of(d) })
    }

    /// Argument `i` as text, or ZF002 naming the argument when it is null.
    pub fn need_text(&self, i: usize, name: &str) -> String {
        self.text(i).unwrap_or_else(|| null_argument(name))
    }

    /// Argument `i` as a uuid, or ZF002 naming the argument when it is null.
    pub fn need_uuid(&self, i: usize, name: &str) -> uuid::Uuid {
        self.uuid(i).unwrap_or_else(|| null_argument(name))
    }

    /// Elements of the array argument `i`; `None` when the array is null.
    pub fn array(&self, i: usize) -> Option<Vec<Option<Datum>>> {
        self.datum(i).map(|d| unsafe { array_elements(d) })
    }

    /// Elements of a text[] argument; null elements are refused.
    pub fn texts(&self, i: usize, name: &str) -> Option<Vec<String>> {
        self.array(i).map(|items| {
            items
                .into_iter()
                .map(|d| match d {
                    Some(d) => unsafe { String::from_datum(d, false) }.unwrap_or_default(),
                    None => null_argument(name),
                })
                .collect()
        })
    }

    /// Elements of an int[] argument; null elements are refused.
    pub fn ints(&self, i: usize, name: &str) -> Option<Vec<i32>> {
        self.array(i).map(|items| {
            items
                .into_iter()
                .map(|d| d.map_or_else(|| null_argument(name), |d| d.value() as i32))
                .collect()
        })
    }

    /// A materialized result set for a function declared `RETURNS TABLE/SETOF record`.
    pub fn result_set(&self) -> ResultSet {
        unsafe {
            pg_sys::InitMaterializedSRF(self.fcinfo, 0);
            let info = (*self.fcinfo).resultinfo as *mut pg_sys::ReturnSetInfo;
            ResultSet {
                store: (*info).setResult,
                desc: (*info).setDesc,
            }
        }
    }

    /// A materialized set of scalars, for a function declared `RETURNS SETOF type`.
    pub fn scalar_set(&self) -> ResultSet {
        unsafe {
            // MAT_SRF_USE_EXPECTED_DESC: the caller's own one-column description.
            pg_sys::InitMaterializedSRF(self.fcinfo, 1);
            let info = (*self.fcinfo).resultinfo as *mut pg_sys::ReturnSetInfo;
            ResultSet {
                store: (*info).setResult,
                desc: (*info).setDesc,
            }
        }
    }
}

/// Rows handed back by a set-returning function.
pub struct ResultSet {
    store: *mut pg_sys::Tuplestorestate,
    desc: pg_sys::TupleDesc,
}

impl ResultSet {
    /// Appends one row; a `None` is null.
    pub fn push(&self, values: &[Value]) {
        let mut datums: Vec<Datum> = values
            .iter()
            .map(|v| v.unwrap_or(Datum::from(0usize)))
            .collect();
        let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.desc,
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        }
    }
}

fn null_argument(name: &str) -> ! {
    crate::error::invalid(
        format!("{name} must not be null"),
        format!("Pass a value for {name}, without nulls in it."),
    )
}

/// # Safety
/// `datum` must be a non-null uuid.
pub unsafe fn uuid_of(datum: Datum) -> uuid::Uuid {
    let bytes = datum.cast_mut_ptr::<[u8; 16]>();
    uuid::Uuid::from_bytes(unsafe { *bytes })
}

/// A uuid value in the current memory context.
pub fn uuid_datum(id: &uuid::Uuid) -> Datum {
    unsafe {
        let at = pg_sys::palloc(16).cast::<[u8; 16]>();
        *at = *id.as_bytes();
        Datum::from(at)
    }
}

/// A text value in the current memory context. NUL characters, which Postgres cannot store, are dropped.
pub fn text_datum(text: &str) -> Datum {
    if text.contains('\0') {
        return text
            .replace('\0', "")
            .into_datum()
            .unwrap_or(Datum::from(0usize));
    }
    text.into_datum().unwrap_or(Datum::from(0usize))
}

/// A bytea value in the current memory context.
pub fn bytea_datum(bytes: &[u8]) -> Datum {
    bytes.into_datum().unwrap_or(Datum::from(0usize))
}

/// # Safety
/// `datum` must be a non-null array.
unsafe fn array_elements(datum: Datum) -> Vec<Option<Datum>> {
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) as *mut pg_sys::ArrayType;
        let elemtype = (*array).elemtype;
        let (mut len, mut byval, mut align) = (0i16, false, 0 as c_char);
        pg_sys::get_typlenbyvalalign(elemtype, &mut len, &mut byval, &mut align);
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            elemtype,
            len as _,
            byval,
            align,
            &mut values,
            &mut nulls,
            &mut count,
        );
        (0..count as usize)
            .map(|i| (!*nulls.add(i)).then_some(*values.add(i)))
            .collect()
    }
}

/// Runs the body of a SQL function: Rust destructors run before any Postgres error leaves this frame.
///
/// # Safety
/// `fcinfo` must be the one Postgres passed to the exported symbol.
pub unsafe fn run(fcinfo: pg_sys::FunctionCallInfo, body: fn(&Call) -> Value) -> Datum {
    let outcome = unsafe {
        pg_sys::submodules::panic::pgrx_extern_c_guard(move || {
            match catch_unwind(AssertUnwindSafe(|| body(&Call { fcinfo }))) {
                Ok(value) => Ok(value),
                Err(payload) => Err(report_of(payload)),
            }
        })
    };
    match outcome {
        Ok(Some(value)) => value,
        Ok(None) => {
            unsafe { (*fcinfo).isnull = true };
            Datum::from(0usize)
        }
        Err(Outgoing::Made(report)) => unsafe { raise(report) },
        Err(Outgoing::Caught(error)) => unsafe { ReThrowError(error) },
    }
}

/// An error on its way out of the outermost frame.
#[derive(Clone, Copy)]
enum Outgoing {
    Made(Report),
    /// One of user code, raised again as it was.
    Caught(*mut pg_sys::ErrorData),
}

/// What to report: a failure of ours, or an error of Postgres' as it was (without the Rust frames it came through). Any
/// other panic goes on to pgrx.
fn report_of(payload: Box<dyn std::any::Any + Send>) -> Outgoing {
    let payload = match payload.downcast::<Failure>() {
        Ok(failure) => return Outgoing::Made(report(&failure)),
        Err(other) => other,
    };
    let payload = match payload.downcast::<Caught>() {
        Ok(caught) => return Outgoing::Caught(caught.0),
        Err(other) => other,
    };
    match payload.downcast::<CaughtError>() {
        Ok(caught) => match *caught {
            CaughtError::PostgresError(error) => Outgoing::Made(Report {
                sqlstate: error.sql_error_code() as c_int,
                message: pg_string(error.message()),
                detail: pg_string(error.detail().unwrap_or_default()),
                hint: pg_string(error.hint().unwrap_or_default()),
            }),
            other => other.rethrow(),
        },
        Err(other) => resume_unwind(other),
    }
}

/// A failure copied to memory that Postgres frees: nothing in it has a destructor.
#[derive(Clone, Copy)]
struct Report {
    sqlstate: c_int,
    message: *mut c_char,
    detail: *mut c_char,
    hint: *mut c_char,
}

fn report(failure: &Failure) -> Report {
    // Each character takes six bits, as MAKE_SQLSTATE does.
    let sqlstate = failure
        .sqlstate
        .bytes()
        .enumerate()
        .fold(0, |code, (i, c)| {
            code | ((c_int::from(c) - c_int::from(b'0')) & 0x3F) << (6 * i)
        });
    Report {
        sqlstate,
        message: pg_string(&failure.message),
        detail: pg_string(&failure.detail),
        hint: pg_string(&failure.hint),
    }
}

fn pg_string(text: &str) -> *mut c_char {
    let text = CString::new(text.replace('\0', "")).unwrap_or_default();
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}

unsafe extern "C-unwind" {
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(sqlstate: c_int) -> c_int;
    fn errmsg(format: *const c_char, ...) -> c_int;
    fn errdetail(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn ReThrowError(error: *mut pg_sys::ErrorData) -> !;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// # Safety
/// No frame between here and Postgres may hold anything with a destructor: this leaves by longjmp.
unsafe fn raise(report: Report) -> ! {
    unsafe {
        errstart(pgrx::PgLogLevel::ERROR as c_int, std::ptr::null());
        errcode(report.sqlstate);
        errmsg(c"%s".as_ptr(), report.message);
        if *report.detail != 0 {
            errdetail(c"%s".as_ptr(), report.detail);
        }
        if *report.hint != 0 {
            errhint(c"%s".as_ptr(), report.hint);
        }
        errfinish(c"forge".as_ptr(), 0, c"forge".as_ptr());
    }
    unreachable!("errfinish does not return at ERROR")
}

/// Exports a function to SQL: the symbol, its info record, and the body to run.
#[macro_export]
macro_rules! sql_function {
    ($symbol:ident, $info:ident, $body:path) => {
        /// # Safety
        /// For Postgres to call, with its own `fcinfo`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $symbol(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            // SAFETY: called by Postgres with its own fcinfo.
            unsafe { $crate::pg::function::run(fcinfo, $body) }
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const RECORD: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &RECORD
        }
    };
}
