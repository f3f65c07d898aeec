//! JSON text to and from values, by Postgres' own functions.

use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::{CStr, CString};

mod raw {
    use pgrx::pg_sys;
    unsafe extern "C-unwind" {
        pub fn SPI_execute_plan_extended(
            plan: pg_sys::SPIPlanPtr,
            options: *const pg_sys::SPIExecuteOptions,
        ) -> i32;
    }
}
pub use raw::SPI_execute_plan_extended as raw_execute;

/// The text as jsonb; raises when it is none.
pub fn jsonb(text: &str) -> Datum {
    input(pg_sys::JSONBOID, text)
}

/// What a type's input function makes of a text; raises when it is not acceptable.
pub fn input(of: Oid, text: &str) -> Datum {
    let text = CString::new(text).unwrap_or_default();
    unsafe {
        let (mut function, mut parameter) = (Oid::INVALID, Oid::INVALID);
        pg_sys::getTypeInputInfo(of, &mut function, &mut parameter);
        pg_sys::OidInputFunctionCall(function, text.as_ptr().cast_mut(), parameter, -1)
    }
}

/// A jsonb value as text.
pub fn jsonb_text(value: Datum) -> String {
    unsafe {
        let value = pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
        let text = pg_sys::JsonbToCString(
            std::ptr::null_mut(),
            &raw mut (*value).root,
            pgrx::varlena::varsize(value.cast()) as i32,
        );
        string(text)
    }
}

/// A date or time as ISO 8601, with the session's offset when it has a zone.
pub fn datetime(value: Datum, of: Oid) -> String {
    unsafe {
        let text = pg_sys::JsonEncodeDateTime(std::ptr::null_mut(), value, of, std::ptr::null());
        string(text)
    }
}

/// Takes a string of Postgres' over and frees it.
///
/// # Safety
/// `text` must be a palloc'ed string.
pub unsafe fn string(text: *mut std::ffi::c_char) -> String {
    unsafe {
        let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        owned
    }
}
