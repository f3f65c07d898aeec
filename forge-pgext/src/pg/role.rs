//! Whose rights are used: the role a call runs as, and the extension's own for its tables.
//!
//! An error leaves through the (sub)transaction's abort, which puts role, security context and settings back.

use crate::pg::table;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// The role the current statement runs as.
pub fn current() -> Oid {
    unsafe { pg_sys::GetUserId() }
}

/// The role that logged in.
pub fn session() -> Oid {
    unsafe { pg_sys::GetSessionUserId() }
}

/// Name of a role; its number when it does not exist any more.
pub fn name(role: Oid) -> String {
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            return role.to_u32().to_string();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// A role by name.
pub fn by_name(name: &str) -> Option<Oid> {
    let name = std::ffi::CString::new(name).ok()?;
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (oid != Oid::INVALID).then_some(oid)
}

/// Whether row-level security does not bind the role.
pub fn bypasses_security(role: Oid) -> bool {
    unsafe { pg_sys::superuser_arg(role) || pg_sys::has_bypassrls_privilege(role) }
}

/// Whether `login` may act as `role`.
pub fn may_act_as(login: Oid, role: Oid) -> bool {
    #[cfg(feature = "pg15")]
    unsafe {
        pg_sys::is_member_of_role(login, role)
    }
    #[cfg(not(feature = "pg15"))]
    unsafe {
        pg_sys::member_can_set_role(login, role)
    }
}

/// Whether a role is a member of another, with its rights.
pub fn has_rights_of(role: Oid, group: Oid) -> bool {
    unsafe { pg_sys::has_privs_of_role(role, group) }
}

/// Whether a role may execute a function and see its schema.
pub fn may_execute(role: Oid, function: Oid, schema: Oid) -> bool {
    let ok = pg_sys::AclResult::ACLCHECK_OK;
    #[cfg(feature = "pg15")]
    unsafe {
        pg_sys::pg_proc_aclcheck(function, role, pg_sys::ACL_EXECUTE as _) == ok
            && pg_sys::pg_namespace_aclcheck(schema, role, pg_sys::ACL_USAGE as _) == ok
    }
    #[cfg(not(feature = "pg15"))]
    unsafe {
        let (procedures, schemas) = (pg_sys::ProcedureRelationId, pg_sys::NamespaceRelationId);
        pg_sys::object_aclcheck(procedures, function, role, pg_sys::ACL_EXECUTE as _) == ok
            && pg_sys::object_aclcheck(schemas, schema, role, pg_sys::ACL_USAGE as _) == ok
    }
}

/// The user and security context to go back to, and the nest level of settings to undo.
pub struct Held {
    user: Oid,
    context: i32,
    nest: i32,
}

/// Becomes `role`; nothing that runs can become another one. Settings changed until [`leave`] are undone there.
pub fn enter(role: Oid) -> Held {
    unsafe {
        let (mut user, mut context) = (Oid::INVALID, 0);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let nest = pg_sys::NewGUCNestLevel();
        pg_sys::SetUserIdAndSecContext(role, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
        Held {
            user,
            context,
            nest,
        }
    }
}

/// Goes back.
pub fn leave(held: Held) {
    unsafe {
        pg_sys::AtEOXact_GUC(false, held.nest);
        pg_sys::SetUserIdAndSecContext(held.user, held.context);
    }
}

/// Runs `work` with the rights of the owner of Forge's tables and a search path that nobody else can put anything in.
pub fn as_owner<T>(work: impl FnOnce() -> T) -> T {
    unsafe {
        let tables = table::oid("function").unwrap_or(Oid::INVALID);
        let held = enter(owner_of(tables));
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            c"pg_catalog, pg_temp".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        let answer = work();
        leave(held);
        answer
    }
}

fn owner_of(relation: Oid) -> Oid {
    unsafe {
        let relation = pg_sys::try_relation_open(relation, pg_sys::AccessShareLock as i32);
        if relation.is_null() {
            crate::error::fail(
                "ZF011",
                "table forge_private.function does not exist",
                "Install the extension in this database, or run ALTER EXTENSION forge UPDATE.",
            );
        }
        let owner = (*(*relation).rd_rel).relowner;
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        owner
    }
}
