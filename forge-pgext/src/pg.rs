//! Everything that touches Postgres' own structures, and so everything unsafe.

pub mod catch;
pub mod extra;
pub mod function;
pub mod json;
pub mod lock;
pub mod plan;
pub mod role;
pub mod shmem;
pub mod snapshot;
pub mod spi;
pub mod subtransaction;
pub mod table;
pub mod timer;
pub mod typ;
pub mod xact;
