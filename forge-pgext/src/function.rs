//! Functions that callers reach by name: what is registered, arguments in, results out, limits and first answers.

pub mod call;
pub mod limit;
pub mod once;
pub mod read;
pub mod registry;
pub mod shape;
pub mod target;
pub mod write;
