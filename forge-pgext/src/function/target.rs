//! The SQL function behind a registered name: its parameters, how it is called, what becomes of its result.
//!
//! Invariants: compiled from the catalog as it is, so a function that no longer fits is found here (ZF001, with the hint to
//! register again); plans are kept per role, because row-level security makes plans differ by role.

use super::read::{Mistake, Object, Wanted};
use super::registry::{Registered, need, opt};
use super::shape::{self, Field, Shape, Type};
use super::{read, write};
use crate::error::{Failure, fail, invalid};
use crate::pg::catch::Caught;
use crate::pg::function::{Value, text_datum};
use crate::pg::plan::{self, Argument, Plan, Rows};
use crate::pg::{json, spi, typ};
use pgrx::PgBuiltInOids;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A parameter.
#[derive(Debug)]
struct Parameter {
    name: String,
    of: Rc<Type>,
    required: bool,
    /// Its default, when that is a constant.
    default: Option<Argument>,
}

/// What a function answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Void,
    /// A value, possibly composite.
    Value,
    /// `forge.http_response`.
    Http,
}

/// A compiled function.
#[derive(Debug)]
pub struct Target {
    pub oid: Oid,
    pub schema: Oid,
    /// Key in the system cache, by which changes are told.
    pub hash: u32,
    /// `schema.name`, quoted.
    called: String,
    parameters: Vec<Parameter>,
    /// The one jsonb parameter takes the whole object.
    whole: bool,
    strict: bool,
    reads_only: bool,
    set: bool,
    answer: Answer,
    returns: Oid,
    /// Columns of a composite result.
    fields: Option<Vec<Field>>,
    /// Source of a SQL function that can be planned as it is.
    body: Option<String>,
    plans: RefCell<HashMap<(Oid, u64), Rc<Prepared>>>,
    /// Holds constant defaults.
    _memory: Memory,
}

/// A memory context that goes with its owner.
#[derive(Debug)]
struct Memory(pg_sys::MemoryContext);

impl Drop for Memory {
    fn drop(&mut self) {
        unsafe { pg_sys::MemoryContextDelete(self.0) }
    }
}

/// A plan, and whether its rows are the columns of the result (else one column is the result).
#[derive(Debug)]
struct Prepared {
    plan: Plan,
    as_columns: bool,
}

/// Result of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// JSON text; `None` for null.
    pub body: Option<String>,
    /// Status and headers (a JSON object) of an HTTP response.
    pub http: Option<(i32, String)>,
}

const UNFIT: &str = "Create the function again, or register it anew: forge.register_query or forge.register_mutation.";

impl Target {
    /// Looks the function up. Runs with the rights of the owner of Forge's tables.
    pub fn compile(registered: &Registered) -> Self {
        let mut found = None;
        spi::query(
            "SELECT p.oid, p.pronamespace, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname), \
             p.proargtypes::oid[], \
             ARRAY(SELECT coalesce(p.proargnames[i], '') FROM pg_catalog.generate_series(1, coalesce(pg_catalog.cardinality(p.proargmodes), p.pronargs)) i \
                   WHERE p.proargmodes IS NULL OR p.proargmodes[i] IN ('i', 'b') ORDER BY i), \
             p.pronargdefaults::int, p.proisstrict, p.provolatile <> 'v', p.proretset, p.prorettype, \
             CASE WHEN l.lanname = 'sql' AND p.prosqlbody IS NULL AND NOT p.prosecdef AND p.proconfig IS NULL THEN p.prosrc END, \
             ARRAY(SELECT p.proargnames[i] FROM pg_catalog.generate_series(1, pg_catalog.cardinality(p.proargmodes)) i \
                   WHERE p.proargmodes[i] IN ('o', 'b', 't') ORDER BY i), \
             ARRAY(SELECT p.proallargtypes[i] FROM pg_catalog.generate_series(1, pg_catalog.cardinality(p.proargmodes)) i \
                   WHERE p.proargmodes[i] IN ('o', 'b', 't') ORDER BY i), \
             forge_private.function_misfit(p.oid, $2), p.prorettype = 'forge.http_response'::pg_catalog.regtype \
             FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
             JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
             WHERE p.oid = forge_private.known_function($1)",
            &[
                (
                    PgBuiltInOids::TEXTOID.value(),
                    Some(text_datum(&registered.handler)),
                ),
                (
                    PgBuiltInOids::TEXTOID.value(),
                    Some(text_datum(registered.kind.word())),
                ),
            ],
            |row| found = Some(Self::of_row(registered, row)),
        );
        found.unwrap_or_else(|| {
            fail(
                "ZF001",
                format!(
                    "function {} of {} \"{}\" does not exist any more",
                    registered.handler,
                    registered.kind.word(),
                    registered.name
                ),
                UNFIT,
            )
        })
    }

    fn of_row(registered: &Registered, row: &[Value]) -> Self {
        if let Some(misfit) = opt::<String>(row[13]) {
            fail(
                "ZF001",
                format!(
                    "function {} cannot be {} \"{}\" any more: it {misfit}",
                    registered.handler,
                    registered.kind.word(),
                    registered.name
                ),
                UNFIT,
            );
        }
        let oid: Oid = need_oid(row[0]);
        let types: Vec<Oid> = need(row[3]);
        let names: Vec<String> = need(row[4]);
        let memory = Memory(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"forge target".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
            )
        });
        let optional = need::<i32>(row[5]) as usize;
        let mut defaults = plan::constant_defaults(oid, memory.0);
        defaults.resize(optional, None);
        let first_optional = types.len() - optional;
        let whole = types.as_slice() == [pg_sys::JSONBOID];
        let parameters = types
            .iter()
            .zip(names)
            .enumerate()
            .map(|(i, (of, name))| Parameter {
                name,
                of: shape::of(*of),
                required: i < first_optional,
                default: (i >= first_optional)
                    .then(|| defaults[i - first_optional])
                    .flatten(),
            })
            .collect();
        let returns = need_oid(row[9]);
        let out: Vec<(String, Oid)> = need::<Vec<String>>(row[11])
            .into_iter()
            .zip(need::<Vec<Oid>>(row[12]))
            .collect();
        let fields = match &shape::of(returns).shape {
            Shape::Row if returns == pg_sys::RECORDOID => Some(
                out.into_iter()
                    .map(|(name, of)| shape::field(name, Some(of)))
                    .collect(),
            ),
            Shape::Row => Some(
                typ::columns_of(typ::base(returns), -1)
                    .into_iter()
                    .filter(|c| !c.dropped)
                    .map(|c| shape::field(c.name, Some(c.of)))
                    .collect(),
            ),
            _ => None,
        };
        Self {
            oid,
            schema: need_oid(row[1]),
            hash: unsafe {
                pg_sys::GetSysCacheHashValue(
                    pg_sys::SysCacheIdentifier::PROCOID as i32,
                    Datum::from(oid),
                    Datum::from(0usize),
                    Datum::from(0usize),
                    Datum::from(0usize),
                )
            },
            called: need(row[2]),
            parameters,
            whole,
            strict: need(row[6]),
            reads_only: need(row[7]),
            set: need(row[8]),
            answer: if need(row[14]) {
                Answer::Http
            } else if returns == pg_sys::VOIDOID {
                Answer::Void
            } else {
                Answer::Value
            },
            returns,
            fields,
            body: opt(row[10]),
            plans: RefCell::default(),
            _memory: memory,
        }
    }

    /// Reads the arguments; ZF002 with every field's mistake.
    pub fn arguments(&self, name: &str, text: &str, from_text: &FromText<'_>) -> Given {
        let object = read::object("args", text);
        let mut mistakes = Vec::new();
        let given = if self.whole {
            let wanted = Wanted {
                field: "args",
                of: &self.parameters[0].of,
                raw: text,
                from_text: false,
            };
            let value = read::values(&[wanted], &mut mistakes).pop().flatten();
            Given {
                values: vec![Some(value)],
            }
        } else {
            self.named(&object, from_text, &mut mistakes)
        };
        if !mistakes.is_empty() {
            self.refuse(name, &mistakes);
        }
        given
    }

    fn named(
        &self,
        Object(given): &Object<'_>,
        from_text: &FromText<'_>,
        mistakes: &mut Vec<Mistake>,
    ) -> Given {
        for (name, _) in given {
            if !self.parameters.iter().any(|p| p.name == *name) {
                mistakes.push(Mistake {
                    field: name.to_string(),
                    message: "is not a parameter".into(),
                });
            }
        }
        let mut at = Vec::new();
        let mut wanted = Vec::new();
        for (i, parameter) in self.parameters.iter().enumerate() {
            match given.iter().find(|(name, _)| *name == parameter.name) {
                Some((_, raw)) => {
                    at.push(i);
                    wanted.push(Wanted {
                        field: &parameter.name,
                        of: &parameter.of,
                        raw,
                        from_text: from_text.covers(&parameter.name),
                    });
                }
                None if parameter.required => mistakes.push(Mistake {
                    field: parameter.name.clone(),
                    message: "is required".into(),
                }),
                None => {}
            }
        }
        let read = read::values(&wanted, mistakes);
        let mut values = vec![None; self.parameters.len()];
        for (i, value) in at.into_iter().zip(read) {
            values[i] = Some(value);
        }
        Given { values }
    }

    fn refuse(&self, name: &str, mistakes: &[Mistake]) -> ! {
        const SHOWN: usize = 10;
        let told: Vec<String> = mistakes
            .iter()
            .take(SHOWN)
            .map(|m| format!("{}: {}", m.field, m.message))
            .collect();
        let more = mistakes.len().saturating_sub(SHOWN);
        let more = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|p| {
                let default = if p.required { "" } else { " (optional)" };
                format!("{} {}{default}", p.name, typ::name(p.of.of))
            })
            .collect();
        std::panic::panic_any(Failure {
            sqlstate: "ZF002",
            message: format!(
                "arguments of \"{name}\" do not fit: {}{more}",
                told.join("; ")
            ),
            detail: serde_json::to_string(mistakes.get(..200).unwrap_or(mistakes))
                .unwrap_or_default(),
            hint: if parameters.is_empty() {
                "It takes no arguments: pass {}.".into()
            } else {
                format!("Its parameters are: {}.", parameters.join(", "))
            },
        })
    }

    /// Runs the function as the current role.
    pub fn run(&self, given: &Given, role: Oid) -> Result<Outcome, Caught> {
        let direct = self.direct_arguments(given);
        if self.strict && self.any_null(given) {
            let body = self.set.then(|| "[]".to_owned());
            return Ok(Outcome { body, http: None });
        }
        let (prepared, arguments) = match direct {
            Some(arguments) => match self.prepare_body(role)? {
                Some(prepared) => (prepared, arguments),
                None => self.prepare_statement(given, role)?,
            },
            None => self.prepare_statement(given, role)?,
        };
        let first_only = self.reads_only && !self.set;
        prepared
            .plan
            .run(&arguments, self.reads_only, u64::from(first_only), |rows| {
                self.outcome(&prepared, rows)
            })
    }

    fn any_null(&self, given: &Given) -> bool {
        given
            .values
            .iter()
            .zip(&self.parameters)
            .any(|(value, parameter)| match value {
                Some(value) => value.is_none(),
                None => matches!(parameter.default, Some((_, None))),
            })
    }

    /// A value for every parameter, defaults included; `None` when a default must be computed or the body cannot be planned.
    fn direct_arguments(&self, given: &Given) -> Option<Vec<Argument>> {
        self.body.as_ref()?;
        self.parameters
            .iter()
            .zip(&given.values)
            .map(|(parameter, value)| match value {
                Some(value) => Some((parameter.of.of, *value)),
                None => parameter.default.map(|(_, v)| (parameter.of.of, v)),
            })
            .collect()
    }

    /// The plan of the body, when its last statement gives exactly the declared result.
    fn prepare_body(&self, role: Oid) -> Result<Option<Rc<Prepared>>, Caught> {
        const BODY: u64 = u64::MAX;
        if let Some(known) = self.plans.borrow().get(&(role, BODY)) {
            return Ok(Some(known.clone()));
        }
        if self.plans.borrow().contains_key(&(Oid::INVALID, BODY - 1)) {
            return Ok(None);
        }
        let body = self.body.as_deref().unwrap_or_default();
        let plan = Plan::of_body(self.oid, body)?;
        match self.fits(&plan) {
            Some(as_columns) => Ok(Some(self.keep(role, BODY, Prepared { plan, as_columns }))),
            None => {
                // Remembered, so that it is not tried again.
                self.keep(
                    Oid::INVALID,
                    BODY - 1,
                    Prepared {
                        plan,
                        as_columns: false,
                    },
                );
                Ok(None)
            }
        }
    }

    /// Whether a body's rows are the result's columns (true) or the result itself (false).
    fn fits(&self, plan: &Plan) -> Option<bool> {
        if self.answer == Answer::Void {
            return Some(false);
        }
        let columns = plan.columns.as_ref()?;
        if let [one] = columns.as_slice()
            && one.of == self.returns
        {
            return Some(false);
        }
        let fields = self.fields.as_ref()?;
        let same = columns.len() == fields.len()
            && columns
                .iter()
                .zip(fields)
                .all(|(c, f)| f.of.as_ref().is_some_and(|of| of.of == c.of));
        same.then_some(true)
    }

    /// The plan of a statement that calls the function with the parameters that were given.
    fn prepare_statement(
        &self,
        given: &Given,
        role: Oid,
    ) -> Result<(Rc<Prepared>, Vec<Argument>), Caught> {
        let used: Vec<usize> = (0..self.parameters.len())
            .filter(|i| given.values[*i].is_some())
            .collect();
        let mask = used.iter().fold(0u64, |mask, i| mask | 1 << i);
        let arguments: Vec<Argument> = used
            .iter()
            .map(|i| (self.parameters[*i].of.of, given.values[*i].flatten()))
            .collect();
        if let Some(known) = self.plans.borrow().get(&(role, mask)) {
            return Ok((known.clone(), arguments));
        }
        let list: Vec<String> = used
            .iter()
            .enumerate()
            .map(|(n, i)| {
                let name = &self.parameters[*i].name;
                if self.whole || name.is_empty() {
                    format!("${}", n + 1)
                } else {
                    format!("\"{}\" => ${}", name.replace('"', "\"\""), n + 1)
                }
            })
            .collect();
        let from = if self.set { "* FROM " } else { "" };
        let sql = format!("SELECT {from}{}({})", self.called, list.join(", "));
        let types: Vec<Oid> = arguments.iter().map(|a| a.0).collect();
        let plan = Plan::of_statement(&sql, &types)?;
        let as_columns = self.set && self.fields.is_some();
        Ok((
            self.keep(role, mask, Prepared { plan, as_columns }),
            arguments,
        ))
    }

    fn keep(&self, role: Oid, mask: u64, prepared: Prepared) -> Rc<Prepared> {
        /// Roles and combinations of parameters for which plans are kept.
        const MOST: usize = 64;
        let mut plans = self.plans.borrow_mut();
        if plans.len() >= MOST {
            plans.clear();
        }
        let prepared = Rc::new(prepared);
        plans.insert((role, mask), prepared.clone());
        prepared
    }

    fn outcome(&self, prepared: &Prepared, rows: &Rows) -> Outcome {
        if self.answer == Answer::Void {
            return Outcome::default();
        }
        let width = rows.columns();
        let (mut values, mut nulls) = (vec![Datum::from(0usize); width], vec![false; width]);
        if self.set {
            let mut out = String::from("[");
            for i in 0..rows.len() {
                if i > 0 {
                    out.push(',');
                }
                rows.values(i, &mut values, &mut nulls);
                self.row(&mut out, prepared, &values, &nulls);
            }
            out.push(']');
            return Outcome {
                body: Some(out),
                http: None,
            };
        }
        if rows.len() == 0 {
            return Outcome::default();
        }
        rows.values(0, &mut values, &mut nulls);
        if self.answer == Answer::Http {
            return self.http(prepared, &values, &nulls);
        }
        if !prepared.as_columns && nulls[0] {
            return Outcome::default();
        }
        let mut out = String::new();
        self.row(&mut out, prepared, &values, &nulls);
        Outcome {
            body: Some(out),
            http: None,
        }
    }

    fn row(&self, out: &mut String, prepared: &Prepared, values: &[Datum], nulls: &[bool]) {
        let optional = values
            .iter()
            .zip(nulls)
            .map(|(value, null)| (!null).then_some(*value));
        match &self.fields {
            Some(fields) if prepared.as_columns => {
                write::row(out, fields, optional);
            }
            _ => write::value(
                out,
                &shape::of(self.returns),
                (!nulls[0]).then_some(values[0]),
            ),
        }
    }

    fn http(&self, prepared: &Prepared, values: &[Datum], nulls: &[bool]) -> Outcome {
        let parts: Vec<Option<Datum>> = if prepared.as_columns {
            values
                .iter()
                .zip(nulls)
                .map(|(v, null)| (!null).then_some(*v))
                .collect()
        } else if nulls[0] {
            return Outcome::default();
        } else {
            unsafe { typ::row(values[0]) }.values
        };
        let status = parts[0].map_or(200, |d| d.value() as i32);
        if !(200..=599).contains(&status) {
            fail(
                "ZF002",
                format!("status {status} of forge.http_response is not one of an answer"),
                "Use 200 to 599.",
            );
        }
        Outcome {
            body: parts[2].map(json::jsonb_text),
            http: Some((status, headers(parts[1]))),
        }
    }
}

/// Headers as a JSON object of strings.
fn headers(given: Option<Datum>) -> String {
    use serde_json::Value as Json;
    let Some(given) = given else {
        return "{}".into();
    };
    let text = json::jsonb_text(given);
    match serde_json::from_str(&text) {
        Ok(Json::Null) => "{}".into(),
        Ok(Json::Object(map)) => {
            let strings: serde_json::Map<String, Json> = map
                .into_iter()
                .map(|(name, value)| match value {
                    Json::String(_) => (name, value),
                    Json::Number(_) | Json::Bool(_) => (name, Json::String(value.to_string())),
                    other => invalid(
                        format!("header \"{name}\" of forge.http_response is {other}"),
                        "Give each header a string.",
                    ),
                })
                .collect();
            Json::Object(strings).to_string()
        }
        _ => invalid(
            format!("headers {text} of forge.http_response are not a JSON object"),
            "Pass an object of names and strings.",
        ),
    }
}

fn need_oid(value: Value) -> Oid {
    value.map_or(Oid::INVALID, |d| Oid::from_u32(d.value() as u32))
}

/// Arguments that were read: a value for each parameter that was given.
pub struct Given {
    values: Vec<Option<Option<Datum>>>,
}

/// Which arguments came as text, from a path or query string.
pub enum FromText<'a> {
    None,
    All,
    These(&'a [String]),
}

impl FromText<'_> {
    fn covers(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(names) => names.iter().any(|n| n == name),
        }
    }
}
