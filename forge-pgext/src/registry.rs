//! Registry: the syntax of what is registered, for the PL/pgSQL of `sql/registry.sql`.

pub mod rule;
