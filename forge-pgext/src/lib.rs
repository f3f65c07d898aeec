//! Forge: a whole backend inside PostgreSQL. The extension owns truth and atomic transitions.

mod error;
mod function;
mod guc;
mod identity;
mod job;
mod pg;
mod registry;
mod schedule;
mod worker;

use crate::pg::function::{Call, Value, text_datum};

::pgrx::pg_module_magic!();

/// Called when the library is loaded: by the postmaster with preload, else by the first backend that needs it.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    guc::register();
    // SAFETY: a plain flag of the server.
    if unsafe { pgrx::pg_sys::process_shared_preload_libraries_in_progress } {
        pg::shmem::request();
    }
    pg::xact::register();
    identity::current::register();
}

/// `forge_private.library_version()`: the version of this library, to be compared with the SQL surface's.
fn library_version(_: &Call) -> Value {
    Some(text_datum(env!("CARGO_PKG_VERSION")))
}

sql_function!(
    forge_library_version,
    pg_finfo_forge_library_version,
    library_version
);

// queue
sql_function!(forge_enqueue, pg_finfo_forge_enqueue, job::enqueue::enqueue);
sql_function!(
    forge_enqueue_many,
    pg_finfo_forge_enqueue_many,
    job::enqueue::enqueue_many
);
sql_function!(
    forge_enqueue_once,
    pg_finfo_forge_enqueue_once,
    job::enqueue::enqueue_once
);
sql_function!(forge_claim, pg_finfo_forge_claim, job::claim::claim);
sql_function!(
    forge_complete,
    pg_finfo_forge_complete,
    job::finish::complete
);
sql_function!(forge_fail, pg_finfo_forge_fail, job::finish::fail);
sql_function!(forge_snooze, pg_finfo_forge_snooze, job::finish::snooze);
sql_function!(
    forge_progress,
    pg_finfo_forge_progress,
    job::finish::progress
);
sql_function!(forge_extend, pg_finfo_forge_extend, job::finish::extend);
sql_function!(forge_cancel, pg_finfo_forge_cancel, job::cancel::cancel);
sql_function!(
    forge_purge_lane,
    pg_finfo_forge_purge_lane,
    job::cancel::purge_lane
);
sql_function!(forge_requeue, pg_finfo_forge_requeue, job::cancel::requeue);
sql_function!(
    forge_resume_now,
    pg_finfo_forge_resume_now,
    job::deferred::resume_now
);
sql_function!(
    forge_redrive,
    pg_finfo_forge_redrive,
    job::deferred::redrive
);
sql_function!(
    forge_promote,
    pg_finfo_forge_promote,
    job::deferred::promote
);
sql_function!(forge_running, pg_finfo_forge_running, job::running::running);
sql_function!(
    forge_current_job,
    pg_finfo_forge_current_job,
    job::run_sql::current_job
);
sql_function!(
    forge_worker_claim,
    pg_finfo_forge_worker_claim,
    job::claim::worker_claim
);
sql_function!(
    forge_worker_complete,
    pg_finfo_forge_worker_complete,
    job::finish::worker_complete
);
sql_function!(
    forge_worker_fail,
    pg_finfo_forge_worker_fail,
    job::finish::worker_fail
);
sql_function!(
    forge_worker_cancelled,
    pg_finfo_forge_worker_cancelled,
    job::finish::worker_cancelled
);
sql_function!(
    forge_worker_release,
    pg_finfo_forge_worker_release,
    job::finish::worker_release
);
sql_function!(
    forge_worker_snooze,
    pg_finfo_forge_worker_snooze,
    job::finish::worker_snooze
);
sql_function!(
    forge_worker_progress,
    pg_finfo_forge_worker_progress,
    job::finish::worker_progress
);
sql_function!(
    forge_worker_run_sql,
    pg_finfo_forge_worker_run_sql,
    job::run_sql::worker_run_sql
);
sql_function!(
    forge_release_node_leases,
    pg_finfo_forge_release_node_leases,
    job::rescue::release_node_leases
);
sql_function!(
    forge_release_expired_leases,
    pg_finfo_forge_release_expired_leases,
    job::rescue::release_expired_leases
);
sql_function!(
    forge_kind_has_live_jobs,
    pg_finfo_forge_kind_has_live_jobs,
    job::rescue::kind_has_live_jobs
);
sql_function!(
    forge_registry_changed,
    pg_finfo_forge_registry_changed,
    job::kind::registry_changed
);
sql_function!(
    forge_preload_state,
    pg_finfo_forge_preload_state,
    job::claim::preload_state
);

sql_function!(
    forge_lane_counts,
    pg_finfo_forge_lane_counts,
    job::count::lane_counts
);
sql_function!(
    forge_reset_memory,
    pg_finfo_forge_reset_memory,
    job::count::reset_memory
);
sql_function!(forge_counted, pg_finfo_forge_counted, job::count::counted);

// schedules, identity, registry
sql_function!(
    forge_next_runs,
    pg_finfo_forge_next_runs,
    schedule::next_runs::next_runs
);
sql_function!(
    forge_due_instants,
    pg_finfo_forge_due_instants,
    schedule::next_runs::due_instants
);
sql_function!(
    forge_check_name,
    pg_finfo_forge_check_name,
    registry::rule::check_name
);
sql_function!(
    forge_check_handler,
    pg_finfo_forge_check_handler,
    registry::rule::check_handler
);
sql_function!(
    forge_check_backoff,
    pg_finfo_forge_check_backoff,
    registry::rule::check_backoff
);
sql_function!(
    forge_check_rate_limit,
    pg_finfo_forge_check_rate_limit,
    registry::rule::check_rate_limit
);
sql_function!(forge_uuid7, pg_finfo_forge_uuid7, identity::secret::uuid7);
sql_function!(
    forge_random_bytes,
    pg_finfo_forge_random_bytes,
    identity::secret::random_bytes
);
sql_function!(
    forge_caller,
    pg_finfo_forge_caller,
    identity::caller::caller
);
sql_function!(
    forge_system_identifier,
    pg_finfo_forge_system_identifier,
    identity::caller::system_identifier
);

// calls and callers
sql_function!(forge_call, pg_finfo_forge_call, function::call::call);
sql_function!(
    forge_gateway_call,
    pg_finfo_forge_gateway_call,
    function::call::gateway_call
);
sql_function!(
    forge_check_action,
    pg_finfo_forge_check_action,
    function::call::check_action
);
sql_function!(
    forge_auth_subject,
    pg_finfo_forge_auth_subject,
    identity::current::auth_subject
);
sql_function!(
    forge_auth_role,
    pg_finfo_forge_auth_role,
    identity::current::auth_role
);
sql_function!(
    forge_auth_token,
    pg_finfo_forge_auth_token,
    identity::current::auth_token
);
sql_function!(
    forge_auth_claims,
    pg_finfo_forge_auth_claims,
    identity::current::auth_claims
);
sql_function!(
    forge_create_session,
    pg_finfo_forge_create_session,
    identity::session::create_session
);
sql_function!(
    forge_encrypt,
    pg_finfo_forge_encrypt,
    identity::cipher::encrypt
);
sql_function!(
    forge_decrypt,
    pg_finfo_forge_decrypt,
    identity::cipher::decrypt
);
sql_function!(
    forge_audit_append,
    pg_finfo_forge_audit_append,
    identity::audit::append
);
sql_function!(forge_actor, pg_finfo_forge_actor, identity::audit::actor);
sql_function!(
    forge_request_id,
    pg_finfo_forge_request_id,
    identity::audit::request_id
);
