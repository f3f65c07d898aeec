//! On whose behalf this backend works: set by the gateway's call, kept in backend memory for the transaction.
//!
//! Invariants: no SQL can change it, as no setting holds it; while a function runs it cannot be replaced; it ends with the
//! transaction, whatever its outcome. What of it was read is noted, so that answers are cached for those it holds for.

use crate::pg::function::{Call, Value, text_datum};
use crate::pg::role;
use pgrx::pg_sys::{self, Oid};
use pgrx::{GucContext, GucFlags, GucSetting};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char};
use std::rc::Rc;

/// Which parts of the identity were read.
pub const SUBJECT: u8 = 1;
pub const CLAIMS: u8 = 2;
pub const ROLE: u8 = 4;
pub const TOKEN: u8 = 8;

/// A caller, as the gateway found by the credential. Not to be printed: it may hold a token.
pub struct Identity {
    pub subject: Option<String>,
    pub role: String,
    pub role_oid: Oid,
    /// A JSON object.
    pub claims: String,
    /// Name of the API key.
    pub name: Option<String>,
    /// The session's token, which its owner may have back.
    token: Option<String>,
    /// The text it was read from.
    text: String,
}

#[derive(Deserialize)]
struct Given<'a> {
    #[serde(default)]
    subject: Option<String>,
    role: String,
    #[serde(borrow, default)]
    claims: Option<&'a RawValue>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    token: Option<String>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Identity>>> = const { RefCell::new(None) };
    /// The last identity read, to be known again without reading.
    static LAST: RefCell<Option<Rc<Identity>>> = const { RefCell::new(None) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static READ: Cell<u8> = const { Cell::new(0) };
    static REQUEST: RefCell<Option<String>> = const { RefCell::new(None) };
    /// What `current_setting('request.jwt.claims')` answers, while its address may be in use.
    static SHOWN: RefCell<CString> = RefCell::new(CString::default());
}

static JWT_CLAIMS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Registers the end of identities and the setting of other gateways' making that shows claims.
pub fn register() {
    unsafe {
        pg_sys::RegisterXactCallback(Some(on_xact), std::ptr::null_mut());
        pgrx::GucRegistry::define_string_guc_with_hooks(
            c"request.jwt.claims",
            c"Claims of the caller on whose behalf a call runs.",
            c"While a call of the gateway runs this shows its caller, whatever it was set to.",
            &JWT_CLAIMS,
            GucContext::Userset,
            GucFlags::NO_SHOW_ALL,
            None,
            None,
            Some(show_claims),
        );
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_xact(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::*;
    if matches!(
        event,
        XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE
    ) {
        CURRENT.set(None);
        REQUEST.set(None);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn show_claims() -> *const c_char {
    let text = match current() {
        Some(identity) => {
            note(SUBJECT | CLAIMS | ROLE);
            with_subject_and_role(&identity)
        }
        None => JWT_CLAIMS
            .get()
            .map(|c| c.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    SHOWN.with_borrow_mut(|shown| {
        *shown = CString::new(text).unwrap_or_default();
        shown.as_ptr()
    })
}

/// The claims, with `sub` and `role` when they do not say.
fn with_subject_and_role(identity: &Identity) -> String {
    let mut claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&identity.claims).unwrap_or_default();
    if let Some(subject) = &identity.subject {
        claims
            .entry("sub")
            .or_insert_with(|| subject.clone().into());
    }
    claims
        .entry("role")
        .or_insert_with(|| identity.role.clone().into());
    serde_json::Value::Object(claims).to_string()
}

/// Reads an identity and checks that this session may act for its role.
pub fn read(text: &str) -> Rc<Identity> {
    let known = LAST.with_borrow(|l| l.as_ref().filter(|l| l.text == text).cloned());
    // A role may have been dropped and made again meanwhile.
    let known = known.filter(|l| role::by_name(&l.role) == Some(l.role_oid));
    let identity = known.unwrap_or_else(|| Rc::new(parse(text)));
    let role = identity.role_oid;
    if role::bypasses_security(role) {
        crate::error::fail(
            "ZF003",
            format!("role \"{}\" bypasses row-level security", identity.role),
            "Callers must have a role that is neither superuser nor BYPASSRLS.",
        );
    }
    let login = role::session();
    if !role::may_act_as(login, role) {
        crate::error::fail(
            "ZF003",
            format!(
                "role \"{}\" may not act for role \"{}\"",
                role::name(login),
                identity.role
            ),
            format!(
                "Grant it: GRANT {} TO {}, or use a credential of another role.",
                identity.role,
                role::name(login)
            ),
        );
    }
    LAST.set(Some(identity.clone()));
    identity
}

fn parse(text: &str) -> Identity {
    let given: Given<'_> = serde_json::from_str(text).unwrap_or_else(|e| {
        crate::error::invalid(
            format!("identity is not understood: {e}"),
            "Pass an object with role, subject and claims.",
        )
    });
    let claims = given.claims.map_or("{}", |c| match c.get() {
        "null" => "{}",
        other => other,
    });
    if !claims.starts_with('{') {
        crate::error::invalid(
            "claims of the identity are not a JSON object",
            "Pass an object such as {}.",
        );
    }
    let Some(role_oid) = role::by_name(&given.role) else {
        crate::error::fail(
            "ZF003",
            format!("role \"{}\" does not exist", given.role),
            "Use a credential whose role exists in this database.",
        )
    };
    Identity {
        subject: given.subject,
        role: given.role,
        role_oid,
        claims: claims.to_owned(),
        name: given.name,
        token: given.token,
        text: text.to_owned(),
    }
}

/// A function runs for this identity; it can be replaced again when this is dropped.
pub struct Locked(());

impl Drop for Locked {
    fn drop(&mut self) {
        RUNNING.set(false);
    }
}

/// Takes on an identity for the rest of the transaction, or until the next call that is not inside this one.
pub fn take_on(identity: Rc<Identity>, request_id: Option<&str>) -> Locked {
    refuse_inside();
    RUNNING.set(true);
    READ.set(0);
    CURRENT.set(Some(identity));
    REQUEST.set(request_id.map(str::to_owned));
    Locked(())
}

/// ZF003 while a function runs for a caller.
pub fn refuse_inside() {
    if RUNNING.get() {
        crate::error::fail(
            "ZF003",
            "the identity of a running call cannot be changed",
            "Call the function itself, or forge.call, which keeps the identity.",
        );
    }
}

/// The identity of this transaction.
pub fn current() -> Option<Rc<Identity>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Id of the request that this transaction serves.
pub fn request_id() -> Option<String> {
    REQUEST.with_borrow(Clone::clone)
}

/// The parts read since the call began.
pub fn parts_read() -> u8 {
    READ.get()
}

fn note(parts: u8) {
    READ.set(READ.get() | parts);
}

/// `forge.auth_subject() returns text`.
pub fn auth_subject(_: &Call) -> Value {
    note(SUBJECT);
    current()?.subject.as_deref().map(text_datum)
}

/// `forge.auth_role() returns text`: outside a call the role the session acts as.
pub fn auth_role(_: &Call) -> Value {
    note(ROLE);
    let name = current().map_or_else(
        || role::name(unsafe { pg_sys::GetOuterUserId() }),
        |identity| identity.role.clone(),
    );
    Some(text_datum(&name))
}

/// `forge.auth_token() returns text`.
pub fn auth_token(_: &Call) -> Value {
    note(TOKEN);
    current()?.token.as_deref().map(text_datum)
}

/// `forge.auth_claims() returns jsonb`.
pub fn auth_claims(_: &Call) -> Value {
    note(CLAIMS);
    let claims = current().map_or_else(|| "{}".to_owned(), |identity| identity.claims.clone());
    Some(crate::pg::json::jsonb(&claims))
}
