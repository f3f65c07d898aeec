//! Everything that touches Postgres' own structures, and so everything unsafe.

pub mod extra;
pub mod function;
pub mod lock;
pub mod shmem;
pub mod snapshot;
pub mod spi;
pub mod subtransaction;
pub mod table;
pub mod xact;
