//! Settings of the extension.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

/// Largest `args` of a job, in kilobytes. Bigger payloads belong in a table or an object store, with a reference here.
pub static MAX_ARGS_KB: GucSetting<i32> = GucSetting::<i32>::new(1024);
/// W3C trace context that enqueued jobs carry on.
pub static TRACEPARENT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
/// Whether subscriptions start tracking of the relations they read.
pub static AUTO_TRACK: GucSetting<bool> = GucSetting::<bool>::new(false);

/// Makes the settings known.
pub fn register() {
    GucRegistry::define_int_guc(
        c"forge.max_args",
        c"Largest args of a job.",
        c"Measured as stored jsonb.",
        &MAX_ARGS_KB,
        1,
        1024 * 1024,
        GucContext::Suset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_string_guc(
        c"forge.traceparent",
        c"W3C trace context that enqueued jobs carry on.",
        c"Set by the daemon for each request.",
        &TRACEPARENT,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"forge.auto_track",
        c"Whether subscribing to a query starts tracking of the relations it reads.",
        c"For development; in production track relations explicitly.",
        &AUTO_TRACK,
        GucContext::Suset,
        GucFlags::default(),
    );
}
