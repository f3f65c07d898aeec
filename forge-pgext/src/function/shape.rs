//! How each type looks in JSON; looked up once per backend and type, forgotten when a row type changes.

use crate::pg::typ::{self, Storage};
use pgrx::pg_sys::{self, Oid};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The JSON form of a type's values.
#[derive(Debug)]
pub enum Shape {
    Bool,
    /// With the smallest and largest value.
    Int(i64, i64),
    Float,
    Numeric,
    Text,
    Uuid,
    Json,
    Jsonb,
    DateTime,
    /// Of elements of this type.
    Array(Rc<Type>, Storage),
    Row,
    Void,
    /// Made JSON by a cast function of its own.
    Cast(Oid),
    /// A string in the type's own text form.
    Other,
}

/// A type.
#[derive(Debug)]
pub struct Type {
    pub of: Oid,
    /// What a domain is over; the type itself otherwise.
    pub base: Oid,
    pub shape: Shape,
    pub output: Oid,
}

impl Type {
    /// Whether Postgres may refuse a value that looks right in JSON.
    pub fn may_refuse(&self) -> bool {
        self.of != self.base
            || match &self.shape {
                Shape::Array(element, _) => element.may_refuse(),
                Shape::Bool
                | Shape::Int(..)
                | Shape::Float
                | Shape::Numeric
                | Shape::Text
                | Shape::Uuid
                | Shape::Json
                | Shape::Jsonb => false,
                _ => true,
            }
    }
}

/// A column of a row in JSON.
#[derive(Debug)]
pub struct Field {
    pub name: String,
    /// `"name":`
    pub key: String,
    /// `None` for a dropped column.
    pub of: Option<Rc<Type>>,
}

/// Columns by row type and modifier.
type Rows = HashMap<(Oid, i32), Rc<Vec<Field>>>;

thread_local! {
    static TYPES: RefCell<HashMap<Oid, Rc<Type>>> = RefCell::new(HashMap::new());
    static ROWS: RefCell<Rows> = RefCell::new(HashMap::new());
    /// Relations whose row types are in here or in plans.
    static RELATIONS: RefCell<HashSet<Oid>> = RefCell::new(HashSet::new());
    /// Set by an invalidation callback, which must not free anything itself.
    static STALE: Cell<bool> = const { Cell::new(false) };
}

/// A relation has changed: answers whether anything known may be wrong now.
pub fn relation_changed(relation: Oid) -> bool {
    let hit = relation == Oid::INVALID
        || RELATIONS.try_with(|r| r.try_borrow().is_ok_and(|r| r.contains(&relation))) == Ok(true);
    if hit {
        STALE.set(true);
    }
    hit
}

/// Forgets everything when something has changed.
pub fn refresh() {
    if STALE.replace(false) {
        TYPES.with_borrow_mut(HashMap::clear);
        ROWS.with_borrow_mut(HashMap::clear);
        RELATIONS.with_borrow_mut(HashSet::clear);
    }
}

/// A type by oid.
pub fn of(oid: Oid) -> Rc<Type> {
    if let Some(known) = TYPES.with_borrow(|t| t.get(&oid).cloned()) {
        return known;
    }
    let fresh = Rc::new(look_up(oid));
    TYPES.with_borrow_mut(|t| t.insert(oid, fresh.clone()));
    fresh
}

fn look_up(oid: Oid) -> Type {
    let base = typ::base(oid);
    let shape = match base {
        pg_sys::BOOLOID => Shape::Bool,
        pg_sys::INT2OID => Shape::Int(i16::MIN.into(), i16::MAX.into()),
        pg_sys::INT4OID => Shape::Int(i32::MIN.into(), i32::MAX.into()),
        pg_sys::INT8OID => Shape::Int(i64::MIN, i64::MAX),
        pg_sys::FLOAT4OID | pg_sys::FLOAT8OID => Shape::Float,
        pg_sys::NUMERICOID => Shape::Numeric,
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Shape::Text,
        pg_sys::UUIDOID => Shape::Uuid,
        pg_sys::JSONOID => Shape::Json,
        pg_sys::JSONBOID => Shape::Jsonb,
        pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Shape::DateTime,
        pg_sys::VOIDOID => Shape::Void,
        pg_sys::RECORDOID => Shape::Row,
        _ => other(base),
    };
    let output = match shape {
        Shape::Void | Shape::Row => Oid::INVALID,
        _ => typ::output_function(base),
    };
    Type {
        of: oid,
        base,
        shape,
        output,
    }
}

fn other(base: Oid) -> Shape {
    if let Some(element) = typ::element(base) {
        return Shape::Array(of(element), typ::storage(element));
    }
    if typ::kind(base) == b'c' {
        watch(typ::relation(base));
        return Shape::Row;
    }
    // Types of the catalog have no casts of their own.
    let made_by_users = base.to_u32() >= pg_sys::FirstNormalObjectId;
    match made_by_users.then(|| typ::json_cast(base)).flatten() {
        Some(function) => Shape::Cast(function),
        None => Shape::Other,
    }
}

/// Changes of this relation make what is known wrong.
pub fn watch(relation: Oid) {
    if relation != Oid::INVALID {
        RELATIONS.with_borrow_mut(|r| r.insert(relation));
    }
}

/// Columns of a row type.
pub fn fields(of_row: Oid, modifier: i32) -> Rc<Vec<Field>> {
    if let Some(known) = ROWS.with_borrow(|r| r.get(&(of_row, modifier)).cloned()) {
        return known;
    }
    if of_row != pg_sys::RECORDOID {
        watch(typ::relation(of_row));
    }
    let fresh: Rc<Vec<Field>> = Rc::new(
        typ::columns_of(of_row, modifier)
            .into_iter()
            .map(|c| field(c.name, (!c.dropped).then_some(c.of)))
            .collect(),
    );
    ROWS.with_borrow_mut(|r| r.insert((of_row, modifier), fresh.clone()));
    fresh
}

/// A column of this name and type.
pub fn field(name: String, of_type: Option<Oid>) -> Field {
    let mut key = String::new();
    super::write::string(&mut key, &name);
    key.push(':');
    Field {
        name,
        key,
        of: of_type.map(of),
    }
}
